"""What Postgres tells of moves, without its thread: told in order, at one moment, to whoever is not cut off."""

import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from lastgood import snapshot


class Told:
    """Stands in for `lastgood.listening.Listener`."""

    #: who listens, and what was committed and not told yet
    everybody: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    untold: ClassVar[list[str]] = []

    def __init__(self, _url: str, on_switch: Callable[[str, str, int], None], on_gap: Callable[[], None]):
        self._on_switch, self._on_gap = on_switch, on_gap
        self._listens = False
        #: whether what is told is lost, and nobody notices
        self.deaf = False
        self.everybody.add(self)

    def start(self) -> None:
        """Begin to listen."""
        if not self._listens:
            self._listens = True
            self._on_gap()

    def stop(self) -> None:
        """Hear nothing more."""
        self.deaf = True

    def set_deaf(self, *, deaf: bool) -> None:
        """Cut the link, or bring it back: what was told meanwhile was missed."""
        missed, self.deaf = self.deaf and not deaf, deaf
        if missed:
            self._on_gap()

    def hear(self, payload: str) -> None:
        if self._listens and not self.deaf:
            agent, environment, epoch = payload.split("/")
            self._on_switch(agent, environment, int(epoch))


def tell() -> None:
    """Tell everybody of the moves that were committed."""
    told, Told.untold[:] = list(Told.untold), []
    for payload in told:
        for listener in list(Told.everybody):
            listener.hear(payload)


def listener_of(store: Any) -> Told | None:
    """The listener of a store; None where epoch words stand in for it."""
    found = getattr(snapshot._watches.get(store), "_listener", None)
    return found if isinstance(found, Told) else None


__all__ = ["Told", "listener_of", "tell"]
