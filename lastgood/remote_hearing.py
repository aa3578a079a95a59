"""Hearing over HTTP: a thread that listens to the service's stream and has routers ask again after a move.

The stream says that something was moved, not what: a snapshot is asked for, since its lease has to count from
before the question. A stream that breaks is begun anew, and everything is asked for again, as moves were
missed; meanwhile the snapshots are asked for at intervals, and leases run out by themselves.
"""

import logging
import os
import random
import threading
import weakref
from collections.abc import Callable

from lastgood.errors import LastgoodError
from lastgood.remote import Service
from lastgood.remote_serving import RemoteServing

log = logging.getLogger("lastgood")
#: seconds without a word after which the stream is taken for cut: the service speaks every 15
QUIET_S = 40.0
#: seconds before the first and at most before any later attempt to listen again
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0
#: draws of our own: an agent that seeds `random` draws the same with us beside it
_own = random.Random()  # noqa: S311  spreads the load only


class Hearing:
    """Listens to the moves of one environment for the routers of this process."""

    def __init__(self, service: Service, environment: str) -> None:
        self._service, self._environment = service, environment
        self._hearers: weakref.WeakSet[RemoteServing] = weakref.WeakSet()
        self._renew()

    def _renew(self) -> None:
        """Begin with no thread: at first, and in a forked child, which has none of its parent's."""
        self._pid, self._guard = os.getpid(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._cut: Callable[[], None] | None = None
        #: whether moves are heard now
        self.connected = threading.Event()

    def begin(self, hearer: RemoteServing) -> None:
        """Tell `hearer` of moves from here on."""
        if self._pid != os.getpid():
            self._renew()
        if self._thread is not None and hearer in self._hearers:
            return
        with self._guard:
            self._hearers.add(hearer)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._stopping,), name="lastgood-hear", daemon=True
                )
                self._thread.start()

    def end(self) -> None:
        """Hear nothing more."""
        self._stopping.set()
        if self._cut is not None:
            self._cut()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(timeout=10)

    def _run(self, stopping: threading.Event) -> None:
        wait_s = _FIRST_RETRY_S
        while not stopping.is_set():
            try:
                self._listen(stopping)
            except LastgoodError as error:
                log.debug("moves are not heard: %s", error)  # snapshots are asked for all the same
            except Exception:
                log.exception("moves are not heard")
            if self.connected.is_set():
                wait_s = _FIRST_RETRY_S
            self.connected.clear()
            stopping.wait(wait_s * _own.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, _LAST_RETRY_S)

    def _listen(self, stopping: threading.Event) -> None:
        """Follow one stream to its end."""
        where = {"environment": self._environment}
        with self._service.hear("/ofrep/v1/stream", quiet_s=QUIET_S, **where) as (lines, self._cut):
            for line in lines:
                if stopping.is_set():
                    return
                if line and not self.connected.is_set():
                    self.connected.set()
                    self._tell()  # what was moved before this is not told
                elif line.startswith("data:"):
                    self._tell()

    def _tell(self) -> None:
        for hearer in list(self._hearers):
            hearer.reread()
