"""History: how often the baseline was bad before the release began.

It is frozen before the first run. It predicts the baseline's rate for the bet on the assignment (a poor
guess costs only power) and fixes what a margin means in odds.
"""

from collections.abc import Collection, Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Any, Self, TypeAlias

import numpy as np
import pandas as pd

from evaluators.clusters import design_effect, unit_moments
from evaluators.distribution import Distribution
from evaluators.rules import Guardrail, Kind
from evaluators.scoring import (
    counted_and_bad,
    first_runs,
    has_data,
    left_out,
    read_flag,
    read_modifiers,
    read_number,
)
from lastgood.errors import InvalidEvidence

#: columns of a run record that are no outcome
LABELS = frozenset({"arm", "unit", "stratum", "share", "variant", "task_id", "run", "run_id"})
#: outcome columns that must be readable where they stand
OUTCOMES = ("completed", "validated", "escalated", "incidents", "lost", "infra_failure")
#: outcome columns that are true or false, and so no amounts
FLAGS = frozenset(OUTCOMES) - {"incidents"}
#: flags that a ratio can have for a denominator
DENOMINATORS = ("completed", "validated")

Rates: TypeAlias = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class History:
    """Runs and bad runs of the baseline, overall and by stratum.

    `History(runs)` counts recorded baseline runs (columns as `Comparison.observe` takes them, without arm
    and share); `History()` is empty; `History.from_counts` takes sums.
    """

    #: recorded baseline runs to count, one a row
    runs: InitVar[pd.DataFrame | None] = None
    #: (runs, bad runs) by guardrail name, or by "column=bad value" where counted from records
    overall: Rates = field(default_factory=dict)
    #: the same by stratum
    strata: dict[str, Rates] = field(default_factory=dict)
    #: the amounts of every column of numbers, by column
    measures: dict[str, Distribution] = field(default_factory=dict, compare=False)
    #: how many runs say as much as one independent one, by column; empty where no unit repeats
    clusters: dict[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self, runs: pd.DataFrame | None) -> None:
        """Count the runs; refuse counts that can't be."""
        if runs is not None:
            first, _ = first_runs(runs, set())
            if not first.all():
                self.clusters.update(_clusters(runs))
            runs = runs.loc[first]
            self.overall.update(_count(runs))
            self.measures.update(_measure(runs))
            if "stratum" in runs:
                for stratum, mine in runs.groupby("stratum", sort=True):
                    self.strata[str(stratum)] = _count(mine)
        for place, rates in (("overall", self.overall), *self.strata.items()):
            for name, (n, bad) in rates.items():
                if not 0 <= bad <= n:
                    raise InvalidEvidence(f"history, {place}, {name}: {bad} bad runs of {n} can't be")

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, tuple[int, int]],
        strata: Mapping[str, Mapping[str, tuple[int, int]]] | None = None,
    ) -> Self:
        """History from (runs, bad runs) by guardrail name, overall and by stratum."""
        by_stratum = {name: _whole(rates) for name, rates in (strata or {}).items()}
        return cls(None, overall=_whole(counts), strata=by_stratum)

    def spoken(self, column: str) -> "History":
        """The same as if every run had brought an amount of a column; itself where every one did."""
        found = self.measures.get(column)
        if found is None or not found.silent:
            return self
        measures = {**self.measures, column: replace(found, silent=0, silent_flags={})}
        return History(None, self.overall, self.strata, measures, self.clusters)

    def of(self, guardrail: Guardrail, stratum: str | None = None) -> tuple[int, int]:
        """(runs, bad runs) of one guardrail; of a stratum without history the overall counts.

        Of a `quantile` guardrail the runs past its threshold or without an amount; of a measured one (runs
        with an amount, 0).
        """
        if guardrail.kind is not Kind.PROPORTION:
            return self._of_amounts(guardrail)
        keys = (guardrail.name, _key(guardrail.column, bad=guardrail.bad))
        places = [self.strata.get(stratum, {})] if stratum is not None else []
        for rates in (*places, self.overall):
            for key in keys:
                if key in rates and rates[key][0] > 0:
                    return rates[key]
        return 0, 0

    def outside(self, guardrail: Guardrail, strata: Collection[str]) -> tuple[int, int]:
        """(runs, bad runs) of one guardrail without those of some strata, as far as they are told apart."""
        n, bad = self.of(guardrail)
        for stratum in strata:
            if stratum in self.strata and guardrail.kind is Kind.PROPORTION:
                own = History(overall=self.strata[stratum]).of(guardrail)
                n, bad = max(n - own[0], 0), max(bad - own[1], 0)
        return n, min(bad, n)

    def _of_amounts(self, guardrail: Guardrail) -> tuple[int, int]:
        from evaluators.scales import threshold  # it reads histories

        if guardrail.name in self.overall:
            return self.overall[guardrail.name]
        found, line = self.measures.get(guardrail.column), threshold(guardrail, self)
        if found is None:
            return 0, 0
        if guardrail.kind.measured or line is None:
            return found.n, 0
        # a run that brought no amount counts as past the threshold, as a release scores it
        return found.n + found.silent, found.past(line, above=guardrail.bad) + found.silent

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""

        def plain(rates: Rates) -> dict[str, list[int]]:
            return {name: list(pair) for name, pair in sorted(rates.items())}

        return {
            "overall": plain(self.overall),
            "strata": {name: plain(rates) for name, rates in sorted(self.strata.items())},
            "measures": {name: found.to_json() for name, found in sorted(self.measures.items())},
            "clusters": dict(sorted(self.clusters.items())),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        found = cls.from_counts(data["overall"], data["strata"])
        for name, raw in data.get("measures", {}).items():
            found.measures[str(name)] = Distribution.from_json(raw)
        for name, effect in data.get("clusters", {}).items():
            found.clusters[str(name)] = float(effect)
        return found


def _key(column: str, *, bad: bool) -> str:
    return f"{column}={str(bad).lower()}"


def _whole(counts: Mapping[str, Any]) -> Rates:
    return {name: (int(pair[0]), int(pair[1])) for name, pair in counts.items()}


def _count(runs: pd.DataFrame) -> Rates:
    """Both directions of every outcome column: the guardrail says later which one is bad."""
    lost, infra = read_modifiers(runs)
    found: Rates = {}
    for column in runs.columns:
        if column in LABELS or not has_data(runs, column):
            continue
        for bad in (False, True):
            try:
                counted, wrong = counted_and_bad(runs, column, lost, infra, bad=bad)
            except InvalidEvidence:
                if column in OUTCOMES:
                    raise
                continue  # a free column that is no flag, such as a cost
            found[_key(column, bad=bad)] = (int(counted.sum()), int(wrong.sum()))
    return found


def _clusters(runs: pd.DataFrame) -> dict[str, float]:
    """The design effect of every column that can be read as numbers; amounts above their p99 count as it."""
    found, unit = {}, runs["unit"]
    named = pd.Series(np.where(unit.notna(), unit.map(str), [f"\0{n}" for n in range(len(runs))]))
    for column in runs.columns:
        if column in LABELS or not has_data(runs, column):
            continue
        try:
            amount = read_number(runs, column)
        except InvalidEvidence:
            continue  # a free column of text
        x = np.minimum(amount.value, np.quantile(amount.value[amount.known], 0.99))[amount.known]
        if column in OUTCOMES:
            x = np.minimum(amount.value, 1.0)[amount.known]
        sums = pd.DataFrame({"n": 1.0, "y": x, "s": x * x}).groupby(named[amount.known].to_numpy()).sum()
        found[str(column)] = float(design_effect(unit_moments(sums["n"], sums["y"], sums["s"])))
    return found


def _measure(runs: pd.DataFrame) -> dict[str, Distribution]:
    """The distribution of every column of amounts over the runs that reported one, and how many did not."""
    lost, infra = read_modifiers(runs)
    flags = {name: read_flag(runs, name) for name in DENOMINATORS if has_data(runs, name)}
    found = {}
    for column in runs.columns:
        if column in LABELS or column in FLAGS or not has_data(runs, column):
            continue
        try:
            amount = read_number(runs, column)
        except InvalidEvidence:
            continue  # a free column of text
        rows = amount.known & ~lost & ~infra
        if rows.any():
            true = {name: flag.known & flag.true & ~lost for name, flag in flags.items()}
            silent = (~amount.known | lost) & ~left_out(runs, amount, infra)
            found[str(column)] = Distribution.of(
                amount.value[rows],
                {name: flag[rows] for name, flag in true.items()},
                int(silent.sum()),
                {name: int(flag[silent].sum()) for name, flag in true.items()},
            )
    return found
