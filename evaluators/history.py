"""History: how often the baseline was bad before the release began.

It is frozen before the first run. It predicts the baseline's rate for the bet on the assignment (a poor
guess costs only power) and fixes what a margin means in odds.
"""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any, Self, TypeAlias

import pandas as pd

from evaluators.rules import Guardrail
from evaluators.scoring import counted_and_bad, first_runs, has_data, read_modifiers
from lastgood.errors import InvalidEvidence

#: columns of a run record that are no outcome
LABELS = frozenset({"arm", "unit", "stratum", "share", "variant", "task_id", "run", "run_id"})
#: outcome columns that must be readable where they stand
OUTCOMES = ("completed", "validated", "escalated", "incidents", "lost", "infra_failure")

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

    def __post_init__(self, runs: pd.DataFrame | None) -> None:
        """Count the runs; refuse counts that can't be."""
        if runs is not None:
            first, _ = first_runs(runs, set())
            runs = runs.loc[first]
            self.overall.update(_count(runs))
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

    def of(self, guardrail: Guardrail, stratum: str | None = None) -> tuple[int, int]:
        """(runs, bad runs) of one guardrail; of a stratum without history the overall counts."""
        keys = (guardrail.name, _key(guardrail.column, bad=guardrail.bad))
        places = [self.strata.get(stratum, {})] if stratum is not None else []
        for rates in (*places, self.overall):
            for key in keys:
                if key in rates and rates[key][0] > 0:
                    return rates[key]
        return 0, 0

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""

        def plain(rates: Rates) -> dict[str, list[int]]:
            return {name: list(pair) for name, pair in sorted(rates.items())}

        return {
            "overall": plain(self.overall),
            "strata": {name: plain(rates) for name, rates in sorted(self.strata.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls.from_counts(data["overall"], data["strata"])


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
