"""An agent as a process without the database serves it: a router over the snapshot that the service gave.

The snapshot is asked for anew when a move is heard (`lastgood.remote_hearing`), and every few seconds in any
case, each by a thread of its own; its lease counts on this host's monotonic clock from before the question,
so that it never outlives the service's. A run is assigned by the service, in one committed row; while that
can't be, this router's baseline serves.
"""

import json
import logging
import os
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lastgood.bundle import Bundle
from lastgood.decision import Snapshot
from lastgood.errors import LastgoodError, NotFound, StoreError
from lastgood.moves import ControlPoint
from lastgood.part import Part
from lastgood.release import Terms
from lastgood.remote import Service
from lastgood.router import Router
from lastgood.snapshot import announced_runtimes

if TYPE_CHECKING:
    from lastgood.remote_hearing import Hearing

log = logging.getLogger("lastgood")
#: seconds after which a snapshot is asked for again
POLL_S = 2.0


@dataclass(slots=True, eq=False, weakref_slot=True)
class RemoteServing:
    """One agent in one environment."""

    service: Service
    agent: str
    environment: str
    fallback: Bundle | None = None
    runtimes: frozenset[str] = field(default_factory=announced_runtimes)
    #: what tells of moves, once something was served
    hearing: "Hearing | None" = None
    _router: Router | None = None
    _bundles: dict[str, Bundle] = field(default_factory=dict)
    #: when the snapshot was asked for last, seconds of the monotonic clock
    _read_s: float = 0.0
    _helper: threading.Thread | None = None
    #: one question at a time: an older answer must not come after a newer one
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        _all.add(self)

    def renew(self) -> None:
        """Begin with no thread and no question under way: in a forked child, where they are its parent's."""
        self._asking, self._helper = threading.Lock(), None

    @property
    def known(self) -> bool:
        """Whether a bundle is at hand should the service go away."""
        return self._router is not None or self.fallback is not None

    @property
    def router(self) -> Router:
        """The router; the first time it waits for the service, later threads bring it up to date."""
        if self.hearing is not None:
            self.hearing.begin(self)
        if self._router is None:
            try:
                self.refresh()
            except (StoreError, NotFound) as error:
                if self.fallback is None:
                    raise
                log.warning("%s is served the bundle that it was given: %s", self.agent, error)
                return self._install(self._given(self.fallback))
        elif time.monotonic() - self._read_s > POLL_S:
            self._in_background()
        assert self._router is not None  # noqa: S101  `refresh` made it
        return self._router

    def refresh(self) -> None:
        """Ask for the snapshot; raises what the service says."""
        with self._asking:
            self._refresh()

    def _refresh(self) -> None:
        boot_us = self.service.clock.boot_us()  # before the question: the lease must not be held too long
        path = f"/v1/agents/{self.agent}/snapshot"
        said = self.service.ask("GET", path, environment=self.environment, again=True)
        point = ControlPoint(
            self.agent,
            self.environment,
            said["baseline"],
            said["standing"],
            said["candidate"],
            said["release"],
            said["share_bp"],
            said["epoch"],
            killed=said["killed"],
            terms=Terms.from_json(json.dumps(said["terms"])),
        )
        served = point.candidate if point.share_bp else None
        candidate = None if served is None else self.bundle(served)
        self._read_s = time.monotonic()
        self._install(
            Snapshot(point, self.bundle(point.baseline), candidate, boot_us + said["lease_left_us"])
        )

    def bundle(self, bundle_id: str) -> Bundle:
        """Return a bundle, asked for and checked against its id once a process."""
        found = self._bundles.get(bundle_id)
        if found is None:
            said = self.service.ask(
                "GET", f"/v1/bundles/{bundle_id}/parts", environment=self.environment, again=True
            )
            parts = [
                Part.from_body(each["kind"], each["version"], each["body"].encode(), each["digest"])
                for each in said
            ]
            found = self._bundles.setdefault(bundle_id, Bundle.verified(parts, bundle_id))
        return found

    def _given(self, bundle: Bundle) -> Snapshot:
        return Snapshot(
            ControlPoint(self.agent, self.environment, bundle.id, "vouched", epoch=0), bundle, None, 0
        )

    def _install(self, snapshot: Snapshot) -> Router:
        if self._router is None:
            self._router = Router(snapshot, self.service.clock, self.runtimes)
        else:
            self._router.update(snapshot)
        return self._router

    def _in_background(self) -> None:
        if self._helper is None or not self._helper.is_alive():
            self._helper = threading.Thread(target=self._help, name="lastgood-poll", daemon=True)
            self._helper.start()

    def _help(self) -> None:
        self.reread()

    def reread(self) -> bool:
        """Bring the router to the control point as it is now; return whether it could be asked for."""
        try:
            self.refresh()
        except LastgoodError as error:
            self._read_s = time.monotonic()  # not again at once; meanwhile the lease runs out by itself
            log.warning("%s goes on with what was known: %s", self.agent, error)
            return False
        return True


_all: weakref.WeakSet[RemoteServing] = weakref.WeakSet()


def _in_child() -> None:
    for each in list(_all):
        each.renew()


os.register_at_fork(after_in_child=_in_child)
