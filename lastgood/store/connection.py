"""The store as an agent process sees it: sqlite3 connections, transactions, a clock.

One connection a thread and a process (a forked child opens its own). A transaction is
`BEGIN IMMEDIATE`: what it read can't change before it commits. Control moves commit with
`synchronous=FULL`, run telemetry with `NORMAL`, both on the same write-ahead log.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lastgood.clock import Clock, SystemClock
from lastgood.errors import SchemaMismatch, StoreUnavailable
from lastgood.store import statements as sql

#: the migration that this version of the code is written for
SCHEMA = "0001"
#: seconds that a transaction waits for another writer
BUSY_S = 5.0
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"})

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
    fields = [line.split() for line in mounts]
    holding = [f for f in fields if absolute == f[1] or absolute.startswith(f[1].rstrip("/") + "/")]
    return max(holding, key=lambda f: len(f[1]))[2] if holding else ""


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
        self.path = sqlite_path(url)
        self.clock: Clock = clock or SystemClock()
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def _open(self) -> sqlite3.Connection:
        if not self.path.exists():
            msg = f"there is no store at {self.path}: create it with `lastgood db upgrade`, or set LASTGOOD_DATABASE"
            raise StoreUnavailable(msg)
        if (kind := _file_system(self.path)) in _NETWORK:
            msg = f"the store {self.path} is on a network file system ({kind}), where locks can't be trusted"
            raise StoreUnavailable(msg)
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, cached_statements=256)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "pid", None) == os.getpid():
            connection: sqlite3.Connection = self._local.connection
            return connection
        try:
            connection = self._open()
            self._check(connection)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        # a connection inherited over a fork is left alone: closing it would drop the parent's locks
        self._local.connection, self._local.pid, self._local.durable = connection, os.getpid(), None
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
        return StoreUnavailable(f"the store {self.path} can't be used: {error}; nothing was written")

    def check_schema(self) -> None:
        """Raise `SchemaMismatch` or `StoreUnavailable` unless the store can be used as it is."""
        self._connection()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Transaction]:
        """A write transaction: all of it commits, or none.

        `durable` waits for the disk (control moves, ledger, actions). Raises `StoreUnavailable` when
        the store is locked for longer than `BUSY_S`, read-only or full.
        """
        connection = self._connection()
        try:
            self._set_durable(connection, durable=durable)
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        try:
            yield Transaction(connection, self.clock.now_us())
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back(connection)
            raise self._unavailable(error) from error
        except BaseException:
            self._roll_back(connection)
            raise

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _set_durable(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        if self._local.durable is not durable:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._local.durable = durable

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A consistent read; writers are not held up."""
        connection = self._connection()
        try:
            connection.execute("BEGIN")
            yield Transaction(connection, self.clock.now_us())
        except sqlite3.OperationalError as error:
            raise self._unavailable(error) from error
        finally:
            self._roll_back(connection)

    def close(self) -> None:
        """Close this thread's connection."""
        if getattr(self._local, "pid", None) == os.getpid():
            self._local.connection.close()
        self._local.pid = None
