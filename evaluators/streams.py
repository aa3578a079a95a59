"""Streams: runs drawn from a population, in the order of assignment, as `Comparison.observe` takes them.

    rng = np.random.default_rng(1)
    healthy = Population()
    history = History(draw_history(rng, healthy, 20_000))
    runs = draw(rng, healthy, replace(healthy, completed=0.64), 5_000, share=0.1)

Each run is a unit of its own (no column `unit`), its arm a coin of the share's bias. Outcomes of a healthy
`Population()` are independent of each other; one of recorded runs draws whole runs, so what goes together in
the records (a failed run that cost more) goes together here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.history import LABELS
from evaluators.mixture import BoolArray, FloatArray
from evaluators.scoring import has_data, read_flag, read_number
from lastgood.errors import InvalidEvidence

#: flags of a run, in the order in which they are drawn; `incidents` counts as whether there was any
FLAGS = ("completed", "validated", "escalated", "incidents", "lost", "infra_failure")
#: amounts of a run
AMOUNTS = ("cost_usd", "operator_edits", "latency_s")
#: the arms by the places that a coin gives them
_ARMS = pd.Index(["baseline", "candidate"])

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Rates of an agent's runs; the defaults are the healthy base of STATISTICS.md, section 5.

    With `recorded` runs these are what the rates and means say: a run is drawn from them with replacement,
    a flag whose rate was changed is turned in as many runs as that needs, an amount is multiplied.
    """

    #: chance that a run is completed, is validated, is escalated, has an incident, 0..1
    completed: float = 0.92
    validated: float = 0.97
    escalated: float = 0.06
    incidents: float = 0.005
    #: chance that a run never reports, and that the host declares it broken, 0..1
    lost: float = 0.0
    infra_failure: float = 0.0
    #: mean cost of a run, US dollars, and the standard deviation of its logarithm (log-normal)
    cost_usd: float = 0.08
    cost_sigma: float = 1.0
    #: mean edits of a run's output, and the shape k of their negative binomial
    operator_edits: float = 0.4
    edits_k: float = 0.5
    #: mean seconds of a run, and the standard deviation of their logarithm (log-normal)
    latency_s: float = 4.0
    latency_sigma: float = 0.6
    #: rates and means of other columns, in the column's unit; a column that was not recorded is a flag
    others: Mapping[str, float] = field(default_factory=dict)
    #: by column: chance that a run has this amount instead of its own
    replaced: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: by column (edge, to): amounts of `edge` or more are at least `to`; where `to` is under `edge`, amounts
    #: of `edge` or less are at most `to`
    pushed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: slices with their shares of the runs; of recorded runs their own column serves
    strata: Mapping[str, float] = field(default_factory=dict)
    #: recorded runs to draw from, one a row
    recorded: pd.DataFrame | None = None

    @classmethod
    def from_frame(cls, runs: pd.DataFrame) -> Self:
        """The rates of recorded runs of one bundle; of labels and text only the stratum is kept.

        Raises InvalidEvidence where there is no run, or an outcome can't be one.
        """
        if runs.empty:
            raise InvalidEvidence("no recorded run to draw from; name a history with runs, or none at all")
        columns, rates = {}, {}
        for name in map(str, runs.columns):
            if name in LABELS or not has_data(runs, name):
                continue
            try:
                amount = read_number(runs, name)
            except InvalidEvidence:
                if name in (*FLAGS, *AMOUNTS):
                    raise
                continue  # a free column of text
            if name in FLAGS:
                read_flag(runs, name)  # refuses what is no count
            columns[name] = np.where(amount.known, amount.value, np.nan)
            rates[name] = _rate(name, columns[name])
        recorded = pd.DataFrame(columns)
        if "stratum" in runs:
            recorded["stratum"] = pd.Categorical(runs["stratum"].reset_index(drop=True))
        others = {name: rate for name, rate in rates.items() if name not in (*FLAGS, *AMOUNTS)}
        fields: dict[str, Any] = {name: rate for name, rate in rates.items() if name not in others}
        return cls(**fields, others=others, recorded=recorded)

    def level(self, column: str) -> float:
        """The rate of a flag or the mean of an amount; KeyError where the population has no such column."""
        if column in FLAGS or column in AMOUNTS:
            return float(getattr(self, column))
        return float(self.others[column])

    def at(self, column: str, level: float) -> "Population":
        """The same population with another rate or mean in one column."""
        if column in FLAGS or column in AMOUNTS:
            changed: Any = {column: level}
            return replace(self, **changed)
        if column not in self.others:
            raise KeyError(column)
        return replace(self, others={**self.others, column: level})

    @property
    def as_recorded(self) -> bool:
        """Whether its runs are recorded ones, none of them changed."""
        recorded = self.recorded
        if recorded is None or self.replaced or self.pushed:
            return False
        own = {name: recorded[name].to_numpy(dtype=np.float64) for name in self.columns()}
        return all(self.level(name) == _rate(name, values) for name, values in own.items())

    def columns(self) -> tuple[str, ...]:
        """The outcome columns that its runs report."""
        if self.recorded is None:
            return (*FLAGS, *AMOUNTS, *self.others)
        return tuple(name for name in self.recorded.columns if name != "stratum")


def draw(
    rng: np.random.Generator,
    baseline: Population,
    candidate: Population,
    runs: int,
    share: float | FloatArray,
) -> pd.DataFrame:
    """Runs of a release, one a row: `arm`, `share` and the outcomes of the arm's population.

    `share` (0..1, or one a run) is the candidate's; `stratum` is there where the baseline has slices. A
    column that only one population has is missing in the other's runs.
    """
    shares = np.broadcast_to(np.asarray(share, dtype=np.float64), (runs,))
    ours = rng.random(runs) < shares
    arms = (outcomes(rng, baseline, runs - int(ours.sum())), outcomes(rng, candidate, int(ours.sum())))
    columns: dict[str, Any] = {"arm": pd.Categorical.from_codes(ours.astype(np.int8), _ARMS), "share": shares}
    for name in dict.fromkeys([*arms[0], *arms[1]]):
        columns[name] = _dealt(ours, arms[0].get(name), arms[1].get(name))
    return pd.DataFrame(columns)


def draw_history(rng: np.random.Generator, population: Population, runs: int) -> pd.DataFrame:
    """Recorded runs of one population, as `History` takes them."""
    return pd.DataFrame(outcomes(rng, population, runs))


def outcomes(rng: np.random.Generator, population: Population, runs: int) -> dict[str, Column]:
    """Outcome columns of independent runs, (runs,) each, and `stratum` where there are slices."""
    found = (
        _resampled(rng, population, runs) if population.recorded is not None else _made(rng, population, runs)
    )
    for name, (chance, value) in population.replaced.items():
        found[name] = np.where(rng.random(runs) < chance, value, found[name])
    for name, (edge, to) in population.pushed.items():
        own = found[name]
        moved = np.maximum(own, to) if to >= edge else np.minimum(own, to)
        found[name] = np.where(own >= edge if to >= edge else own <= edge, moved, own)
    return found


def _made(rng: np.random.Generator, population: Population, runs: int) -> dict[str, Column]:
    """Independent outcomes of given rates."""
    found: dict[str, Column] = {}
    for name in (*FLAGS, *population.others):
        rate = population.level(name)
        found[name] = rng.random(runs) < rate if rate > 0.0 else np.zeros(runs, dtype=np.bool_)
    for name, sigma in (("cost_usd", population.cost_sigma), ("latency_s", population.latency_sigma)):
        found[name] = population.level(name) * np.exp(sigma * rng.standard_normal(runs) - sigma * sigma / 2.0)
    k, mean = population.edits_k, population.operator_edits
    found["operator_edits"] = rng.negative_binomial(k, k / (k + mean), runs).astype(np.float64)
    if population.strata:
        weights = np.array(list(population.strata.values()))
        codes = np.searchsorted(np.cumsum(weights / weights.sum())[:-1], rng.random(runs), side="right")
        found["stratum"] = np.array(list(population.strata), dtype=object)[codes]
    return found


def _resampled(rng: np.random.Generator, population: Population, runs: int) -> dict[str, Column]:
    """Recorded runs drawn with replacement, moved to the population's rates and means."""
    recorded = population.recorded
    if recorded is None or len(recorded) == 0:
        raise InvalidEvidence("a population of recorded runs has none; build it with Population.from_frame")
    rows = rng.integers(0, len(recorded), runs)
    found: dict[str, Column] = {}
    for name in recorded.columns:
        if name == "stratum":
            found[name] = recorded[name].astype(object).to_numpy()[rows]
            continue
        all_of = recorded[name].to_numpy(dtype=np.float64)
        drawn, own, wanted = all_of[rows], _rate(name, all_of), population.level(name)
        if wanted == own:
            found[name] = drawn
        elif is_flag(name, all_of):
            found[name] = _turned(rng, drawn, own, wanted)
        else:
            found[name] = drawn * (wanted / own) if own else drawn
    return found


def is_flag(name: str, values: FloatArray) -> bool:
    """Whether a recorded column is judged as true or false; missing values are NaN."""
    if name in FLAGS or name in AMOUNTS:
        return name in FLAGS
    known = values[~np.isnan(values)]
    return bool(np.isin(known, (0.0, 1.0)).all())


def _rate(name: str, values: FloatArray) -> float:
    """A flag's rate or an amount's mean over the runs that reported it."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return 0.0
    return float((known > 0.0).mean() if is_flag(name, values) else known.mean())


def _turned(rng: np.random.Generator, drawn: FloatArray, own: float, wanted: float) -> FloatArray:
    """Flags of rate `own` with as many turned as rate `wanted` needs; what is missing stays so."""
    chance = rng.random(len(drawn))
    true: BoolArray = drawn > 0.0
    if wanted < own:
        turned = true & (chance < 1.0 - wanted / own)
    else:
        turned = ~true & (chance < (wanted - own) / (1.0 - own))
    return np.where(np.isnan(drawn) | ~turned, drawn, np.where(true, 0.0, 1.0))


def _dealt(ours: BoolArray, baseline: Column | None, candidate: Column | None) -> Column:
    """One column of both arms in the order of assignment; missing where an arm has none."""
    model = baseline if baseline is not None else candidate
    kinds = [column.dtype for column in (baseline, candidate) if column is not None]
    kind = np.result_type(*kinds) if len(kinds) == 2 else np.dtype(object)
    if model is not None and model.dtype == object:
        kind = np.dtype(object)
    found = np.empty(len(ours), dtype=kind)
    found[~ours] = baseline
    found[ours] = candidate
    return found


__all__ = ["AMOUNTS", "FLAGS", "Population", "draw", "draw_history", "is_flag", "outcomes"]
