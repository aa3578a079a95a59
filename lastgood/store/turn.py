"""Turns: how a control move gets before the writers that wait for the same SQLite file.

SQLite lets whoever asks in the right moment write next, so that one who waits may lose against ten others for
seconds. Control moves therefore lock a file beside the database while they wait and write; everybody else
looks whether it is locked before asking SQLite. It decides who asks first and nothing else: SQLite's own lock
keeps writers apart. The kernel unlocks it with its holder's death, a holder that hangs is passed after
`YIELD_S`, and where the file can't be had everybody asks at once, as without it.
"""

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("lastgood")

#: what the file's name adds to the database's
SUFFIX = ".turn"
#: seconds that a writer lets control moves go first, at most
YIELD_S = 1.0


class Turn:
    """The file beside one database, as one connection uses it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + SUFFIX)
        #: its descriptor; None before it was opened, -1 where it can't be
        self._file: int | None = None
        self._held = False

    def announce(self) -> None:
        """Let writers wait until `done`; where another control move has it they wait already."""
        if not self._held:
            self._held = self._lock(fcntl.LOCK_EX)

    def is_free(self) -> bool:
        """Whether no control move waits or writes, as far as can be told."""
        if self._opened() < 0:
            return True
        free = self._lock(fcntl.LOCK_SH)
        if free:
            self._unlock()
        return free

    def done(self) -> None:
        """Let the others go on."""
        if self._held:
            self._held = False
            self._unlock()

    def close(self) -> None:
        """Close the file."""
        file, self._file, self._held = self._file, None, False
        if file is not None and file >= 0:
            os.close(file)

    def _lock(self, how: int) -> bool:
        try:
            file = self._opened()
            if file >= 0:
                fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError:
            return False
        return file >= 0

    def _unlock(self) -> None:
        if self._file is not None and self._file >= 0:
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = _open(self._path)
            except OSError as error:
                log.debug("%s can't be used: control moves wait like any writer: %s", self._path, error)
                self._file = -1
        return self._file


def _open(path: Path) -> int:
    """Open the file, made where it is missing, for whoever may use the database; raises `OSError`."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(OSError):
        database = path.with_name(path.name.removesuffix(SUFFIX)).stat()
        os.fchmod(file, database.st_mode & 0o666)
        os.fchown(file, database.st_uid, database.st_gid)
    return file
