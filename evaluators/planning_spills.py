"""Spills: what a harm to one guardrail does to the others, which then see it too.

A lost run fails every other guardrail. And guardrails that read one column of numbers (cost and cost_tail)
move together. A harm to any other flag stays in its own guardrail: what a failed run takes from the successes
that a ratio divides by is left out, since the flag's own guardrail sees it long before.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from evaluators.history import History
from evaluators.mixture import FloatArray
from evaluators.planning_harms import Amounts, Harm, Mix, amounts, expected_rate, factor, mix, points_of
from evaluators.rules import Guardrail, Kind, Rules
from evaluators.scales import threshold
from evaluators.scoring import INFRA, LOST


def seen(guardrail: Guardrail, rules: Rules, history: History, harm: Harm | None) -> Mix | None:
    """The kinds of runs that a guardrail sees of a candidate with a harm; None where it can't be known.

    None too where a harm to another guardrail leaves this one as it is.
    """
    if harm is None or harm.guardrail == guardrail.name:
        return mix(guardrail, rules, history, harm)
    (cause,) = (g for g in rules.guardrails if g.name == harm.guardrail)
    plain = mix(guardrail, rules, history)
    if plain is None:
        return None
    if cause.column == LOST and guardrail.column not in {LOST, INFRA}:
        return _losing(plain, guardrail, harm.size, expected_rate(cause, rules, history) or 0.0)
    if cause.column != guardrail.column or Kind.PROPORTION in {cause.kind, guardrail.kind}:
        return None
    found = _worsened(guardrail, cause, history, harm)
    if found is None or guardrail.kind.measured:
        return None if found is None else amounts(guardrail, history.measures[guardrail.column], found)
    return _past(plain, guardrail, history, found)


def _losing(plain: Mix, guardrail: Guardrail, size: float, lost: float) -> Mix:
    """So many more candidate runs are lost, of those that were not: a missing outcome counts alike.

    What was lost before is lost to each guardrail too, on both arms.
    """
    there: dict[str, list[float]] = {guardrail.column: [np.nan]}
    if guardrail.kind is Kind.RATIO:
        there[guardrail.per] = [0.0]
    gone = np.zeros(len(plain.runs))  # these are among the bad ones, or those without an amount
    row = -1 if guardrail.kind.measured else 0
    gone[row] = min(lost, plain.candidate[row])
    kept = gone + (plain.candidate - gone) * (1.0 - size / max(1.0 - gone.sum(), size))
    return Mix(
        pd.concat([plain.runs, pd.DataFrame(there)], ignore_index=True),
        np.append(plain.baseline, 0.0),
        np.append(kept, size),
        np.append(gone, size),
        np.append(gone, 0.0),
    )


def _worsened(guardrail: Guardrail, cause: Guardrail, history: History, harm: Harm) -> Amounts | None:
    """What a harm to `cause` makes of the amounts that both read: what `evaluators.worse` does to runs."""
    found = history.measures[guardrail.column]
    per = guardrail.per if guardrail.kind is Kind.RATIO else None
    values, weights, flag = points_of(found, per)
    if cause.kind is Kind.SCORE:
        worst = cause.highest if cause.bad else cause.lowest
        part = harm.size / max(abs(worst - float(values @ weights)), 1e-9)
        return Amounts(values, weights, flag, np.full(len(values), worst), min(part, 1.0) * weights)
    if cause.kind is not Kind.QUANTILE:
        worse = values * factor(cause, harm.size, values, weights)
        return Amounts(values, weights, flag, worse, weights) if (worse >= 0.0).all() else None
    line = threshold(cause, history)
    return (
        None if line is None else _pushed(Amounts(values, weights, flag, values, weights), cause, line, harm)
    )


def _pushed(points: Amounts, cause: Guardrail, line: float, harm: Harm) -> Amounts:
    """The runs nearest to a threshold get the middle amount of those past it."""
    towards = points.own if cause.bad else -points.own
    edge = line if cause.bad else -line
    order = np.argsort(-towards, kind="stable")
    weights, past = points.weights[order], towards[order] > edge
    beyond = float(weights[past].sum())
    if beyond == 0.0:
        return points
    middle = towards[order][np.searchsorted(np.cumsum(weights[past]), beyond / 2.0)]
    before = np.cumsum(weights) - weights
    moved = np.clip(beyond + harm.size - before, 0.0, weights) * (towards[order] < middle)
    changed = np.empty_like(moved)
    changed[order] = moved
    to = middle if cause.bad else -middle
    return replace(points, worse=np.full(len(towards), to), changed=changed)


def _past(plain: Mix, guardrail: Guardrail, history: History, points: Amounts) -> Mix | None:
    """The same as runs past a quantile's threshold and others."""
    line, found = threshold(guardrail, history), history.measures[guardrail.column]
    if line is None:
        return None
    spoken = found.n / (found.n + found.silent)

    def beyond(values: FloatArray) -> float:
        over = values > line if guardrail.bad else values < line
        return spoken * float(points.changed @ over)

    more, part = beyond(points.worse), spoken * float(points.changed.sum())
    rate = min(max(float(plain.candidate[0]) + more - beyond(points.own), more), 1.0 - part + more)
    return replace(plain, candidate=np.array([rate, 1.0 - rate]), changed=np.array([more, part - more]))


__all__ = ["seen"]
