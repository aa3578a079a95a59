"""Trends: whether what a process holds goes up, and whether what a database holds stays bounded. Pure."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: a series is judged from this share of its time on: before it caches and pools fill
WARM = 0.34
#: samples, after that, below which nothing is said: a quarter of an hour
FEWEST = 60
#: samples below which no growth is judged: ten minutes
_FULL = 40
#: samples that a fit takes at most
_MOST = 120


@dataclass(frozen=True, slots=True)
class Series:
    """One figure over time."""

    name: str
    unit: str
    #: seconds since the start, and the value
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """A line fitted to the later part of a series."""

    series: Series
    #: units an hour; None: too short to say
    slope: float | None
    #: units an hour that it may go up by
    bound: float
    #: medians of the first and of the last tenth that was judged
    first: float
    last: float
    #: hours that were judged
    hours: float

    @property
    def holds(self) -> bool | None:
        """Whether the slope is within its bound; None where nothing can be said."""
        return None if self.slope is None else self.slope <= self.bound


def trend(series: Series, bound: float) -> Trend:
    """Fit a line by the median of all slopes between two samples (Theil and Sen): a jump moves it little."""
    points = sorted(series.points)
    if not points:
        return Trend(series, None, bound, 0.0, 0.0, 0.0)
    begin, end = points[0][0], points[-1][0]
    late = [point for point in points if point[0] >= begin + WARM * (end - begin)]
    tenth, hours = max(1, len(late) // 10), (late[-1][0] - late[0][0]) / 3600
    first, last = (statistics.median(v for _, v in part) for part in (late[:tenth], late[-tenth:]))
    if len(late) < FEWEST:
        return Trend(series, None, bound, first, last, hours)
    thin = late[:: -(-len(late) // _MOST)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(thin, 2) if b[0] > a[0]]
    return Trend(series, 3600 * statistics.median(slopes), bound, first, last, hours)


@dataclass(frozen=True, slots=True)
class Bounded:
    """The peaks of a series in the middle and in the last third of its time."""

    series: Series
    middle: float
    last: float
    #: how much higher the last peak may be
    ratio: float

    @property
    def holds(self) -> bool | None:
        """Whether it stopped growing; None where there are too few samples."""
        return None if self.middle < 0 else self.last <= self.ratio * self.middle


def bounded(series: Series, ratio: float) -> Bounded:
    """Compare the peak of the last third with that of the middle third: what is pruned goes up and down."""
    points = sorted(series.points)
    if len(points) < _FULL:
        return Bounded(series, -1.0, points[-1][1] if points else 0.0, ratio)
    begin, third = points[0][0], (points[-1][0] - points[0][0]) / 3
    middle = max((v for t, v in points if begin + third <= t < begin + 2 * third), default=-1.0)
    return Bounded(series, middle, max(v for t, v in points if t >= begin + 2 * third), ratio)


def longest(parts: Sequence[Series]) -> Series:
    """The part that lasted longest: a process that was killed begins a new one."""
    return max(parts, key=lambda part: part.points[-1][0] - part.points[0][0])
