"""Backups: a copy of a SQLite store, taken while others write, and putting one back while nobody has it open.

A backup knows nothing of what came after it: a release that was live then is live again, even if it was
reverted since. So where it has a live release the kill switch is on before it is in its place, and a person
says how it goes on.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lastgood import control, ledger
from lastgood.errors import Conflict, InvalidInput, SchemaMismatch, StoreUnavailable
from lastgood.store import statements as sql
from lastgood.store.connection import SCHEMA, Store
from lastgood.store.link import Place
from lastgood.store.sqlite import refuse_network

#: what a file's name gets that holds the store's run keys
KEYS = ".keys"
#: seconds that a store which is put back may be locked by somebody who is just leaving
_LEAVING_S = 2.0
_REASON = "a backup was put back: what came after it is not known"


@dataclass(frozen=True, slots=True)
class PutBack:
    """What came of putting a store back."""

    #: where the store is that was in its place; None where there was none
    aside: Path | None
    #: control points whose candidate is not served until a person says so
    killed: tuple[Place, ...]


def take(store: Store, to: Path) -> None:
    """Copy the store as of one moment, and its run keys, to a file that is not there yet.

    Writers are not held up. Raises `InvalidInput` where it can't be there, `CorruptRow` where a ledger of the
    copy does not verify, `StoreUnavailable`.
    """
    path = _file(store, f"pg_dump --format=custom --file={to} DATABASE")
    if to.exists():
        raise InvalidInput(f"{to} is there already; nothing was written. Name a file that is not")
    store.check_schema()
    with _beside(to) as folder:
        copy = folder / to.name
        _copy(path, copy)
        _verify(Store(f"sqlite:///{copy}"))
        _place_keys(path, to)
        _place(copy, to)


def put_back(store: Store, source: Path, *, actor: str) -> PutBack:
    """Put a backup in the store's place; the one that is there is moved aside.

    Raises `InvalidInput` where `source` is no backup, `SchemaMismatch` where another version made it,
    `CorruptRow` where its ledger does not verify, `Conflict` where somebody has the store open.
    """
    path = _file(store, "pg_restore into an empty database, and `lastgood db restore` without FILE")
    refuse_network(path.parent)
    if not source.is_file():
        raise InvalidInput(f"there is no backup at {source}; nothing was changed")
    with _beside(path) as folder:
        given, copy = folder / "given", folder / path.name
        for suffix in ("", "-wal"):  # a file that was merely copied may have brought its log
            if (beside := source.with_name(source.name + suffix)).exists():
                shutil.copyfile(beside, given.with_name(given.name + suffix))
        _copy(given, copy)
        _check_schema(copy, source)
        killed = settle(Store(f"sqlite:///{copy}"), actor=actor)
        aside = _aside(path, store.clock.now_us())
        try:
            if not path.with_name(path.name + KEYS).exists():  # keys there hold those of before, too
                _place_keys(source, path)
            _place(copy, path)
        except BaseException:
            _back(aside, path)
            raise
    return PutBack(aside, killed)


def settle(store: Store, *, actor: str) -> tuple[Place, ...]:
    """Check every ledger of a store that was put back, and kill each live release; return where.

    Raises `CorruptRow` before anything is moved.
    """
    _verify(store)
    with store.reading() as txn:
        live = sorted({(row["agent"], row["environment"]) for row in txn.all(sql.LIVE_RELEASES)})
    for place in live:
        control.kill(store, *place, actor=actor, reason=_REASON)
    store.close()
    return tuple(live)


def _verify(store: Store) -> None:
    with store.reading() as txn:
        places: list[Place] = [(row["agent"], row["environment"]) for row in txn.all(sql.POINTS)]
    for place in places:
        ledger.verify(store, *place)
    store.close()


def _file(store: Store, otherwise: str) -> Path:
    if store.path is None:
        raise InvalidInput(f"{store.name} is a database of Postgres: use {otherwise}")
    return store.path


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder on the disk of `path`, for what is not whole yet."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            yield Path(folder)
    except OSError as error:
        msg = f"{path} can't be written: {error.strerror or error}; nothing was changed"
        raise StoreUnavailable(msg) from error


def _copy(source: Path, target: Path) -> None:
    """Copy a database as of one moment, its log included, to one file."""
    try:
        with closing(sqlite3.connect(source)) as held, closing(sqlite3.connect(target)) as made:
            held.backup(made)
    except sqlite3.Error as error:
        raise InvalidInput(f"{source} can't be copied: {error}; nothing was changed") from error


def _check_schema(copy: Path, source: Path) -> None:
    with closing(sqlite3.connect(copy)) as held:
        try:
            (found,) = held.execute(sql.SCHEMA_VERSION).fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise InvalidInput(f"{source} is no backup of lastgood; nothing was changed") from error
    if found != SCHEMA:
        way_out = (
            f"upgrade it first: LASTGOOD_DATABASE=sqlite:///{source.resolve()} lastgood db upgrade"
            if found < SCHEMA
            else "upgrade the lastgood package of this process"
        )
        raise SchemaMismatch(f"{source} has schema {found}, this process needs {SCHEMA}: {way_out}")


def _aside(path: Path, now_us: int) -> Path | None:
    """Move the store that is there aside, once nobody has it open; return where it is."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=_LEAVING_S)) as held:
        try:
            # this needs the file for itself alone, and brings its log into it
            held.execute("PRAGMA journal_mode=DELETE").fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                msg = (
                    f"{path} is open in another process; nothing was changed. Stop the agents, "
                    "`lastgood up`, `lastgood serve` and whatever else uses it, then call this again"
                )
                raise Conflict(msg) from error
            # damaged: as it is, with what is left of its log
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_us / 1_000_000))
    aside = path.with_name(f"{path.name}.before-{moment}")
    _move(path, aside)
    return aside


def _back(aside: Path | None, path: Path) -> None:
    """Put the store that was moved aside where it was: another could not be put in its place."""
    if aside is not None:
        _move(aside, path)


def _move(store: Path, to: Path) -> None:
    """Move a store with what is left of its log, the log first: it means nothing without its store."""
    for suffix in ("-wal", "-shm", ""):
        if (file := store.with_name(store.name + suffix)).exists():
            file.replace(to.with_name(to.name + suffix))


def _place_keys(source: Path, target: Path) -> None:
    """Copy the run keys of one store beside another, for its owner alone."""
    keys, to = source.with_name(source.name + KEYS), target.with_name(target.name + KEYS)
    if keys.exists():
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(keys.read_bytes())


def _place(made: Path, target: Path) -> None:
    """Move a file that is whole to where it belongs, so that a power cut leaves it there."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


__all__ = ["KEYS", "PutBack", "put_back", "settle", "take"]
