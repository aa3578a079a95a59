"""Slots: each thread's connection, closed before a fork and opened anew by whoever needs it.

A child that inherits an open SQLite connection believes to hold file locks that it does not hold; another
process then removes the log under it, and what it commits is lost
(https://www.sqlite.org/howtocorrupt.html, section 2.6).
"""

import os
import sqlite3
import threading
import weakref

#: seconds that a fork waits for another thread's transaction
FORK_WAIT_S = 5.0


class Slot:
    """One thread's connection, and the lock that a fork waits for."""

    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None
        #: device and inode of the file that is open
        self.file: tuple[int, int] | None = None
        #: whether it commits with `synchronous=FULL`; None before it was ever said
        self.durable: bool | None = None
        self.busy = threading.RLock()
        self.forking = False
        with _slots_lock:
            _slots.add(self)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()
        self.connection, self.file, self.durable = None, None, None

    def __del__(self) -> None:
        self.close()

    def before_fork(self) -> None:
        """Close it, unless the forking thread is inside a transaction itself."""
        self.forking = self.busy.acquire(timeout=FORK_WAIT_S)
        if self.forking and self.connection is not None and not self.connection.in_transaction:
            self.close()

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
