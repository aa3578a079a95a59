"""Scales: what history fixes of a measured guardrail before the first run.

Any value that is fixed beforehand is valid; a poor one costs only power.
"""

from dataclasses import dataclass

import numpy as np

from evaluators.history import History
from evaluators.rules import Guardrail, Kind

#: the level of history above which the harm test winsorises
CAP_LEVEL = 0.99


@dataclass(frozen=True, slots=True)
class Scale:
    """How amounts of one guardrail are scored."""

    #: amounts above count as this one in the harm test, in the column's unit
    cap: float
    #: expected amount a denominator, and standard deviation of what is left
    theta: float
    sd: float
    #: mean amount a run, in standard deviations `sd`
    level: float = 0.0
    #: mean loss, 0..1 exclusive: `score` alone
    loss: float = 0.5


def scale(guardrail: Guardrail, history: History) -> Scale | None:
    """The scale of a measured guardrail; None where history has no such amounts.

    cap = the guardrail's, else the history's p99; theta = SUM min(x, cap) / SUM denominators; sd that of
    min(x, cap) - theta * denominator. Source: STATISTICS.md, section 2(c).
    """
    if guardrail.kind is Kind.SCORE:
        return _score(guardrail, history)
    found = history.measures.get(guardrail.column)
    if found is None:
        return None
    cap = guardrail.cap if guardrail.cap is not None else found.quantile(CAP_LEVEL)
    per = guardrail.per if guardrail.kind is Kind.RATIO else None
    if per is not None and per not in found.flags:
        return None
    total, squares, cross, denominators = found.capped(cap, per)
    if denominators <= 0.0 or total <= 0.0:
        return None
    theta = total / denominators
    variance = (squares - 2.0 * theta * cross + theta * theta * denominators) / found.n
    sd = float(np.sqrt(max(variance, (1e-3 * theta) ** 2)))
    return Scale(cap, theta, sd, total / found.n / sd)


def _score(guardrail: Guardrail, history: History) -> Scale:
    """The scale of marks: known from its ends; history only says where the mean lies."""
    width, found = guardrail.highest - guardrail.lowest, history.measures.get(guardrail.column)
    loss = 0.5
    if found is not None:
        mean = (float(found.values[:, 1].sum()) / found.n - guardrail.lowest) / width
        loss = mean if guardrail.bad else 1.0 - mean
    loss = min(max(loss, 0.005), 0.995)
    return Scale(guardrail.highest, loss, float(np.sqrt(loss * (1.0 - loss))), loss=loss)


def threshold(guardrail: Guardrail, history: History) -> float | None:
    """The frozen threshold of a `quantile` guardrail, in the column's unit; None where nothing fixes it."""
    if guardrail.limit is not None:
        return guardrail.limit
    found = history.measures.get(guardrail.column)
    if found is None:
        return None
    return found.quantile(guardrail.level if guardrail.bad else 1.0 - guardrail.level)


__all__ = ["Scale", "scale", "threshold"]
