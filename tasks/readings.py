"""Readings: points of a signal checked and ordered, or the reason why there are none. Pure.

Missing is never zero, and a series whose newest point is old is never fresh.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from evaluators.watched import Series
from lastgood.errors import InvalidInput
from lastgood.redaction import clean

#: points of one series at most
MOST = 50_000


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
        found = sorted(point(each) for each in points)
        if not found:
            return self.absent("it answered without a point: missing is not zero; look at the source")
        if len(found) > MOST:
            return self.absent(f"it answered with {len(found)} points, {MOST} at most; aggregate them")
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


def point(raw: Any) -> tuple[int, float]:
    """(time, value) as microseconds UTC and a finite number; InvalidInput says what is wrong."""
    try:
        at, value = raw
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{raw!r} is no pair of a time and a number") from error
    if isinstance(value, bool) or value is None or not math.isfinite(float(value)):
        raise InvalidInput(
            f"the value {value!r} is no finite number; leave the point out where nothing is known"
        )
    return micros(at), float(value)


def micros(at: Any) -> int:
    """A time as microseconds UTC: a datetime, ISO text or seconds since 1970; InvalidInput for any other."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if isinstance(at, datetime):
        aware = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if isinstance(at, bool) or not math.isfinite(float(at)):
        raise InvalidInput(f"the time {at!r} is none; give a datetime, ISO text or seconds since 1970")
    return round(float(at) * 1e6)


def time_of(at_us: int) -> datetime:
    """Microseconds UTC as a datetime with its zone."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def said(error: BaseException) -> str:
    """One line of an error; the parameters of a query and a URL's password stay out."""
    text = clean(str(getattr(error, "orig", None) or error)).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


__all__ = ["MOST", "Reading", "Source", "micros", "point", "said", "time_of"]
