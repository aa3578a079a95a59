"""Postgres: a server that many hosts write to.

What a transaction read can't change before it commits, as on SQLite, and none is ever thrown back to be
tried again. A write transaction therefore takes advisory locks before it reads anything, always in the same
order, so that no two can wait for one another:

- `transaction()` takes the store's lock alone: nobody else writes;
- `transaction(at=(agent, environment))` shares the store's lock and takes the control point's alone:
  writers of other points go on.

Writers of one point queue at a lock before the point's own, which `first=True` leaves out: a control move
waits for the one writer that is at work, however many wait behind it.

Each statement then sees what was committed when it began (READ COMMITTED), which by the locks is all there
will be. SERIALIZABLE would abort transactions that only their caller could repeat; `SELECT ... FOR UPDATE`
would lock rows in the order in which each caller happens to touch them (control point, cap, block, sums), and
two orders make a deadlock. Each lock is fair: nobody passes who came later.

BEGIN, the locks, the schema's version and the clock are one round trip. Telemetry commits with
`synchronous_commit=off`: it survives every death of an agent, and a crash of the server but for its last
moments, as `synchronous=NORMAL` does on SQLite.
"""

import hashlib
from collections.abc import Callable, Generator, Sequence
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lastgood.clock import AnchoredClock
from lastgood.errors import InvalidInput, StoreUnavailable
from lastgood.store import statements as sql
from lastgood.store.link import Columns, Cursor, Mode, Opened, Row, Values
from lastgood.store.parameters import numbered

try:
    import psycopg
    from psycopg.types.numeric import NumericLoader
except ImportError as missing:
    msg = "a store at postgresql:// needs psycopg: `pip install 'lastgood[postgres]'`"
    raise StoreUnavailable(msg) from missing

#: the channel of `Link.notify`
CHANNEL = "lastgood"
#: seconds after which the server ends a statement, and a transaction whose client says nothing
_STATEMENT_S, _IDLE_S = 30, 60
#: the same for one that writes: a frozen process must not hold a revert up for longer, nor for as long as a
#: revert waits (`lastgood.store.connection.BUSY_S`)
_HOLD_S = 4
#: seconds that a lock's timeout, which the server keeps, has before the client gives the server up
_GRACE_S = 1.0
#: settings that make a commit wait for less than this server's disk
_LAX = frozenset({"off", "local"})

_NOW = (
    "SELECT version_num, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us "
    "FROM alembic_version"
)
_READING = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_NOW}"
#: begins the name of the lock at which writers of one point queue
_TURN = "turn"


def translated(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with `$1`, `$2`, ... in place of its `:name` parameters, and the names in order."""
    return numbered(statement, "$")


@cache
def lock_key(*names: str) -> int:
    """Return the advisory lock's key (signed, 64 bits): two points that share one only wait more often."""
    digest = hashlib.blake2b("\0".join(("lastgood", *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


@cache
def _begin(mode: Mode, synchronous: str) -> str:
    """Return what opens a write transaction, in one round trip."""
    store = "pg_advisory_xact_lock" + ("_shared" if mode.at else "")
    locks = [f"SELECT {store}({lock_key()})"]
    if mode.at is not None:
        if not mode.first:
            locks.append(f"SELECT pg_advisory_xact_lock({lock_key(_TURN, *mode.at)})")
        locks.append(f"SELECT pg_advisory_xact_lock({lock_key(*mode.at)})")
    settings = [
        f"SET LOCAL synchronous_commit TO {synchronous if mode.durable else 'off'}",
        f"SET LOCAL idle_in_transaction_session_timeout = {round(_HOLD_S * 1000)}",
    ]
    return "; ".join(["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", *settings, *locks, _NOW])


class _Silent(psycopg.OperationalError):
    """The server did not answer in time."""


def _watched(waiting: Generator[Any, Any, Any], patience_s: float) -> Generator[Any, Any, Any]:
    """Pass `waiting` on; raise once nothing came for `patience_s`, as from a server that is frozen."""
    from time import monotonic

    until = monotonic() + patience_s
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if ready:
                until = monotonic() + patience_s
            elif monotonic() > until:
                msg = f"the server did not answer for {patience_s:g} s"
                raise _Silent(msg)
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value


class PostgresRow(dict[str, Any]):
    """A row by its columns' names; by their places too, as sqlite3's are."""

    def __missing__(self, place: object) -> Any:
        """Return the value at a place."""
        if isinstance(place, int):
            return list(self.values())[place]
        raise KeyError(place)


def _rows(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], PostgresRow]:
    names = [column.name for column in cursor.description or ()]
    return lambda values: PostgresRow(zip(names, values, strict=True))


class Bounded(psycopg.Connection[PostgresRow]):
    """A connection that waits for no answer longer than its patience."""

    #: seconds
    patience_s = 6.0

    def wait(self, gen: Any, *args: Any, **given: Any) -> Any:
        """Wait for the server, `patience_s` seconds at most between two signs of life."""
        return super().wait(_watched(gen, self.patience_s), *args, **given)

    def __del__(self, *_: Any) -> None:
        """Go without a word: in a cycle the collector may come here before the slot, which closes.

        What libpq holds is ended with the object, in the process that made it.
        """


class _Number(NumericLoader):
    """`sum()` of a bigint is numeric on Postgres: whole numbers are ints here, as on SQLite."""

    def load(self, data: Any) -> Any:
        found = super().load(data)
        return int(found) if found == found.to_integral_value() else float(found)


class PostgresLink:
    """One connection to a server."""

    row_id = "ctid"

    def __init__(self, connection: Bounded, synchronous: str) -> None:
        self._connection = connection
        #: what `synchronous_commit` is where a commit has to be durable
        self._synchronous = synchronous

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""
        status = self._connection.pgconn.transaction_status
        idle, unknown = psycopg.pq.TransactionStatus.IDLE, psycopg.pq.TransactionStatus.UNKNOWN
        return status not in {idle, unknown}

    @property
    def lost(self) -> bool:
        """Whether the server or the way to it is gone."""
        return self._connection.closed

    def schema(self) -> str | None:
        """Return the migration that the database is at."""
        try:
            row = self._connection.execute(sql.SCHEMA_VERSION).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return row["version_num"] if row else None

    def begin(self, mode: Mode) -> Opened:
        """Open a write transaction under its locks."""
        return self._opened(_begin(mode, self._synchronous))

    def begin_reading(self) -> Opened:
        """Open a read of one moment."""
        return self._opened(_READING)

    def _opened(self, statements: str) -> Opened:
        try:
            cursor = self._connection.execute(statements, prepare=False)
        except psycopg.errors.UndefinedTable:
            return Opened(None)
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        return Opened(row["version_num"], row["now_us"]) if row else Opened(None)

    def commit(self) -> None:
        """Commit; raises where the server rolled back instead, or where nobody knows."""
        try:
            said = self._connection.execute("COMMIT").statusmessage
        except psycopg.OperationalError as error:
            if self.lost or isinstance(error, _Silent):
                raise CommitUnknown(str(error)) from error
            raise
        if said != "COMMIT":
            msg = "a statement of the transaction failed, so that all of it was rolled back"
            raise psycopg.InternalError(msg)

    def roll_back(self) -> None:
        """Roll back what is open; a connection in the middle of an answer is of no use any more."""
        if not self.in_transaction:
            return
        if self._connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            self.close()
        else:
            self._connection.execute("ROLLBACK")

    def execute(self, statement: str, values: Values, /) -> Cursor:
        """Run a named statement."""
        text, names = translated(statement)
        for name, value in values.items():
            _refuse_nul(name, value)
        return self._connection.execute(text, [values[name] for name in names])

    def among(self, statement: str, values: Sequence[str]) -> list[Row]:
        """Send them as one array."""
        for value in values:
            _refuse_nul("a name", value)
        text, _ = translated(statement.replace("IN (:among)", "= ANY(:among)"))
        return list(self._connection.execute(text, [list(values)]).fetchall())

    def many(self, statement: str, rows: Sequence[Values]) -> int:
        """Run a named statement for each of `rows`, sent in one go."""
        _, names = translated(statement)
        for values in rows:
            for name, value in values.items():
                _refuse_nul(name, value)
        return self.many_bare(statement, [tuple(values[name] for name in names) for values in rows])

    def many_bare(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement for each of `rows`, values in the order in which it first names them."""
        cursor = self._connection.cursor()
        cursor.executemany(translated(statement)[0], rows)
        return cursor.rowcount

    def insert_new(self, table: str, columns: Columns) -> int:
        """Insert those rows that are not there yet, sent in one go."""
        for name, values in columns.items():
            for value in values:
                _refuse_nul(name, value)
        cursor = self._connection.cursor()
        statement = translated(sql.insert_new(table, tuple(columns)))[0]
        cursor.executemany(statement, list(zip(*columns.values(), strict=True)))
        return cursor.rowcount

    def notify(self, payload: str) -> None:
        """Send `payload` to the channel's listeners with the commit."""
        self._connection.execute("SELECT pg_notify($1, $2)", [CHANNEL, payload])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class CommitUnknown(psycopg.OperationalError):
    """The connection broke between COMMIT and its answer."""


def _refuse_nul(name: str, value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        msg = f"{name}={value[:60]!r} holds a NUL character, which Postgres can't store: leave it out"
        raise InvalidInput(msg)


class PostgresDatabase:
    """The database that a `postgresql://` URL names."""

    failures = (psycopg.Error,)
    path = None

    def __init__(self, url: str) -> None:
        self._url = url
        self.clock = AnchoredClock()
        self.name, self._secrets = _shown(url)

    def standing(self) -> str:
        """Nothing that a look at this host could tell: connecting does."""
        return self.name

    def open(self, patience_s: float) -> PostgresLink:
        """Connect, and say how long this connection waits for what."""
        connection: Bounded | StoreUnavailable
        try:
            connection = connect(self._url, patience_s)
        except (psycopg.Error, UnicodeError) as error:
            connection = self.unavailable(error)
        if isinstance(connection, StoreUnavailable):
            raise connection  # with nothing behind it: what the driver says may hold the password
        try:
            row = connection.execute("SELECT current_setting('synchronous_commit') AS own").fetchone()
        except psycopg.Error as error:
            connection.close()
            raise self.unavailable(error) from error
        own = row["own"] if row else "on"
        return PostgresLink(connection, "on" if own in _LAX else own)

    @staticmethod
    def is_ours(error: Exception) -> bool:
        """Whether a constraint is broken, a statement wrong, or a value none that fits."""
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return False
        return isinstance(error, psycopg.IntegrityError | psycopg.ProgrammingError | psycopg.DataError)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Name the server and database, the reason, and what to look at; never the password."""
        said = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            said = said.replace(secret, "***")
        what = "nothing was written"
        if isinstance(error, CommitUnknown):
            what = "whether the commit was written is not known, so look before it is repeated"
        return StoreUnavailable(
            f"the store {self.name} can't be used: {said}; {what}. Check that the server runs, that "
            "LASTGOOD_DATABASE names it with a user who may write there, and that nobody holds it locked"
        )


def connect(url: str, patience_s: float) -> Bounded:
    """Connect to a server; raises what psycopg raises."""
    connection = Bounded.connect(
        url,
        autocommit=True,  # BEGIN is said where a transaction begins
        row_factory=_rows,
        cursor_factory=psycopg.RawCursor,
        connect_timeout=max(2, round(patience_s)),
        fallback_application_name="lastgood",
        prepare_threshold=2,
    )
    connection.patience_s = patience_s + _GRACE_S
    connection.adapters.register_loader("numeric", _Number)
    try:
        connection.execute(
            f"SET lock_timeout = {round(patience_s * 1000)}; SET statement_timeout = {_STATEMENT_S * 1000}; "
            f"SET idle_in_transaction_session_timeout = {round(_IDLE_S * 1000)}; "
            "SET client_encoding = 'UTF8'",
            prepare=False,
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _shown(url: str) -> tuple[str, tuple[str, ...]]:
    """Return the URL without user and password, and what must never be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "postgresql://(a URL that can't be read)", (url,)
    user, _, hosts = parts.netloc.rpartition("@")
    query = parse_qs(parts.query)
    password = [user.partition(":")[2], *query.get("password", [])]
    host = hosts or ",".join(query.get("host", ["localhost"]))
    secrets = {url, *password, *map(unquote, password)} - {""}
    return f"postgresql://{host}{parts.path}", tuple(sorted(secrets, key=len, reverse=True))
