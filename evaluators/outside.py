"""Figures from outside against a limit: fine, beyond it for long enough, or not known. Pure.

A rule of thumb and no test: no error rate is promised for it. What is missing or stale is never fine, and a
gap between two points is no time beyond the limit.
"""

from dataclasses import dataclass
from enum import StrEnum

from evaluators.watched import Series


class Stand(StrEnum):
    """How a series stands to its limit."""

    FINE = "fine"  #: its newest point is within the limit
    SHORT = "short"  #: beyond it, and not for long enough yet
    BEYOND = "beyond"  #: every point of the time that it has to last is beyond it
    ABSENT = "absent"  #: it can't be read, or has no fresh point


@dataclass(frozen=True, slots=True)
class Limit:
    """What a policy declares about a series."""

    limit: float
    #: microseconds for which every point has to be beyond the limit
    lasts_us: int
    #: microseconds between two points from which what lies between is not known
    gap_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """How a series stands."""

    stand: Stand
    #: the newest point; None without one
    value: float | None
    #: one clause for people
    said: str


def stand(series: Series, limit: Limit) -> Found:
    """Return how a series stands to its limit; its points are in order of time."""
    if series.absent or not series.points:
        return Found(Stand.ABSENT, None, series.absent or "it has no point")
    newest_us, value = series.points[-1]
    beyond = [_is_beyond(point, limit.limit, lower=series.lower_is_better) for _, point in series.points]
    word = "above" if series.lower_is_better else "below"
    if not beyond[-1]:
        return Found(Stand.FINE, value, f"{value:g}, not {word} {limit.limit:g}")
    since_us = newest_us
    for (at_us, _), bad in zip(reversed(series.points), reversed(beyond), strict=True):
        if not bad or since_us - at_us > limit.gap_us:
            break
        since_us = at_us
    lasted_us = newest_us - since_us
    minutes = lasted_us / 60_000_000
    said = f"{value:g} is {word} {limit.limit:g}, for {minutes:.3g} min"
    return Found(Stand.BEYOND if lasted_us >= limit.lasts_us else Stand.SHORT, value, said)


def _is_beyond(value: float, limit: float, *, lower: bool) -> bool:
    return value > limit if lower else value < limit


__all__ = ["Found", "Limit", "Stand", "stand"]
