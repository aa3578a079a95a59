"""Epoch words: how every router on a host sees a switch at its next decision, without asking the store.

A file beside the SQLite database holds 8-byte words, native byte order. A control point's word is odd from
before the COMMIT of a move until after it, then another even number: who finds it odd, or other than it
was before the store was read, serves the baseline until the store was read again. A second word tells
likewise of moves that change the baseline itself. A word stays odd where its writer died in between; the
write lock proves that it is gone (`settle`). Two points may share a word: a move of one then makes the other
be read again, and that is all.

Words are read through a mapping, without a system call, and written with `pwrite`, so that a full disk is an
error and no SIGBUS. Nothing here truncates the file, and nobody should while it is mapped: that kills its
readers, as it does with SQLite's own `-shm` beside it. Whatever else is wrong with it costs speed alone:
where it can't be read the store is asked instead, and where it can't be written it is removed, which readers
notice at their next look at the path (`Words.holds`).
"""

import logging
import mmap
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

from lastgood.store.connection import WORDS, Transaction

log = logging.getLogger("lastgood")

#: words of one kind; those of baselines follow the others
SLOTS = 8_192
_WORD = 8
#: bytes of the file
SIZE = 2 * SLOTS * _WORD
#: what no word ever is
_NEVER = -1


@cache
def slot_of(agent: str, environment: str) -> int:
    """Return the number of a control point's word."""
    name = f"{agent}\n{environment}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") % SLOTS


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A word as it was before the store was read: what was read then is current as long as it stands."""

    #: the words, as they are at any moment
    view: Sequence[int]
    slot: int
    #: the word at that time; -1 where it was odd or there was none, so that it never stands
    seen: int
    #: the word of the baseline, likewise
    baseline_seen: int = _NEVER

    @classmethod
    def of(cls, view: Sequence[int], slot: int) -> "Mark":
        """Read a word, and that of the baseline where there are such."""
        baseline = view[SLOTS + slot] if len(view) > SLOTS + slot else _NEVER
        word = view[slot]
        return cls(view, slot, _NEVER if word % 2 else word, _NEVER if baseline % 2 else baseline)

    def same(self, other: "Mark") -> bool:
        """Whether both were read of one word, and found it the same."""
        seen = self.seen == other.seen and self.baseline_seen == other.baseline_seen
        return seen and self.view is other.view and self.slot == other.slot

    @property
    def stands(self) -> bool:
        """Whether nothing was moved since."""
        return self.view[self.slot] == self.seen

    @property
    def baseline_stands(self) -> bool:
        """Whether the baseline is known to be the same, whatever else was moved."""
        return self.baseline_seen != _NEVER and self.view[SLOTS + self.slot] == self.baseline_seen

    @property
    def moving(self) -> bool:
        """Whether a move is being committed now, or its writer died over it."""
        return self.view[self.slot] % 2 == 1


#: where there is no word
UNWATCHED = Mark((0,), 0, _NEVER)

#: device and inode
_Identity = tuple[int, int]


class Words:
    """The words beside a database, as one process reads them; where that fails no mark stands."""

    def __init__(self, path: Path, database: Path) -> None:
        self._path, self._database = path, database
        #: what is mapped, and which file that is beside which database
        self._held: tuple[memoryview[int], tuple[_Identity, _Identity]] | None = None

    def mark(self, agent: str, environment: str) -> Mark:
        """Return a point's word as it is now; call it before the store is read."""
        try:
            view = self._mapped()
        except (OSError, ValueError) as error:
            log.debug("the epoch words %s can't be used: %s", self._path, error)
            return UNWATCHED
        return Mark.of(view, slot_of(agent, environment))

    def holds(self, mark: Mark) -> bool:
        """Whether the mark is on the file that writers would find at the path now."""
        held = self._held
        try:
            return held is not None and mark.view is held[0] and self._identities() == held[1]
        except OSError:
            return False

    def _mapped(self) -> "memoryview[int]":
        held = self._held
        with suppress(OSError):
            if held is not None and held[1] == self._identities():
                return held[0]
        view, file = _map(self._path)
        self._held = view, (file, _identity(self._database.stat()))
        return view

    def _identities(self) -> tuple[_Identity, _Identity]:
        words = self._path.stat()
        if words.st_size != SIZE:
            raise OSError(f"{words.st_size} bytes instead of {SIZE}")
        return _identity(words), _identity(self._database.stat())


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino


def _map(path: Path) -> "tuple[memoryview[int], _Identity]":
    try:
        file = _open(path)
    except PermissionError:  # others write it
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stat = os.fstat(file)
        if stat.st_size != SIZE:
            raise OSError(f"{stat.st_size} bytes instead of {SIZE}")
        return memoryview(mmap.mmap(file, SIZE, access=mmap.ACCESS_READ)).cast("Q"), _identity(stat)
    finally:
        os.close(file)


def _open(path: Path) -> int:
    """Open the file for writing, made or brought to its size where it must be; raises `OSError`."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        if size > SIZE:
            raise OSError(f"{path} has {size} bytes: it is no file of epoch words of this version")
        if size < SIZE:  # every word that is not there yet is 0
            _own(file, path)
            _allocate(file)
    except BaseException:
        os.close(file)
        raise
    return file


def _own(file: int, path: Path) -> None:
    """Give a new file to whom the database belongs, so that whoever may move a point may say so."""
    with suppress(OSError):
        database = path.with_name(path.name.removesuffix(WORDS)).stat()
        os.fchmod(file, database.st_mode & 0o666)
        os.fchown(file, database.st_uid, database.st_gid)


def _allocate(file: int) -> None:
    """Bring the file to its size, on the disk where the platform can, so that a full one is noticed now."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, SIZE)
    else:
        os.truncate(file, SIZE)


def _read(file: int, slot: int) -> int:
    return int.from_bytes(os.pread(file, _WORD, slot * _WORD), sys.byteorder)


def _write(file: int, slot: int, word: int) -> None:
    word %= 1 << (8 * _WORD)
    written = os.pwrite(file, word.to_bytes(_WORD, sys.byteorder), slot * _WORD)
    if written != _WORD:
        raise OSError("an epoch word was written in part")


def moving(txn: Transaction, agent: str, environment: str, *, baseline: bool) -> None:
    """Mark a point as being moved by this write transaction, until it has ended.

    `baseline` says whether another bundle becomes the baseline. Raises nothing: a switch waits for no file.
    """
    path = txn.word_path
    if path is None:
        return
    slot = slot_of(agent, environment)
    odd = {each: _began(path, each) for each in ((slot, SLOTS + slot) if baseline else (slot,))}

    def ended(_committed: bool) -> None:  # noqa: FBT001  what `when_ended` calls
        for each, word in odd.items():
            _ended(path, each, word)

    txn.when_ended(ended)


def _began(path: Path, slot: int) -> int:
    """Make the word odd, under the write lock; return it, or -1 where it could not be written."""
    try:
        file = _open(path)
        try:
            word = _read(file, slot)
            odd = word + 1 + word % 2  # above one that a dead writer left
            _write(file, slot, odd)
        finally:
            os.close(file)
    except OSError as error:
        _remove(path, error)
        return _NEVER
    return odd


def _ended(path: Path, slot: int, odd: int) -> None:
    """Make the word even and other than it was.

    An odd word that is not ours belongs to a writer that began after our transaction had ended, and will be
    made even by it. An even one is in a file that was made meanwhile, or was settled: it changes once more.
    """
    try:
        file = _open(path)
        try:
            word = _read(file, slot)
            if word % 2 == 0:
                _write(file, slot, word + 2)
            elif word == odd:
                _write(file, slot, word + 1)
        finally:
            os.close(file)
    except OSError as error:
        _remove(path, error)


def _remove(path: Path, error: OSError) -> None:
    """Take away a file that can't say what happens: readers then ask the store until there is a new one."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        log.error(  # noqa: TRY400  one line is enough
            "the epoch words %s can't be written (%s) nor removed: routers on this host may see this switch "
            "only when the lease ends; check the file's permissions",
            path,
            error,
        )
    else:
        log.warning("the epoch words %s could not be written (%s) and were removed", path, error)


def settle(txn: Transaction, agent: str, environment: str) -> None:
    """Make an odd word even, in a write transaction: nobody else can be moving the point, its writer is dead.

    Raises nothing.
    """
    path, slot = txn.word_path, slot_of(agent, environment)
    if path is None:
        return
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for each in (slot, SLOTS + slot):
                if (word := _read(file, each)) % 2:
                    log.info("a word of %s in %s is settled: its writer died or waits", agent, environment)
                    _write(file, each, word + 1)
        finally:
            os.close(file)
    except OSError as error:
        log.debug("the epoch words %s can't be settled: %s", path, error)
