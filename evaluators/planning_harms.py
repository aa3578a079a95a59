"""Harms: how a candidate could be worse, and the kinds of runs that both arms would then have.

A plan is made for each of them: what the policy declares as the smallest harm that matters, else a few
that any agent may meet.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from evaluators.distribution import Distribution
from evaluators.history import History
from evaluators.mixture import FloatArray
from evaluators.references import margin
from evaluators.rules import Guardrail, Kind, Rules
from evaluators.scales import scale, threshold
from evaluators.scoring import LOST

#: no amount is multiplied with more
FARTHEST = 1_000.0
#: bad rate of a collapse, 0..1: nine runs of ten
COLLAPSED = 0.9
#: part of the good runs that a large drop loses, 0..1
DROP = 0.3
#: how many times as often a bad event happens in a large rise, and its rate where it never happened
TIMES, FROM_NOTHING = 3.0, 0.10
#: how many times as large an amount is in a large rise, and the part that a large fall takes
DEARER, LESS = 1.5, 1.0 / 3.0


@dataclass(frozen=True, slots=True)
class Harm:
    """One way in which a candidate is worse on one guardrail."""

    guardrail: str
    #: a few words for people
    name: str
    #: the worsening: a difference of bad rates (0..1), a part of the mean amount, or marks; 0 is none
    size: float
    #: whether the policy declares it
    declared: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """The kinds of runs that a guardrail tells apart, and how often each arm has them."""

    #: one kind a row, columns as a method scores them
    runs: pd.DataFrame
    #: chance of each kind on the baseline and on the candidate, (kinds,) each
    baseline: FloatArray
    candidate: FloatArray
    #: the part of the candidate's that the harm changed, (kinds,); of a harm that loses runs all lost ones
    changed: FloatArray
    #: the part of the baseline's that is alike: where a harm loses runs, its lost ones, (kinds,); else none
    alike: FloatArray


def expected_rate(guardrail: Guardrail, rules: Rules, history: History) -> float | None:
    """The bad rate that an equal candidate would have where it is judged, 0..1; None where none is known."""
    n, bad = history.outside(guardrail, rules.waived(guardrail.name))
    return bad / n if n else dict(rules.references).get(guardrail.name)


def harms(guardrail: Guardrail, rules: Rules, history: History) -> tuple[Harm, ...]:
    """The declared harm of a guardrail, else the usual ones of its kind; then twice its margin.

    Empty where neither history nor the policy says how an equal candidate would fare.
    """
    margins = _twice_the_margin(guardrail, rules, history)
    if guardrail.smallest_harm is not None:
        name = f"the declared harm, {said_size(guardrail, guardrail.smallest_harm)}"
        return Harm(guardrail.name, name, guardrail.smallest_harm, declared=True), *margins
    if guardrail.kind is Kind.SCORE:
        quarter = (guardrail.highest - guardrail.lowest) / 4.0
        return Harm(guardrail.name, f"a quarter of the scale ({quarter:g})", quarter), *margins
    if guardrail.kind.measured:
        word, size = (f"{DEARER:g} times as much", DEARER - 1.0) if guardrail.bad else ("a third less", LESS)
        return Harm(guardrail.name, word, size), *margins
    return *_of_a_rate(guardrail, rules, history), *margins


def _of_a_rate(guardrail: Guardrail, rules: Rules, history: History) -> tuple[Harm, ...]:
    """The usual harms of a share of bad runs, the largest first."""
    rate = expected_rate(guardrail, rules, history)
    if rate is None or rate >= COLLAPSED:
        return ()
    worse = TIMES * rate if rate >= 0.001 else FROM_NOTHING
    if guardrail.kind is Kind.QUANTILE or guardrail.bad:
        word = "three times as often" if rate >= 0.001 else "one run in ten"
        name = f"{word}: {_points(rate)} to {_points(worse)}"
        return (Harm(guardrail.name, name, worse - rate),) if worse < 1.0 else ()
    drop = DROP * (1.0 - rate)
    return (
        Harm(
            guardrail.name, f"a collapse: {_points(1 - rate)} to {_points(1 - COLLAPSED)}", COLLAPSED - rate
        ),
        Harm(
            guardrail.name, f"a drop by {DROP:.0%}: {_points(1 - rate)} to {_points(1 - rate - drop)}", drop
        ),
    )


def _twice_the_margin(guardrail: Guardrail, rules: Rules, history: History) -> tuple[Harm, ...]:
    found = margin(guardrail, rules, history)
    if found.delta is None:
        return ()
    size = 2.0 * found.delta
    if guardrail.kind in {Kind.RATIO, Kind.COUNT}:
        fixed = scale(guardrail, history)
        size /= fixed.theta if fixed is not None else np.inf
    harm = Harm(guardrail.name, f"twice the margin, {said_size(guardrail, size)}", size)
    return (harm,) if size > 0.0 and mix(guardrail, rules, history, harm) is not None else ()


def said_size(guardrail: Guardrail, size: float) -> str:
    """A harm's size for people."""
    if guardrail.kind is Kind.SCORE:
        return f"{size:.3g} {guardrail.unit or 'marks'}"
    return f"{100 * size:.3g}% of the mean" if guardrail.kind.measured else f"{100 * size:.3g} points"


def _points(rate: float) -> str:
    return f"{100 * rate:.3g}%"


def mix(guardrail: Guardrail, rules: Rules, history: History, harm: Harm | None = None) -> Mix | None:
    """The kinds of runs of an equal candidate, or of one with a harm; None where it can't be known or be."""
    size = 0.0 if harm is None else harm.size
    if not guardrail.kind.measured:
        return _flags(guardrail, rules, history, size)
    found = history.measures.get(guardrail.column)
    per = guardrail.per if guardrail.kind is Kind.RATIO else None
    if found is None or scale(guardrail, history) is None:
        return None
    values, weights, flag = points_of(found, per)
    if guardrail.kind is Kind.SCORE:
        spoken = _marked_down(guardrail, values, weights, size)
        return None if spoken is None else _with_silent(spoken, guardrail, found, per)
    worse = values * factor(guardrail, size, values, weights)
    if (worse < 0.0).any():
        return None
    return amounts(
        guardrail, found, Amounts(values, weights, flag, worse, weights if size else 0.0 * weights)
    )


def factor(guardrail: Guardrail, size: float, values: FloatArray, weights: FloatArray) -> float:
    """What amounts are multiplied with so that the guardrail's own measure of them changes by `size`.

    Where it counts no amount above its cap they have to grow by more than that: what `evaluators.worse` does
    to the runs of a simulation.
    """
    wanted = 1.0 + size if guardrail.bad else 1.0 - size
    if guardrail.cap is None or wanted <= 0.0 or size == 0.0:
        return wanted
    cap = guardrail.cap

    def above(by: float) -> float:
        return float(np.minimum(by * values, cap) @ weights) - wanted * float(
            np.minimum(values, cap) @ weights
        )

    low, high = (1.0, FARTHEST) if wanted > 1.0 else (wanted / 4.0, 1.0)
    return float(brentq(above, low, high)) if above(low) < 0.0 < above(high) else wanted


@dataclass(frozen=True, slots=True, eq=False)
class Amounts:
    """Amounts of runs as points, and what a harm makes of them, (points,) each."""

    own: FloatArray
    #: chance of each, of sum 1, and whether its run is a denominator
    weights: FloatArray
    flag: FloatArray
    #: what a changed run has instead, and the part of the weight that is changed
    worse: FloatArray
    changed: FloatArray


def amounts(guardrail: Guardrail, found: Distribution, points: Amounts) -> Mix:
    """Kinds of runs of amounts: unchanged ones, changed ones, and those without an amount."""
    none, per = np.zeros(len(points.weights)), guardrail.per if guardrail.kind is Kind.RATIO else None
    runs = pd.DataFrame({guardrail.column: np.concatenate([points.own, points.worse])})
    if per is not None:
        runs[per] = np.concatenate([points.flag, points.flag])
    changed = np.concatenate([none, points.changed])
    kept = np.concatenate([points.weights - points.changed, none])
    baseline = np.concatenate([points.weights, none])
    mixed = Mix(runs, baseline, kept + changed, changed, 0.0 * baseline)
    return _with_silent(mixed, guardrail, found, per)


def _with_silent(spoken: Mix, guardrail: Guardrail, found: Distribution, per: str | None) -> Mix:
    """The same with as many runs without an amount, lost ones among them, on both arms as history had."""
    if not found.silent:
        return spoken
    flagged = found.silent_flags.get(per, 0) if per is not None else 0
    part = np.array([flagged, found.silent - flagged]) / (found.n + found.silent)
    rows: dict[str, list[float]] = {guardrail.column: [np.nan, np.nan]}
    if per is not None:
        rows[per] = [1.0, 0.0]
    arms = [np.concatenate([arm * (1.0 - part.sum()), part]) for arm in (spoken.baseline, spoken.candidate)]
    changed = np.append(spoken.changed * (1.0 - part.sum()), [0.0, 0.0])
    runs = pd.concat([spoken.runs, pd.DataFrame(rows)], ignore_index=True)
    return Mix(runs, arms[0], arms[1], changed, 0.0 * changed)


def _flags(guardrail: Guardrail, rules: Rules, history: History, size: float) -> Mix | None:
    """Bad and good runs; of a quantile past the threshold and not."""
    rate = expected_rate(guardrail, rules, history)
    if rate is None or not 0.0 <= rate + size <= 1.0:
        return None
    values = [float(guardrail.bad), float(not guardrail.bad)]
    if guardrail.kind is Kind.QUANTILE:
        line = threshold(guardrail, history)
        if line is None or (line <= 0.0 and not guardrail.bad):
            return None
        values = [line + 1.0 if guardrail.bad else line / 2.0, line]
    runs = pd.DataFrame({guardrail.column: values})
    worse = rate + size
    lost = rate if guardrail.column == LOST else 0.0
    changed, alike = np.array([lost + size, 0.0]), np.array([lost, 0.0])
    return Mix(runs, np.array([rate, 1.0 - rate]), np.array([worse, 1.0 - worse]), changed, alike)


def points_of(found: Distribution, per: str | None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A distribution as points: values, weights of sum 1 and whether the run is a denominator.

    Two points stand for a bin, so that its mean and its square mean are kept: m - s and m + s, or where
    that is below nothing 0 and (m^2 + s^2)/m.
    """
    n, total, squares = found.values.T  # noqa: PD011  no frame
    true, of_true = found.flags[per].T if per is not None else (n, total)
    spread = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))
    parts = []
    for runs, amount, flag in ((true, of_true, 1.0), (n - true, total - of_true, 0.0)):
        some = runs > 0
        mean, weight, s = amount[some] / runs[some], runs[some] / found.n, spread[some]
        under = (mean > 0.0) & (s > mean)
        low = np.where(under, 0.0, mean - s)
        high = np.where(under, (mean**2 + s**2) / np.where(under, mean, 1.0), mean + s)
        part = np.where(under, mean**2 / (mean**2 + np.where(under, s, 1.0) ** 2), 0.5)
        parts += [(low, weight * (1.0 - part), flag), (high, weight * part, flag)]
    values = np.concatenate([value for value, _, _ in parts])
    weights = np.concatenate([weight for _, weight, _ in parts])
    flags = np.concatenate([np.full(len(value), flag) for value, _, flag in parts])
    return values, weights / weights.sum(), flags


def _marked_down(guardrail: Guardrail, values: FloatArray, weights: FloatArray, size: float) -> Mix | None:
    """Some runs have the worst mark, so many that the mean loses `size`: as a simulation has them."""
    worst = guardrail.highest if guardrail.bad else guardrail.lowest
    marks = np.append(np.clip(values, guardrail.lowest, guardrail.highest), worst)
    room = abs(worst - float(marks[:-1] @ weights))
    if size > room or room == 0.0:
        return None
    part = size / room
    runs = pd.DataFrame({guardrail.column: marks})
    changed = np.append(np.zeros(len(weights)), part)
    worse = np.append((1.0 - part) * weights, part)
    return Mix(runs, np.append(weights, 0.0), worse, changed, 0.0 * changed)


__all__ = ["Amounts", "Harm", "Mix", "amounts", "expected_rate", "harms", "mix", "points_of", "said_size"]
