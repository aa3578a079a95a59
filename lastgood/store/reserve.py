"""The reserve: room that is kept for control moves, so that a revert commits on a full disk.

A file beside the SQLite database that holds room and nothing else. A control move that has the write lock and
finds the disk nearly full gives up a part of it: nobody else writes to the database before it has committed.
The next one that finds plenty of room fills it up. A disk can be full of somebody else's files too, who may
take what is given up first; where the reserve can't be had a control move tries as it would without it.
"""

import logging
import os
from pathlib import Path

log = logging.getLogger("lastgood")

#: what the file's name adds to the database's
SUFFIX = ".reserve"
#: bytes of a whole reserve, and those that one control move gets of it: a revert's log takes about 100,000
SIZE, PART = 1 << 20, 1 << 18
#: room on the disk below which a part is given up, and above which the reserve is filled up, bytes
_LOW, _PLENTY = 1 << 18, 1 << 22


def provide(database: Path) -> None:
    """Give up or fill up as the disk has room, under the write lock; raises nothing."""
    path = database.with_name(database.name + SUFFIX)
    try:
        disk = os.statvfs(database.parent)
        free = disk.f_bavail * disk.f_frsize
        if _LOW <= free <= _PLENTY:
            return
        held = path.stat().st_size if path.exists() else 0
        if free < _LOW and held:
            os.truncate(path, max(0, held - PART))
        elif free > _PLENTY and held < SIZE:
            _fill(path)
    except OSError as error:
        log.debug("the reserve %s can't be used: %s", path, error)


def _fill(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, SIZE)
        else:
            os.write(file, bytes(SIZE))
    finally:
        os.close(file)
