"""Amounts: figures of guardrails as people read them, each in its unit."""

from collections.abc import Mapping
from typing import Any


def amount(value: float, unit: str, *, signed: bool = False) -> str:
    """A value with its unit: `$0.081 per completed run`, `+2.1 points`, `0.4 edits per completed run`."""
    head, _, per = unit.partition(" per ")
    tail = f" per {per}" if per else ""
    number = bare(value, "", signed=signed)
    if head != "USD":
        return f"{number} {head}{tail}"
    sign, digits = (number[0], number[1:]) if number[0] in "+-" else ("", number)
    return f"{sign}${digits}{tail}"


def bare(value: float, unit: str, *, signed: bool = False) -> str:
    """The number alone, where its unit stands elsewhere: points with one decimal, else three digits."""
    if unit == "points":
        return f"{value:+.1f}" if signed else f"{value:.1f}"
    text = f"{abs(value):.3g}"
    if "e" in text:
        text = f"{abs(value):,.0f}" if abs(value) >= 1 else f"{abs(value):.9f}".rstrip("0").rstrip(".")
    sign = "-" if value < 0 else "+" if signed else ""
    return f"{sign}{text}"


def arm(found: Mapping[str, Any], which: str) -> str:
    """One arm's figure in a guardrail's verdict, a plain dict; `which` is `candidate` or `baseline`."""
    n, bad, rate = found[f"n_{which[0]}"], found[f"y_{which[0]}"], found[f"{which}_rate"]
    if found["unit"] == "points":
        return f"{bad}/{n} bad ({rate:.1%})"
    return f"{amount(rate, found['unit'])} over {n} runs"


__all__ = ["amount", "arm", "bare"]
