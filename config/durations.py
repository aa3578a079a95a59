"""Durations: text with a unit in a policy, whole microseconds everywhere else."""

import re
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

#: microseconds of each unit that a policy may use
UNITS = {"s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
#: units that people write and what they most likely mean
_MEANT = {
    "sec": "s",
    "second": "s",
    "m": "min",
    "minute": "min",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "ms": "s",
    "w": "d",
    "week": "d",
}
_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(?P<unit>[^\W\d_]*)")
#: the finest duration that a policy can name, in microseconds
_FINEST = 1_000


def parse_duration(value: object) -> int:
    """Read `"90 s"`, `"10 min"`, `"1.5 h"` or `"14 d"` as microseconds.

    Raises ValueError for a bare number, an unknown unit (naming the nearest one) or anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # pydantic reports a ValueError with its place, and lets a TypeError through
        raise ValueError(_bare(str(value)[:20]))  # noqa: TRY004  as said above
    if not isinstance(value, str) or (found := _DURATION.fullmatch(value.strip())) is None:
        raise ValueError("should be a duration such as '90 s', '10 min', '6 h' or '14 d'")
    number, unit = found["number"], found["unit"]
    if not unit:
        raise ValueError(_bare(number))
    if unit not in UNITS:
        raise ValueError(f"unknown unit of time {unit[:20]!r}{_nearest(unit)} Units are {', '.join(UNITS)}")
    micros = Decimal(number) * UNITS[unit]
    if micros % _FINEST:
        raise ValueError("is finer than a millisecond")
    return int(micros)


def format_duration(micros: int) -> str:
    """Write microseconds as the shortest exact text: the largest unit that divides them, else seconds."""
    for unit in ("d", "h", "min"):
        if micros and micros % UNITS[unit] == 0:
            return f"{micros // UNITS[unit]} {unit}"
    return f"{(Decimal(micros) / UNITS['s']).normalize():f} s"


def between(least: str, most: str) -> AfterValidator:
    """Bounds of a duration, both included, in the words that a policy uses."""
    low, high = parse_duration(least), parse_duration(most)

    def check(micros: int) -> int:
        if not low <= micros <= high:
            raise ValueError(f"should be {least} to {most}, not {format_duration(micros)}")
        return micros

    return AfterValidator(check)


def _bare(number: str) -> str:
    return f"{number} has no unit of time; write '{number} s', '{number} min', '{number} h' or '{number} d'"


def _nearest(unit: str) -> str:
    word = unit.lower()
    meant = _MEANT.get(word) or _MEANT.get(word.removesuffix("s"))
    near = [meant] if meant else get_close_matches(word[:20], UNITS, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else "."


#: microseconds; text with a unit in YAML and JSON
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *(s|min|h|d)$"}),
]

__all__ = ["UNITS", "Duration", "between", "format_duration", "parse_duration"]
