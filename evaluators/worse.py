"""Worse candidates: populations that are worse than another in one guardrail by a known amount.

An amount is a difference of bad rates (`proportion`, `quantile`), of the mean loss (`score`, 0..1), or the
factor on the mean (`count`, `ratio`): that which the guardrail's own margin is made of.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evaluators import scoring
from evaluators.history import History
from evaluators.mixture import BoolArray
from evaluators.planning_harms import Harm, harms
from evaluators.references import margin
from evaluators.rules import Guardrail, Kind, Rules
from evaluators.scales import threshold
from evaluators.streams import FLAGS, Population, draw_history

#: runs that a level is measured on, and the seed that they are drawn with: the same before and after, so
#: that their luck leaves the difference alone
SAMPLE, SEED = 100_000, 20_260_923


@dataclass(frozen=True, slots=True, eq=False)
class Worse:
    """A candidate that is worse in one guardrail."""

    guardrail: str
    #: what it is, in a few words: `at its margin`, `twice the margin`, ...
    label: str
    #: from what to what, in the guardrail's own reading
    words: str
    candidate: Population


class Worsening:
    """Worse candidates of one population under one policy and history."""

    def __init__(self, population: Population, rules: Rules, history: History) -> None:
        """Measure the population."""
        self.population, self.rules, self.history = population, rules, history
        self.sample = self._drawn(population)

    def at_margins(self) -> tuple[Worse, ...]:
        """A candidate exactly at each guardrail's margin; a guardrail that has none is left out."""
        pairs = [(guardrail, self._margin(guardrail)) for guardrail in self.rules.guardrails]
        return tuple(self.of(found, by, "at its margin") for found, by in pairs if by is not None)

    def harmed(self) -> tuple[Worse, ...]:
        """A candidate for each declared harm, else the usual ones: the same that a plan is made for."""
        pairs = [(g, harm) for g in self.rules.guardrails for harm in harms(g, self.rules, self.history)]
        return tuple(self.of(found, _amount(found, harm), harm.name) for found, harm in pairs)

    def of(self, guardrail: Guardrail, by: float, label: str) -> Worse:
        """A candidate that is worse by an amount (see the module)."""
        candidate = self._worse(guardrail, by)
        before, after = self.level(guardrail, self.sample), self.level(guardrail, self._drawn(candidate))
        words = f"{_said(guardrail, before)} -> {_said(guardrail, after)}"
        return Worse(guardrail.name, label, words, candidate)

    def level(self, guardrail: Guardrail, runs: pd.DataFrame) -> float:
        """What a guardrail measures in recorded runs of one arm: bad rate, mean, ratio, or mean loss."""
        lost, infra = scoring.read_modifiers(runs)
        if not guardrail.kind.measured:
            counted, bad = self._bad(guardrail, runs)
            return float(bad.sum() / max(counted.sum(), 1))
        amount = scoring.read_number(runs, guardrail.column)
        rows = amount.known & ~lost & ~infra
        value = amount.value[rows]
        if guardrail.kind is Kind.SCORE:
            share = (float(value.mean()) - guardrail.lowest) / (guardrail.highest - guardrail.lowest)
            return share if guardrail.bad else 1.0 - share
        total = float(value.sum() if guardrail.cap is None else np.minimum(value, guardrail.cap).sum())
        if guardrail.kind is Kind.COUNT:
            return total / len(value)
        return total / max(float(scoring.read_flag(runs, guardrail.per).true[rows].sum()), 1.0)

    def _drawn(self, population: Population) -> pd.DataFrame:
        return draw_history(np.random.default_rng(SEED), population, SAMPLE)

    def _bad(self, guardrail: Guardrail, runs: pd.DataFrame) -> tuple[BoolArray, BoolArray]:
        lost, infra = scoring.read_modifiers(runs)
        column = guardrail.column
        if guardrail.kind is Kind.PROPORTION:
            return scoring.counted_and_bad(runs, column, lost, infra, bad=guardrail.bad)
        line = threshold(guardrail, self.history)
        return scoring.past_threshold(runs, column, lost, infra, line or 0.0, above=guardrail.bad)

    def _margin(self, guardrail: Guardrail) -> float | None:
        """The margin as an amount; None where there is none."""
        final = margin(guardrail, self.rules, self.history)
        if final.delta is None or (guardrail.kind.measured and final.null is None):
            return None
        if not guardrail.kind.measured:
            return final.delta
        return float(final.null or 0.0) if guardrail.kind is Kind.SCORE else float(np.exp(final.null or 0.0))

    def _worse(self, guardrail: Guardrail, by: float) -> Population:
        if guardrail.kind is Kind.PROPORTION:
            return self._turned(guardrail, by)
        if guardrail.kind is Kind.QUANTILE:
            return self._pushed(guardrail, by)
        if guardrail.kind is Kind.SCORE:
            loss = self.level(guardrail, self.sample)
            worst = guardrail.highest if guardrail.bad else guardrail.lowest
            chance = min(by / max(1.0 - loss, 1e-9), 1.0)
            return replace(self.population, replaced={guardrail.column: (chance, worst)})
        return self._scaled(guardrail, by)

    def _turned(self, guardrail: Guardrail, by: float) -> Population:
        """More bad flags: only runs that reported can turn."""
        counted, _ = self._bad(guardrail, self.sample)
        lost, _ = scoring.read_modifiers(self.sample)
        known = scoring.read_flag(self.sample, guardrail.column).known
        if guardrail.column not in {scoring.LOST, scoring.INFRA}:
            known = known & ~lost
        change = by / max(float((known & counted).sum() / max(counted.sum(), 1)), 1e-9)
        level = self.population.level(guardrail.column) + (change if guardrail.bad else -change)
        return self.population.at(guardrail.column, min(max(level, 0.0), 1.0))

    def _pushed(self, guardrail: Guardrail, by: float) -> Population:
        """As many runs past the threshold as it takes, those that were nearest to it.

        They get the middle amount of those past it: each release's history has a threshold of its own, and
        one just past this one would not be past another.
        """
        line = threshold(guardrail, self.history) or 0.0
        amount = scoring.read_number(self.sample, guardrail.column)
        values = amount.value[amount.known]
        beyond = float((values > line).mean() if guardrail.bad else (values < line).mean())
        part = min(beyond + by, 1.0)
        edge = float(np.quantile(values, 1.0 - part if guardrail.bad else part))
        past = values[values > line] if guardrail.bad else values[values < line]
        to = float(np.median(past)) if len(past) else line * 1.5 if guardrail.bad else line * 0.5
        return replace(self.population, pushed={guardrail.column: (edge, to)})

    def _scaled(self, guardrail: Guardrail, by: float) -> Population:
        """The mean times what moves the guardrail's own, capped, measure by the factor."""
        mean, target = self.population.level(guardrail.column), by * self.level(guardrail, self.sample)
        if guardrail.cap is None:
            return self.population.at(guardrail.column, mean * by)
        low, high = (1.0, by) if by > 1.0 else (by / 4.0, 1.0)
        while by > 1.0 and high < 1e3 and self._reaches(guardrail, mean * high) < target:
            low, high = high, 2.0 * high
        for _ in range(12):
            middle = (low + high) / 2.0
            below = self._reaches(guardrail, mean * middle) < target
            low, high = (middle, high) if below else (low, middle)
        return self.population.at(guardrail.column, mean * (low + high) / 2.0)

    def _reaches(self, guardrail: Guardrail, mean: float) -> float:
        return self.level(guardrail, self._drawn(self.population.at(guardrail.column, mean)))


def _amount(guardrail: Guardrail, harm: Harm) -> float:
    """A harm's size as an amount of this module."""
    if guardrail.kind in {Kind.RATIO, Kind.COUNT}:
        return 1.0 + harm.size if guardrail.bad else max(1.0 - harm.size, 0.01)
    width = guardrail.highest - guardrail.lowest
    return harm.size / width if guardrail.kind is Kind.SCORE else harm.size


def _said(guardrail: Guardrail, level: float) -> str:
    """A level as its guardrail reads: the good share of a flag that is good, marks on their scale."""
    if guardrail.kind is Kind.PROPORTION:
        share = level if guardrail.bad else 1.0 - level
        return f"{share:.1%} {guardrail.column}" if guardrail.column in FLAGS else f"{share:.1%}"
    if guardrail.kind is Kind.QUANTILE:
        return f"{level:.1%} of runs past the threshold"
    if guardrail.kind is Kind.SCORE:
        share = level if guardrail.bad else 1.0 - level
        return f"{guardrail.lowest + share * (guardrail.highest - guardrail.lowest):.2f}"
    return f"{level:.3g} {guardrail.unit or guardrail.column}"


__all__ = ["Worse", "Worsening"]
