"""What the store needs of a database: a place to connect to, and one connection to it.

`lastgood.store.sqlite` and `lastgood.store.postgres` are the two there are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lastgood.clock import Clock
from lastgood.errors import StoreUnavailable

#: an agent and an environment: the key of a control point
Place = tuple[str, str]
Values = Mapping[str, Any]
#: the rows of an insertion by column, each of the same length
Columns = Mapping[str, Sequence[Any]]


class Row(Protocol):
    """One row of a query's answer: `row["name"]`, `dict(row)`."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""

    def keys(self) -> Iterable[str]:
        """Return the columns' names."""


class Cursor(Protocol):
    """What a statement answered."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement changed."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> Any:
        """Return every row that is left."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How a write transaction is opened."""

    #: whether COMMIT waits for the disk
    durable: bool = False
    #: the control point that everything in it belongs to; None: anything in the store
    at: Place | None = None
    #: whether it goes before writers that wait: a control move
    first: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """What a transaction found when it was opened."""

    #: the migration that the store is at, None for a database without our tables
    schema: str | None
    #: the database's time, microseconds UTC; None where the database is no better a clock than the process
    now_us: int | None = None


class Link(Protocol):
    """One connection, used by one thread at a time."""

    @property
    def row_id(self) -> str:
        """The hidden column that tells a table's rows apart while a statement runs."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @property
    def lost(self) -> bool:
        """Whether the connection is of no use any more."""

    def schema(self) -> str | None:
        """Return the migration that the store is at, outside any transaction."""

    def begin(self, mode: Mode) -> Opened:
        """Open a write transaction: what it reads can't change before it commits."""

    def begin_reading(self) -> Opened:
        """Open a consistent read that holds no writer up."""

    def commit(self) -> None:
        """Make everything since `begin` stand; raises where it does not."""

    def roll_back(self) -> None:
        """Undo everything since `begin`, where that has not ended."""

    def execute(self, statement: str, values: Values, /) -> Cursor:
        """Run one named statement with its `:name` parameters."""

    def among(self, statement: str, values: Sequence[str]) -> list[Row]:
        """Return the rows of a query with `IN (:among)`, and no other parameter, for values, at least one."""

    def many(self, statement: str, rows: Sequence[Values]) -> int:
        """Run one named statement for each of `rows`; return how many rows changed."""

    def many_bare(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run one statement for each of `rows`, values in the order in which it first names them."""

    def insert_new(self, table: str, columns: Columns) -> int:
        """Insert rows, at least one, that are not there yet; return how many were new."""

    def notify(self, payload: str) -> None:
        """Tell listeners of other hosts when this transaction commits; nothing where there are none."""

    def close(self) -> None:
        """Close it; an open transaction is rolled back."""


class Database(Protocol):
    """The database that a URL names."""

    @property
    def name(self) -> str:
        """What people are told it is: never a password."""

    @property
    def path(self) -> Path | None:
        """The database's file, None where there is no file on this host."""

    @property
    def clock(self) -> Clock:
        """The clock that counts where nobody gave another."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""

    def standing(self) -> object:
        """Name what is at the URL now; raises `StoreUnavailable` where nothing is."""

    def open(self, patience_s: float) -> Link:
        """Connect; waits `patience_s` seconds for locks and answers. Raises `StoreUnavailable`."""

    def is_ours(self, error: Exception) -> bool:
        """Whether an error is our statement's or its values' fault, and not the store's."""

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Put an error of the driver into words for people."""
