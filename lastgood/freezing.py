"""Freeze windows: when no release goes forward. Times are a zone's own: a night stays a night in summer.

A frozen policy holds them as plain JSON; `config.freezing` reads what people write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

#: days of the week, as policies write them
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: windows that follow each other without a gap, at most; a year of nights
_MOST = 400


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of certain days, or a span of dates."""

    #: the zone that the times are in, such as `Europe/Berlin`
    zone: str
    #: days of the week on which it begins, 0 is Monday; empty for a span of dates
    days: tuple[int, ...] = ()
    #: where it begins, and ends: before its beginning is on the day after
    begin: time = time()
    end: time = time()
    #: first and last day of a span of dates, both included
    first: date | None = None
    last: date | None = None

    @classmethod
    def of_plain(cls, raw: Mapping[str, Any]) -> Self:
        """Read a window of a frozen policy."""
        zone, given = str(raw["zone"]), (raw.get("from"), raw.get("to"))
        if isinstance(given[0], str) and len(given[0]) > len("00:00"):
            return cls(zone, first=date.fromisoformat(given[0]), last=date.fromisoformat(str(given[1])))
        begin, end = (time.fromisoformat(each or "00:00") for each in given)
        return cls(zone, tuple(DAYS.index(day) for day in raw["days"] or DAYS), begin, end)

    def until(self, now: datetime) -> datetime | None:
        """When it ends, where it is open at `now` (with a zone); None where it is not."""
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        if self.first is not None and self.last is not None:
            end = datetime.combine(self.last + timedelta(days=1), time(), zone)
            return end if self.first <= today and now < end else None
        for day in (today, today - timedelta(days=1)):
            begins = datetime.combine(day, self.begin, zone)
            over = timedelta(days=self.end <= self.begin)
            ends = datetime.combine(day + over, self.end, zone)
            if day.weekday() in self.days and begins <= now < ends:
                return ends
        return None


def frozen(windows: Sequence[Mapping[str, Any]], now_us: int) -> tuple[int, str] | None:
    """Return when the freeze of a frozen policy's `windows` ends (microseconds UTC), and that in words.

    None outside of a freeze. Windows that overlap or follow each other at once are one freeze.
    """
    known = [Window.of_plain(raw) for raw in windows]
    at, end, more = datetime.fromtimestamp(now_us / 1_000_000, UTC), None, ""
    for _ in range(_MOST):
        ends = [found for window in known if (found := window.until(at)) is not None]
        if not ends:
            break
        end = max(ends)
        at = end.astimezone(UTC)
    else:
        more = " or longer"
    if end is None:
        return None
    said = f"a freeze until {end:%a %Y-%m-%d %H:%M} {end.tzinfo}{more}"
    return round(at.timestamp() * 1_000_000), said
