"""Switches of other hosts, heard over Postgres: a thread on a connection of its own.

Every move of a control point notifies in its transaction, so that what is heard has been committed. A
listener is never the only way: whoever hears nothing falls back to the baseline with the lease.
"""

import logging
import os
import random
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lastgood.store.postgres import Bounded

log = logging.getLogger("lastgood")

#: seconds between two looks at whether to stop
_TICK_S = 0.5
#: seconds without a word after which the server is asked for a sign of life
_QUIET_S = 5.0
#: seconds before the first and at most before any later attempt to connect again
_FIRST_RETRY_S, _LAST_RETRY_S = 0.1, 5.0
#: draws of our own: an agent that seeds `random` draws the same with us beside it
_own = random.Random()  # noqa: S311  spreads the load only
#: connections of a parent process, which are not this one's to close
_inherited: list[object] = []


def payload(agent: str, environment: str, epoch: int) -> str:
    """Return what a move of a control point notifies; names hold no slash."""
    return f"{agent}/{environment}/{epoch}"


class Listener:
    """Calls back when a control point was moved, by anybody on any host.

    `on_switch(agent, environment, epoch)` after each move; `on_gap()` once whenever listening has begun,
    first or anew: moves before that were not heard, so that everything has to be read again. Both are called
    in the listener's thread; what they raise is logged. On SQLite there is nothing to hear.
    """

    def __init__(
        self, url: str, on_switch: Callable[[str, str, int], None], on_gap: Callable[[], None]
    ) -> None:
        self._url = url
        self._on_switch, self._on_gap = on_switch, on_gap
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: Bounded | None = None
        _listeners.add(self)

    @property
    def running(self) -> bool:
        """Whether its thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to listen, in the background; a server that is away is tried again and again."""
        if self._url.startswith("sqlite:"):
            return
        with self._starting:  # routers of several agents may be the first at once
            if self.running:
                return
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name="lastgood-listener", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection; nothing is called back after that."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    def restart_in_child(self) -> None:
        """Listen in a forked child too: threads are not inherited."""
        was, self._thread = self._thread, None
        self._starting = threading.Lock()  # another thread of the parent may have held it
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None
        if was is not None and not self._stopping.is_set():
            self.start()

    def _run(self, stopping: threading.Event) -> None:
        wait_s, heard = _FIRST_RETRY_S, True
        while not stopping.is_set():
            try:
                self._listen(stopping)
                wait_s, heard = _FIRST_RETRY_S, True
            except Exception as error:  # noqa: BLE001  whatever breaks, listening begins anew
                connected, self._connection = self._connection, None
                if connected is not None:
                    connected.close()
                    wait_s, heard = _FIRST_RETRY_S, True
                if heard:
                    log.warning("switches are not heard until the store answers again: %s", self._safe(error))
                heard = False
                stopping.wait(wait_s * _own.uniform(0.5, 1.0))
                wait_s = min(wait_s * 2, _LAST_RETRY_S)

    def _safe(self, error: Exception) -> str:
        """Put an error into words without the password."""
        from lastgood.store.connection import database

        try:
            return str(database(self._url).unavailable(error))
        except Exception:  # noqa: BLE001  for example: psycopg is missing
            return type(error).__name__

    def _listen(self, stopping: threading.Event) -> None:
        from lastgood.store import postgres
        from lastgood.store.connection import BUSY_S

        connection = self._connection = postgres.connect(self._url, BUSY_S)
        connection.execute(f"LISTEN {postgres.CHANNEL}")
        self._tell(self._on_gap)
        quiet_s = 0.0
        while not stopping.is_set():
            # nothing may be executed inside `notifies()`: psycopg hangs
            heard = [note.payload for note in connection.notifies(timeout=_TICK_S, stop_after=1)]
            for text in heard:
                self._hear(text)
            quiet_s = 0.0 if heard else quiet_s + _TICK_S
            if quiet_s >= _QUIET_S:
                connection.execute("SELECT 1")  # raises where the way to the server was cut in silence
                quiet_s = 0.0
        self._connection = None
        connection.close()

    def _hear(self, text: str) -> None:
        agent, _, rest = text.partition("/")
        environment, _, epoch = rest.partition("/")
        if not (agent and environment and epoch.isdecimal()):
            log.warning("a notification that is no switch is ignored: %.80r", text)
            return
        self._tell(lambda: self._on_switch(agent, environment, int(epoch)))

    @staticmethod
    def _tell(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            log.exception("what a switch should cause failed")


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


def _after_fork() -> None:
    for listener in list(_listeners):
        listener.restart_in_child()


os.register_at_fork(after_in_child=_after_fork)
