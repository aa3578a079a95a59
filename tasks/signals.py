"""Signals from outside: numbers over time that a watch asks a function, a database or a server for.

A source answers with points or with the reason why there are none. Missing is never zero, and a series whose
newest point is old is never fresh.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluators.watched import Series
from lastgood import guard, secret
from lastgood.callables import imported
from lastgood.errors import InvalidInput
from tasks import asked
from tasks.judges import within
from tasks.readings import MOST, Reading, Source, said, time_of

if TYPE_CHECKING:
    from sqlalchemy import URL

#: seconds that a source may take
_PATIENCE_S = 20.0
#: age from which a signal's newest point is too old, where its profile says nothing
STALE = "15 min"
_NOTHING: Mapping[str, str] = {}
#: ports of databases whose URL names none
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}


@dataclass(frozen=True, slots=True)
class Called:
    """A function `(since, until)` of two aware datetimes that returns (time, number) pairs."""

    reading: Reading
    #: `package.module:function`
    call: str

    def read(self, since_us: int, until_us: int) -> Series:
        """Ask the function; whatever goes wrong is an absence."""
        try:
            function = function_of(self.call)
            points = within(_PATIENCE_S, lambda: list(function(time_of(since_us), time_of(until_us))))
            return self.reading.series(points, until_us)
        except Exception as error:  # noqa: BLE001  a team's own function may raise anything
            return self.reading.absent(f"{self.call} failed: {said(error)}; mend it or take the signal out")


@dataclass(frozen=True, slots=True)
class Queried:
    """A query that returns (time, number) rows.

    It may name :since and :until (ISO text in UTC), or :since_s and :until_s (seconds since 1970).
    """

    reading: Reading
    sql: str
    #: a URL, or `env:NAME` or `file:/path` that hold one
    database: str
    #: what the query may name beside the times
    more: tuple[tuple[str, str], ...] = ()

    def read(self, since_us: int, until_us: int) -> Series:
        """Ask the database; whatever goes wrong is an absence."""
        try:
            rows = within(
                _PATIENCE_S,
                lambda: rows_of(self.sql, self.database, since_us, until_us, more=dict(self.more)),
            )
            return self.reading.series(rows, until_us)
        except Exception as error:  # noqa: BLE001  a driver may raise anything
            return self.reading.absent(f"its query failed: {said(error)}; correct its sql or database")


def rows_of(
    sql: str,
    database: str,
    since_us: int,
    until_us: int,
    *,
    most: int = MOST,
    more: Mapping[str, str] = _NOTHING,
) -> list[tuple[Any, ...]]:
    """Ask a database; a query may name the times as `Queried` says, and what is in `more`."""
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.pool import NullPool

    url = secret.reveal(database) if secret.is_reference(database) else database
    query = text(sql)
    given = {
        "since": time_of(since_us).isoformat(" "), "until": time_of(until_us).isoformat(" "),
        "since_s": since_us / 1e6, "until_s": until_us / 1e6, **more,
    }  # fmt: skip
    wanted = query.compile().params
    engine = create_engine(_reachable(make_url(url)), poolclass=NullPool)
    try:
        with engine.connect() as connection:  # nothing is committed
            found = connection.execute(query, {name: given[name] for name in wanted if name in given})
            return [tuple(row) for row in found.fetchmany(most + 1)]
    finally:
        engine.dispose()


def source(name: str, spec: Mapping[str, Any], more: Mapping[str, str] = _NOTHING) -> Source:
    """The source that a profile or a policy describes; `more` is what a query may name beside the times."""
    from config.durations import parse_duration

    reading = Reading(
        name,
        lower_is_better=spec.get("better", "lower") == "lower",
        required=bool(spec.get("required", True)),
        stale_us=parse_duration(spec.get("stale_after", STALE)),
    )
    if "call" in spec:
        return Called(reading, spec["call"])
    if "sql" in spec:
        return Queried(reading, spec["sql"], spec["database"], tuple(more.items()))
    return asked.source(reading, spec)


def _reachable(url: "URL") -> "URL":
    """A database's URL as it is connected to; raises `BlockedUrl` where its host may not be reached."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if not url.host:
        return url
    address = guard.reachable(url.host, url.port or _PORTS.get(url.get_backend_name(), 0))
    if url.get_backend_name() == "postgresql":  # the name stays, for TLS
        return url.update_query_dict({"hostaddr": str(address)})
    return url


def read_all(signals: Mapping[str, Mapping[str, Any]], since_us: int, until_us: int) -> tuple[Series, ...]:
    """Every signal of a profile, by name."""
    return tuple(source(name, spec).read(since_us, until_us) for name, spec in sorted(signals.items()))


def function_of(call: str) -> Any:
    """Import what `package.module:function` names, from beside the agent too; raises whatever that does."""
    module, colon, name = call.partition(":")
    if not colon or "/" in call:
        raise InvalidInput(f"{call!r} is no package.module:function")
    found: Any = imported(module)
    for step in name.split("."):
        found = getattr(found, step)
    return found


__all__ = ["Called", "Queried", "Reading", "Source", "function_of", "read_all", "rows_of", "source"]
