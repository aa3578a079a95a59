"""SQLite: one file on a local disk, many readers, one writer.

A write transaction is `BEGIN IMMEDIATE`, so writers follow one another. Control moves commit with
`synchronous=FULL`, run telemetry with `NORMAL`, both on the same write-ahead log.
"""

import sqlite3
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lastgood.clock import Clock, SystemClock
from lastgood.errors import StoreUnavailable
from lastgood.store import reserve
from lastgood.store import statements as sql
from lastgood.store.link import Columns, Mode, Opened, Row, Values
from lastgood.store.parameters import numbered
from lastgood.store.turn import YIELD_S, Turn

PREFIX = "sqlite:///"
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"})

#: statements that break a constraint or lack a value are our mistakes, not the store's
_OURS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


def sqlite_path(url: str) -> Path:
    """Return the file that a `sqlite:///` URL names; refuse any other URL."""
    if not url.startswith(PREFIX) or len(url) == len(PREFIX):
        msg = (
            f"the store's URL {url!r} is not supported: use sqlite:///PATH (or sqlite:////ABSOLUTE/PATH), "
            "or postgresql://USER@HOST/DATABASE"
        )
        raise StoreUnavailable(msg)
    return Path(url.removeprefix(PREFIX))


def _file_system(path: Path) -> str:
    """Type of the file system that holds `path`, empty where the platform does not tell."""
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    absolute = str(path.resolve())
    # of two mounts on one place the later one is what is seen
    found = [(f[1].replace("\\040", " ").rstrip("/") + "/", f[2]) for f in map(str.split, reversed(mounts))]
    holding = [(place, kind) for place, kind in found if f"{absolute}/".startswith(place)]
    return max(holding, key=lambda place: len(place[0]))[1] if holding else ""


def refuse_network(path: Path) -> None:
    """Raise `StoreUnavailable` where `path` lies on a file system whose locks can't be trusted."""
    if (kind := _file_system(path)) in _NETWORK:
        msg = (
            f"the store {path} is on a network file system ({kind}), where locks can't be trusted: "
            "set LASTGOOD_DATABASE to a file on a local disk"
        )
        raise StoreUnavailable(msg)


#: seconds between two attempts to write: of a control move and of who waits longer than `_LONG_S`; else twice
_PAUSE_S, _LONG_S = 0.001, 0.1
#: rows that one statement inserts
_TOGETHER = 100
#: values that say nothing, as SQL literals
_EMPTY = {None: "NULL", "[]": "'[]'", "{}": "'{}'"}


class SqliteLink:
    """One sqlite3 connection."""

    lost = False
    row_id = "rowid"

    def __init__(self, connection: sqlite3.Connection, path: Path, patience_s: float) -> None:
        self._connection, self._path, self._patience_s = connection, path, patience_s
        self._turn = Turn(path)
        self.execute = connection.execute
        #: whether it commits with `synchronous=FULL`; None before it was ever said
        self._durable: bool | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def schema(self) -> str | None:
        """Return the migration that the file is at."""
        try:
            row = self._connection.execute(sql.SCHEMA_VERSION).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
        return row["version_num"] if row else None

    def begin(self, mode: Mode) -> Opened:
        """Open the only write transaction of the file, whatever it is about."""
        if self._durable is not mode.durable:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if mode.durable else 'NORMAL'}")
            self._durable = mode.durable
        # SQLite's own waiting sleeps up to 100 ms at a time and knows no order
        self.execute("PRAGMA busy_timeout=0")
        try:
            self._wait_to_begin(first=mode.first)
            if mode.first:
                reserve.provide(self._path)
        except BaseException:
            self._turn.done()
            raise
        finally:
            self.execute(f"PRAGMA busy_timeout={round(self._patience_s * 1_000)}")
        return Opened(self.schema())

    def _wait_to_begin(self, *, first: bool) -> None:
        began = time.monotonic()
        yields_until = None
        while True:
            now = time.monotonic()
            if first:
                self._turn.announce()
            elif self._turn.is_free():
                yields_until = None
            elif yields_until is None:
                yields_until = now + YIELD_S
            if yields_until is None or now > yields_until:
                try:
                    self.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                    if not busy or now - began > self._patience_s:
                        raise
                else:
                    return
            time.sleep(_PAUSE_S if first or now - began > _LONG_S else 2 * _PAUSE_S)

    def begin_reading(self) -> Opened:
        """Open a read of the file as it is now."""
        self._connection.execute("BEGIN")
        return Opened(self.schema())

    def commit(self) -> None:
        """Commit; where the disk refuses, the transaction stays open."""
        self._connection.execute("COMMIT")
        self._turn.done()

    def roll_back(self) -> None:
        """Roll back what is open; a full disk may have done so already."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._turn.done()

    def among(self, statement: str, values: Sequence[str]) -> list[Row]:
        """Bind by place: names cost more than the look-up itself."""
        filled = sql.padded(values)
        rows: list[Row] = self.execute(sql.among_places(statement, len(filled)), filled).fetchall()
        return rows

    def many(self, statement: str, rows: Sequence[Values]) -> int:
        """Run a statement for each of `rows`."""
        return self._connection.executemany(statement, rows).rowcount

    def many_bare(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement for each of `rows`, values in the order in which it first names them."""
        return self._connection.executemany(numbered(statement, "?")[0], rows).rowcount

    def insert_new(self, table: str, columns: Columns) -> int:
        """Insert those rows that are new, `_TOGETHER` in a statement: opening the table costs.

        Binding costs too: a column that is empty in every row becomes part of the statement.
        """
        literals, kept = {}, {}
        for name, values in columns.items():
            literal = _EMPTY.get(values[0])
            if literal is not None and values.count(values[0]) == len(values):
                literals[name] = literal
            else:
                kept[name] = values
        bound, fixed = list(zip(*kept.values(), strict=True)), tuple(literals.items())
        new, whole = 0, len(bound) - len(bound) % _TOGETHER
        for start in range(0, whole, _TOGETHER):
            statement = sql.insert_tuples(table, tuple(kept), _TOGETHER, fixed)
            together = list(chain.from_iterable(bound[start : start + _TOGETHER]))
            new += self._connection.execute(statement, together).rowcount
        if whole < len(bound):
            statement = sql.insert_tuples(table, tuple(kept), 1, fixed)
            new += self._connection.executemany(statement, bound[whole:]).rowcount
        return new

    def notify(self, payload: str) -> None:
        """Nobody on another host reads this file."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._turn.close()


class SqliteDatabase:
    """The file that a `sqlite:///` URL names."""

    failures = (sqlite3.Error,)

    def __init__(self, url: str) -> None:
        self.path: Path = sqlite_path(url).absolute()
        self.clock: Clock = SystemClock()

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    def standing(self) -> tuple[int, int]:
        """Device and inode of the file that is at the path now."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            msg = (
                f"there is no store at {self.path}: start this in the store's folder or below it, or set "
                "LASTGOOD_DATABASE; `lastgood db upgrade` makes a new one"
            )
            raise StoreUnavailable(msg) from error
        except OSError as error:
            raise self.unavailable(error) from error
        return found.st_dev, found.st_ino

    def open(self, patience_s: float) -> SqliteLink:
        """Open the file."""
        refuse_network(self.path)
        try:
            # a slot is used under its lock: by its thread, and by the thread that forks
            connection = sqlite3.connect(
                self.path,
                timeout=patience_s,
                isolation_level=None,
                cached_statements=256,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self.unavailable(error) from error
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA foreign_keys=ON")
        except sqlite3.Error as error:
            connection.close()
            raise self.unavailable(error) from error
        return SqliteLink(connection, self.path.resolve(), patience_s)

    @staticmethod
    def is_ours(error: Exception) -> bool:
        """Whether a constraint is broken or a value can't be bound."""
        return isinstance(error, _OURS)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Name the file, the reason, and what to look at."""
        return StoreUnavailable(
            f"the store {self.path} can't be used: {error}; nothing was written. Check that it is a file "
            "that this process may write, on a disk with room, and that nobody holds it locked"
        )
