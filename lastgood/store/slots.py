"""Slots: each thread's connection, closed before a fork and opened anew by whoever needs it.

A child that inherits an open SQLite connection believes to hold file locks that it does not hold; another
process then removes the log under it, and what it commits is lost
(https://www.sqlite.org/howtocorrupt.html, section 2.6). A child that inherits a connection to Postgres
would speak into its parent's conversation.
"""

import os
import threading
import weakref

from lastgood.store.link import Link

#: seconds that a fork waits for another thread's transaction
FORK_WAIT_S = 5.0
#: connections of a parent that was inside a transaction when it forked: not the child's to use or to close
_inherited: list[Link] = []


class Slot:
    """One thread's connection, and the lock that a fork waits for."""

    def __init__(self) -> None:
        self.link: Link | None = None
        #: what the connection is to: on SQLite device and inode of the file
        self.standing: object = None
        #: whether the connection has not been used yet
        self.fresh = True
        self._pid = os.getpid()
        self.busy = threading.RLock()
        self.forking = False
        with _slots_lock:
            _slots.add(self)

    def hold(self, link: Link, standing: object) -> None:
        """Take a new connection in place of the one there was."""
        self.close()
        self.link, self.standing, self.fresh, self._pid = link, standing, True, os.getpid()

    def close(self) -> None:
        """Close the connection, if there is one and it is this process's."""
        if self.link is not None and self._pid == os.getpid():
            self.link.close()
        elif self.link is not None:
            _inherited.append(self.link)
        self.link, self.standing = None, None

    def disown(self) -> None:
        """Drop a connection that belongs to the process that forked this one."""
        if self._pid != os.getpid():
            self.close()

    def __del__(self) -> None:
        self.close()

    def before_fork(self) -> None:
        """Close it, unless the forking thread is inside a transaction itself."""
        self.forking = self.busy.acquire(timeout=FORK_WAIT_S)
        if self.forking and self.link is not None and not self._is_inside():
            self.close()

    def _is_inside(self) -> bool:
        """Whether a transaction is open; a connection that says nothing any more holds none."""
        try:
            return self.link is not None and self.link.in_transaction
        except Exception:  # noqa: BLE001  one that is broken must not leave the others open for the child
            return False

    def after_fork(self) -> None:
        """Let its thread go on."""
        if self.forking:
            self.forking = False
            self.busy.release()


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()
_slots_lock = threading.Lock()


def _before_fork() -> None:
    _slots_lock.acquire()
    for slot in _slots:
        slot.before_fork()


def _after_fork() -> None:
    for slot in _slots:
        slot.after_fork()
    _slots_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
