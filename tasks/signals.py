"""Signals from outside: numbers over time that a watch asks a function or a database for.

A source answers with points or with the reason why there are none. Missing is never zero, and a series whose
newest point is old is never fresh.
"""

import importlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from evaluators.watched import Series
from lastgood import secret
from lastgood.errors import InvalidInput
from tasks.judges import within

#: seconds that a source may take
_PATIENCE_S = 20.0
#: points of one series at most
_MOST = 50_000
#: age from which a signal's newest point is too old, where its profile says nothing
STALE = "15 min"


class Source(Protocol):
    """Where a signal is read."""

    def read(self, since_us: int, until_us: int) -> Series:
        """Its points between two times, microseconds UTC, or why there are none; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What every signal of a profile says about itself."""

    name: str
    lower_is_better: bool = True
    required: bool = True
    #: microseconds of age from which its newest point is too old
    stale_us: int = 15 * 60_000_000

    def series(self, points: Iterable[Any], until_us: int) -> Series:
        """Order and check points; InvalidInput on what is none."""
        found = sorted(_point(point) for point in points)
        if not found:
            return self.absent("it answered without a point: missing is not zero; look at the source")
        if len(found) > _MOST:
            return self.absent(f"it answered with {len(found)} points, {_MOST} at most; aggregate them")
        age_us = until_us - found[-1][0]
        if age_us > self.stale_us:
            minutes = age_us / 60_000_000
            return self.absent(
                f"its newest point is {minutes:.0f} min old: stale is not fresh; look at the source"
            )
        return Series(self.name, tuple(found), "", self.lower_is_better, self.required)

    def absent(self, why: str) -> Series:
        """Say why there is nothing to read."""
        return Series(self.name, (), why, self.lower_is_better, self.required)


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
            points = within(_PATIENCE_S, lambda: list(function(_time(since_us), _time(until_us))))
            return self.reading.series(points, until_us)
        except Exception as error:  # noqa: BLE001  a team's own function may raise anything
            return self.reading.absent(f"{self.call} failed: {_said(error)}; mend it or take the signal out")


@dataclass(frozen=True, slots=True)
class Queried:
    """A query that returns (time, number) rows.

    It may name :since and :until (ISO text in UTC), or :since_s and :until_s (seconds since 1970).
    """

    reading: Reading
    sql: str
    #: a URL, or `env:NAME` or `file:/path` that hold one
    database: str

    def read(self, since_us: int, until_us: int) -> Series:
        """Ask the database; whatever goes wrong is an absence."""
        try:
            rows = within(_PATIENCE_S, lambda: self._rows(since_us, until_us))
            return self.reading.series(rows, until_us)
        except Exception as error:  # noqa: BLE001  a driver may raise anything
            return self.reading.absent(f"its query failed: {_said(error)}; correct its sql or database")

    def _rows(self, since_us: int, until_us: int) -> list[tuple[Any, ...]]:
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        url = secret.reveal(self.database) if secret.is_reference(self.database) else self.database
        query = text(self.sql)
        given = {
            "since": _time(since_us).isoformat(" "), "until": _time(until_us).isoformat(" "),
            "since_s": since_us / 1e6, "until_s": until_us / 1e6,
        }  # fmt: skip
        wanted = query.compile().params
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
        try:
            with engine.connect() as connection:  # nothing is committed
                found = connection.execute(query, {name: given[name] for name in wanted if name in given})
                return [tuple(row) for row in found.fetchmany(_MOST + 1)]
        finally:
            engine.dispose()


def source(name: str, spec: Mapping[str, Any]) -> Source:
    """The source that an agent's profile describes under `signals`."""
    from config.durations import parse_duration

    reading = Reading(
        name,
        lower_is_better=spec.get("better", "lower") == "lower",
        required=bool(spec.get("required", True)),
        stale_us=parse_duration(spec.get("stale_after", STALE)),
    )
    if "sql" in spec:
        return Queried(reading, spec["sql"], spec["database"])
    return Called(reading, spec["call"])


def read_all(signals: Mapping[str, Mapping[str, Any]], since_us: int, until_us: int) -> tuple[Series, ...]:
    """Every signal of a profile, by name."""
    return tuple(source(name, spec).read(since_us, until_us) for name, spec in sorted(signals.items()))


def function_of(call: str) -> Any:
    """Import what `package.module:function` names, from beside the agent too; raises whatever that does."""
    module, colon, name = call.partition(":")
    if not colon or "/" in call:
        raise InvalidInput(f"{call!r} is no package.module:function")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        here = str(Path.cwd())
        if here in sys.path:
            raise
        sys.path.append(here)  # a team's own module beside its agent
        found = importlib.import_module(module)
    for step in name.split("."):
        found = getattr(found, step)
    return found


def _point(raw: Any) -> tuple[int, float]:
    """(time, value) as microseconds UTC and a finite number; InvalidInput says what is wrong."""
    try:
        at, value = raw
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{raw!r} is no pair of a time and a number") from error
    if isinstance(value, bool) or value is None or not math.isfinite(float(value)):
        raise InvalidInput(
            f"the value {value!r} is no finite number; leave the point out where nothing is known"
        )
    return _micros(at), float(value)


def _micros(at: Any) -> int:
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if isinstance(at, datetime):
        aware = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if isinstance(at, bool) or not math.isfinite(float(at)):
        raise InvalidInput(f"the time {at!r} is none; give a datetime, ISO text or seconds since 1970")
    return round(float(at) * 1e6)


def _time(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def _said(error: BaseException) -> str:
    """One line of an error; the parameters of a query and a URL's password stay out."""
    text = str(getattr(error, "orig", None) or error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


__all__ = ["Called", "Queried", "Reading", "Source", "function_of", "read_all", "source"]
