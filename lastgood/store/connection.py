"""The store as an agent process sees it: connections, transactions, a clock, on SQLite or Postgres.

One connection a thread and a process (see `lastgood.store.slots`). What a write transaction read can't change
before it commits: on SQLite there is one writer, on Postgres writers lock what they write (see
`lastgood.store.postgres`).
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lastgood.clock import AnchoredClock, Clock
from lastgood.errors import InvalidInput, SchemaMismatch, StoreUnavailable
from lastgood.store import statements as sql
from lastgood.store.link import Columns, Database, Link, Mode, Opened, Place, Row, Values
from lastgood.store.slots import Slot
from lastgood.store.sqlite import SqliteDatabase

__all__ = ["BUSY_S", "SCHEMA", "WORDS", "Row", "Store", "Transaction", "Values", "database"]

#: the migration that this version of the code is written for
SCHEMA = "0013"
#: seconds that a transaction waits for another writer, or for a server's answer
BUSY_S = 5.0
#: what the name of the file of epoch words (`lastgood.epoch_word`) adds to the database's
WORDS = ".epochs"

_log = logging.getLogger("lastgood")


def database(url: str) -> Database:
    """Return the database that a URL names; raises `StoreUnavailable` for a URL that names none."""
    if url.startswith(("postgresql://", "postgres://")):
        from lastgood.store.postgres import PostgresDatabase  # psycopg: only who has such a URL needs it

        return PostgresDatabase(url)
    return SqliteDatabase(url)


class Transaction:
    """One open transaction: named statements in, rows out."""

    __slots__ = ("_ended", "_link", "at", "now_us", "word_path")

    def __init__(
        self, link: Link, now_us: int, at: Place | None = None, word_path: Path | None = None
    ) -> None:
        self._link = link
        self._ended: list[Callable[[bool], None]] = []
        #: the store's time at the start of the transaction, microseconds UTC
        self.now_us = now_us
        #: the control point that it keeps to; None: any
        self.at = at
        #: the file of epoch words (`lastgood.epoch_word`), as `Store.word_path`
        self.word_path = word_path

    @property
    def row_id(self) -> str:
        """The hidden column that tells a table's rows apart while a statement runs."""
        return self._link.row_id

    def run(self, statement: str, **values: Any) -> int:
        """Run a statement that changes rows; return how many it changed."""
        return self._link.execute(statement, values).rowcount

    def one(self, statement: str, **values: Any) -> Row | None:
        """Return the first row of a query, or None."""
        row: Row | None = self._link.execute(statement, values).fetchone()
        return row

    def all(self, statement: str, **values: Any) -> list[Row]:
        """Return all rows of a query."""
        rows: list[Row] = self._link.execute(statement, values).fetchall()
        return rows

    def among(self, statement: str, values: Sequence[str]) -> list[Row]:
        """Return all rows of a query with `IN (:among)` for these values; none for none."""
        return self._link.among(statement, values) if values else []

    def insert(self, table: str, values: Values) -> None:
        """Insert one row into one of our own tables."""
        self._link.execute(sql.insert(table, tuple(values)), dict(values))

    def many(self, statement: str, rows: Sequence[Values]) -> int:
        """Run a statement that changes rows once for each of `rows`; return how many it changed in all."""
        return self._link.many(statement, rows) if rows else 0

    def many_bare(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Do as `many` does with tuples, in the order in which the statement first names their values.

        Names cost: binding 23 of them takes two and a half times as long.
        """
        return self._link.many_bare(statement, rows) if rows else 0

    def insert_new(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert rows, tuples in the order of `columns`, that are not there yet; return how many were new."""
        return (
            self.insert_columns(table, dict(zip(columns, zip(*rows, strict=True), strict=True)))
            if rows
            else 0
        )

    def insert_columns(self, table: str, columns: Columns) -> int:
        """Insert rows, at least one, that are not there yet, given by column; return how many were new."""
        return self._link.insert_new(table, columns)

    def notify(self, payload: str) -> None:
        """Tell the listeners of other hosts when this commits (`lastgood.listening`); on SQLite nobody is."""
        self._link.notify(payload)

    def when_ended(self, callback: Callable[[bool], None]) -> None:
        """Call `callback(True)` after this transaction's COMMIT, `callback(False)` after its ROLLBACK.

        In the order given, in this thread, holding no lock but this connection's. What a callback raises is
        logged: the commit stands.
        """
        self._ended.append(callback)

    def end(self, *, committed: bool) -> None:
        """Tell everybody who asked by `when_ended`, once."""
        callbacks, self._ended = self._ended, []
        for callback in callbacks:
            try:
                callback(committed)
            except Exception:  # noqa: BLE001  whatever it is, the transaction has ended
                _log.exception("a callback after a transaction failed; the transaction stands as it ended")


class Store:
    """The store at a URL. Cheap to make; connects at its first use in each thread."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        #: may hold a password: show people `name`
        self.url = url
        self._database = database(url)
        self.clock: Clock = clock or self._database.clock
        self._local = threading.local()
        # as SQLite names its log: one file for every link to the database
        file = None if self.path is None else self.path.resolve()
        #: the file of epoch words beside the database; None where there is no file beside it
        self.word_path: Path | None = None if file is None else file.with_name(file.name + WORDS)

    def __repr__(self) -> str:
        return f"Store({self.name!r})"

    @property
    def name(self) -> str:
        """What people are told the store is: a path, or a server and a database."""
        return self._database.name

    @property
    def path(self) -> Path | None:
        """The database's file; None on Postgres."""
        return self._database.path

    @contextmanager
    def _connected(self) -> Iterator[Slot]:
        """This thread's connection, to the database that is at the URL now."""
        slot: Slot | None = getattr(self._local, "slot", None)
        if slot is None:
            slot = self._local.slot = Slot()
        with slot.busy:
            slot.disown()
            standing = self._database.standing()
            if slot.link is not None and slot.link.lost:
                slot.close()
            if slot.standing != standing and not (slot.link and slot.link.in_transaction):
                slot.close()  # the path holds another file: a backup was put back, for example
                slot.hold(self._open(), standing)
            yield slot

    def _open(self) -> Link:
        link = self._database.open(BUSY_S)
        try:
            self._check(link.schema())
        except BaseException as error:
            link.close()
            if isinstance(error, self._database.failures):
                raise self._database.unavailable(error) from error
            raise
        return link

    def _check(self, found: str | None) -> None:
        if found != SCHEMA:
            older = found is None or found < SCHEMA
            way_out = "run `lastgood db upgrade`" if older else "upgrade the lastgood package of this process"
            msg = (
                f"the store {self.name} has schema {found or 'none'}, this process needs {SCHEMA}: {way_out}"
            )
            raise SchemaMismatch(msg)

    def check_schema(self) -> None:
        """Raise `SchemaMismatch` or `StoreUnavailable` unless the store can be used as it is."""
        with self._connected():
            pass

    @contextmanager
    def transaction(
        self, *, durable: bool = False, at: Place | None = None, first: bool = False
    ) -> Iterator[Transaction]:
        """A write transaction: all of it commits, or none. What it read can't change before it commits.

        `durable` waits for the disk (control moves, ledger, actions). `at` names the control point that
        everything in it belongs to (bundles and policies may be read): on Postgres it then waits for the
        writers of this point alone, else for all. With `first`, for a control move, it goes before those that
        wait to write there. Raises `StoreUnavailable` when the store is locked for
        longer than `BUSY_S`, does not answer, is read-only, full or damaged.
        """
        mode = Mode(durable, at, first)
        with self._connected() as slot, self._guarded(slot):
            txn = self._begun(slot, lambda link: link.begin(mode), at)
            committed = False
            try:
                yield txn
                txn._link.commit()  # noqa: SLF001  the store's own
                committed = True
            finally:
                self._roll_back(slot)
                txn.end(committed=committed)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A consistent read; writers are not held up."""
        with self._connected() as slot, self._guarded(slot):
            txn = self._begun(slot, lambda link: link.begin_reading(), None)
            try:
                yield txn
            finally:
                self._roll_back(slot)
                txn.end(committed=False)

    def place_of(self, statement: str, **key: str) -> Place | None:
        """Return the control point that a row belongs to for good, to name it to `transaction`.

        None where there is no such row, and on SQLite: it has one writer, whatever is named.
        """
        if self.path is not None:
            return None
        with self.reading() as txn:
            row = txn.one(statement, **key)
        return None if row is None else (row["agent"], row["environment"])

    def _begun(self, slot: Slot, begin: Callable[[Link], Opened], at: Place | None) -> Transaction:
        """Open a transaction; on a connection that broke since it was last used, on a new one."""
        assert slot.link is not None  # noqa: S101  `_connected` opened it
        try:
            opened = begin(slot.link)
        except self._database.failures:
            if slot.fresh or not slot.link.lost:
                raise
            slot.hold(self._open(), slot.standing)
            opened = begin(slot.link)
        slot.fresh = False
        self._check(opened.schema)  # a migration may have come since the connection was opened
        return Transaction(slot.link, self._now_us(opened), at, self.word_path)

    def _now_us(self, opened: Opened) -> int:
        if opened.now_us is None or not isinstance(self.clock, AnchoredClock):
            return self.clock.now_us()
        self.clock.anchor(opened.now_us)
        return opened.now_us

    @contextmanager
    def _guarded(self, slot: Slot) -> Iterator[None]:
        """Leave no transaction behind, and turn what the database refuses into `StoreUnavailable`."""
        assert slot.link is not None  # noqa: S101  `_connected` opened it
        if slot.link.in_transaction:
            msg = f"a transaction on {self.name} is open in this thread already; end it first"
            raise StoreUnavailable(msg)
        try:
            yield
        except self._database.failures as error:
            if self._database.is_ours(error):
                raise
            raise self._database.unavailable(error) from error
        except UnicodeEncodeError as error:
            piece = ascii(error.object[max(0, error.start - 20) : error.end])
            msg = f"a text holds half a character (a lone surrogate), which no store can hold: {piece}"
            raise InvalidInput(msg) from error
        finally:
            self._roll_back(slot)

    def _roll_back(self, slot: Slot) -> None:
        try:
            if slot.link is not None:
                slot.link.roll_back()
        except self._database.failures:  # closing it rolls back too
            slot.close()

    def close(self) -> None:
        """Close this thread's connection."""
        slot: Slot | None = getattr(self._local, "slot", None)
        if slot is not None:
            with slot.busy:
                slot.close()
