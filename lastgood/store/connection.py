"""The store as an agent process sees it: sqlite3 connections, transactions, a clock.

One connection a thread and a process (see `lastgood.store.slots`). A transaction is `BEGIN IMMEDIATE`: what
it read can't change before it commits. Control moves commit with `synchronous=FULL`, run telemetry with
`NORMAL`, both on the same write-ahead log.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lastgood.clock import Clock, SystemClock
from lastgood.errors import SchemaMismatch, StoreUnavailable
from lastgood.store import statements as sql
from lastgood.store.slots import Slot

#: the migration that this version of the code is written for
SCHEMA = "0001"
#: seconds that a transaction waits for another writer
BUSY_S = 5.0
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"})

#: statements that break a constraint or lack a value are our mistakes, not the store's
_OUR_FAULT = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)

Row = sqlite3.Row
Values = Mapping[str, Any]


def sqlite_path(url: str) -> Path:
    """Return the file that a `sqlite:///` URL names; refuse any other URL."""
    prefix = "sqlite:///"
    if not url.startswith(prefix) or len(url) == len(prefix):
        msg = f"the store's URL {url!r} is not supported: use sqlite:///PATH (or sqlite:////ABSOLUTE/PATH)"
        raise StoreUnavailable(msg)
    return Path(url.removeprefix(prefix))


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


class Transaction:
    """One open transaction: named statements in, rows out."""

    __slots__ = ("_connection", "now_us")

    def __init__(self, connection: sqlite3.Connection, now_us: int) -> None:
        self._connection = connection
        #: the store's time at the start of the transaction, microseconds UTC
        self.now_us = now_us

    def run(self, statement: str, **values: Any) -> int:
        """Run a statement that changes rows; return how many it changed."""
        return self._connection.execute(statement, values).rowcount

    def one(self, statement: str, **values: Any) -> Row | None:
        """Return the first row of a query, or None."""
        row: Row | None = self._connection.execute(statement, values).fetchone()
        return row

    def all(self, statement: str, **values: Any) -> list[Row]:
        """Return all rows of a query."""
        return self._connection.execute(statement, values).fetchall()

    def insert(self, table: str, values: Values) -> int:
        """Insert one row into one of our own tables; return its rowid."""
        return self._connection.execute(sql.insert(table, tuple(values)), dict(values)).lastrowid or 0


class Store:
    """The store at a URL. Cheap to make; connects at its first use in each thread."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.url = url
        self.path = sqlite_path(url).absolute()
        self.clock: Clock = clock or SystemClock()
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @contextmanager
    def _connected(self) -> Iterator[Slot]:
        """This thread's connection, to the file that is at the path now."""
        slot: Slot | None = getattr(self._local, "slot", None)
        if slot is None:
            slot = self._local.slot = Slot()
        with slot.busy:
            file = self._file()
            if slot.file != file and not (slot.connection and slot.connection.in_transaction):
                slot.close()  # the path holds another file: a backup was put back, for example
                slot.connection, slot.file = self._open(), file
            yield slot

    def _file(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            msg = (
                f"there is no store at {self.path}: create it with `lastgood db upgrade`, "
                "or set LASTGOOD_DATABASE"
            )
            raise StoreUnavailable(msg) from error
        except OSError as error:
            raise self._unavailable(error) from error
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        refuse_network(self.path)
        try:
            # a slot is used under its lock: by its thread, and by the thread that forks
            connection = sqlite3.connect(
                self.path,
                timeout=BUSY_S,
                isolation_level=None,
                cached_statements=256,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys=ON")
            self._check(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unavailable(error) from error
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            row = connection.execute(sql.SCHEMA_VERSION).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
        found = row["version_num"] if row else "none"
        if found != SCHEMA:
            older = found == "none" or found < SCHEMA
            way_out = "run `lastgood db upgrade`" if older else "upgrade the lastgood package of this process"
            msg = f"the store {self.path} has schema {found}, this process needs {SCHEMA}: {way_out}"
            raise SchemaMismatch(msg)

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"the store {self.path} can't be used: {error}; nothing was written. Check that it is a file "
            "that this process may write, on a disk with room, and that nobody holds it locked"
        )

    def check_schema(self) -> None:
        """Raise `SchemaMismatch` or `StoreUnavailable` unless the store can be used as it is."""
        with self._connected():
            pass

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Transaction]:
        """A write transaction: all of it commits, or none.

        `durable` waits for the disk (control moves, ledger, actions). Raises `StoreUnavailable` when
        the store is locked for longer than `BUSY_S`, read-only, full or damaged.
        """
        with self._connected() as slot, self._guarded(slot) as connection:
            if slot.durable is not durable:
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                slot.durable = durable
            connection.execute("BEGIN IMMEDIATE")
            self._check(connection)  # a migration may have come since the connection was opened
            yield Transaction(connection, self.clock.now_us())
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A consistent read; writers are not held up."""
        with self._connected() as slot, self._guarded(slot) as connection:
            connection.execute("BEGIN")
            self._check(connection)
            yield Transaction(connection, self.clock.now_us())

    @contextmanager
    def _guarded(self, slot: Slot) -> Iterator[sqlite3.Connection]:
        """Leave no transaction behind, and turn what the file or the disk refuses into `StoreUnavailable`."""
        assert slot.connection is not None  # noqa: S101  `_connected` opened it
        if slot.connection.in_transaction:
            msg = f"a transaction on {self.path} is open in this thread already; end it first"
            raise StoreUnavailable(msg)
        try:
            yield slot.connection
        except _OUR_FAULT:
            raise
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        finally:
            self._roll_back(slot)

    @staticmethod
    def _roll_back(slot: Slot) -> None:
        try:
            if slot.connection is not None and slot.connection.in_transaction:
                slot.connection.execute("ROLLBACK")
        except sqlite3.Error:  # closing it rolls back too
            slot.close()

    def close(self) -> None:
        """Close this thread's connection."""
        slot: Slot | None = getattr(self._local, "slot", None)
        if slot is not None:
            with slot.busy:
                slot.close()
