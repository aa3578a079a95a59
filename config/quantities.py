"""Shares, margins and rates: how people write them, and the plain numbers they stand for."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

#: a number from which on nothing can be meant; NaN is not below it either
_ABSURD = 1e6
#: the least rate or weight that is told from nothing
_LEAST_RATE = 1e-6
_NUMBER = r"([0-9]{1,4}(?:\.[0-9]{1,25})?)"
_PERCENT = re.compile(_NUMBER + r"\s*%")
_POINTS = re.compile(r"\+?\s*" + _NUMBER + r"\s*points?")


def parse_share(value: object) -> int:
    """Read `"5%"` or `0.05` as basis points (500); ValueError outside 1% to 99% or finer than 0.01%."""
    points = _fraction(value, _PERCENT, "a share such as '5%' or 0.05") * 10_000
    if not 100 <= points <= 9_900:
        raise ValueError(f"a share should be 1% to 99%, as '5%' or 0.05, not {_shown(value)}")
    if points % 1:
        raise ValueError(f"a share has steps of 0.01%; {_shown(value)} is finer")
    return int(points)


def format_share(basis_points: int) -> str:
    """Write basis points as a percentage: 1250 is `12.5%`."""
    return _hundredfold(Decimal(basis_points) / 10_000) + "%"


def parse_margin(value: object) -> float:
    """Read an absolute margin, `"+2 points"` or `0.02`, as a difference of rates (0.02)."""
    if isinstance(value, str) and _PERCENT.fullmatch(value.strip()):
        raise ValueError(
            f"{_shown(value)} could mean two things: write margin: '2 points' for a difference of rates, "
            "or margin_rel: 25% for a part of the baseline's rate"
        )
    return float(_fraction(value, _POINTS, "a margin such as '2 points' or 0.02"))


def format_margin(margin: float) -> str:
    """Write a difference of rates in points: 0.02 is `2 points`."""
    return _hundredfold(Decimal(repr(margin))) + " points"


def parse_percentage(value: object) -> float:
    """Read `"25%"` or `0.25` as 0.25."""
    return float(_fraction(value, _PERCENT, "a percentage such as '25%' or 0.25"))


def format_percentage(part: float) -> str:
    """Write 0.25 as `25%`."""
    return _hundredfold(Decimal(repr(part))) + "%"


def parse_harm(value: object) -> float:
    """Read `"5 points"` as 0.05, `"50%"` as 0.5, and a number as it is."""
    pattern = _PERCENT if isinstance(value, str) and "%" in value else _POINTS
    return float(_fraction(value, pattern, "a harm such as '5 points', '50%' or 0.3"))


def _positive(harm: float) -> float:
    if not harm > 0:
        raise ValueError(f"should be above 0, not {harm:g}")
    return harm


def within(least: float, most: float, show: Callable[[float], str]) -> AfterValidator:
    """Bounds of a quantity, both included, in the words that a policy uses."""

    def check(value: float) -> float:
        if not least <= value <= most:
            raise ValueError(f"should be {show(least)} to {show(most)}, not {show(value)}")
        return value

    return AfterValidator(check)


def _proper(part: float) -> float:
    if not _LEAST_RATE <= part <= 1 - _LEAST_RATE:
        raise ValueError(f"should be above 0 and below 1, not {part:g}")
    return part


def _partial(part: float) -> float:
    if not _LEAST_RATE <= part <= 1:
        raise ValueError(f"should be above 0 and at most 1, not {part:g}")
    return part


def _fraction(value: object, pattern: re.Pattern[str], wanted: str) -> Decimal:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _ABSURD:
        return Decimal(repr(value))
    found = pattern.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"should be {wanted}, not {_shown(value)}")
    return Decimal(found[1]) / 100


def _hundredfold(part: Decimal) -> str:
    return f"{(part * 100).normalize():f}"


def _shown(value: object) -> str:
    return repr(value)[:40]


def _text(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


def _number(bound: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", "exclusiveMinimum": 0, bound: 1})


#: basis points of eligible runs, 100..9900; a percentage in YAML and JSON
Share = Annotated[
    int, BeforeValidator(parse_share), PlainSerializer(format_share, return_type=str), _text(r"^[0-9.]+ *%$")
]
#: an absolute margin as a difference of rates, 0.0001..0.5; points in YAML and JSON
Margin = Annotated[
    float,
    BeforeValidator(parse_margin),
    within(0.0001, 0.5, format_margin),
    PlainSerializer(format_margin, return_type=str),
    _text(r"^\+?[0-9.]+ points?$"),
]
#: a margin as a part of the baseline's bad rate, 0.01..10; a percentage in YAML and JSON
RelativeMargin = Annotated[
    float,
    BeforeValidator(parse_percentage),
    within(0.01, 10, format_percentage),
    PlainSerializer(format_percentage, return_type=str),
    _text(r"^[0-9.]+ *%$"),
]
#: the smallest harm that matters: points of a share of runs, a part of a mean, or a metric's own unit
Harm = Annotated[float, BeforeValidator(parse_harm), AfterValidator(_positive)]
#: a rate or probability strictly between 0 and 1; "92%" is read too
Rate = Annotated[
    float, BeforeValidator(parse_percentage), AfterValidator(_proper), _number("exclusiveMaximum")
]
#: a part of a whole, up to 1; "50%" is read too
Weight = Annotated[float, BeforeValidator(parse_percentage), AfterValidator(_partial), _number("maximum")]

__all__ = [
    "Harm",
    "Margin",
    "Rate",
    "RelativeMargin",
    "Share",
    "Weight",
    "format_margin",
    "format_percentage",
    "format_share",
    "parse_harm",
    "parse_margin",
    "parse_percentage",
    "parse_share",
    "within",
]
