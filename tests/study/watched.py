"""One stream as its peers see it: values a window of traffic, arms of equal size, and what is healthy."""

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from judging import seeded, until_horizon
from peers import METRICS
from scenarios import BASE, Scenario

#: bad runs a run, or an amount a completed run, at the healthy base
HEALTHY = {
    "completion": 1 - BASE.completed, "validation": 1 - BASE.validated, "incidents": BASE.incidents,
    "cost": BASE.cost_usd / BASE.completed, "escalation": BASE.escalated, "edits": BASE.operator_edits / BASE.completed,
}  # fmt: skip


@dataclass(frozen=True)
class Watched:
    """The runs of one release in the order of assignment, up to the horizon."""

    scenario: Scenario
    replication: int

    @cached_property
    def drawn(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """History and runs, those of the study."""
        rng = seeded(self.scenario, self.replication)
        history = self.scenario.history(rng)
        return history, until_horizon(self.scenario.stream(rng, self.scenario.runs))

    @property
    def runs(self) -> pd.DataFrame:
        return self.drawn[1]

    @cached_property
    def ours(self) -> np.ndarray:
        """Which runs are the candidate's."""
        return (self.runs["arm"] == "candidate").to_numpy()

    @cached_property
    def alike(self) -> np.ndarray:
        """Baseline runs that make an arm as large as the candidate's at any time: drawn by user, or by run."""
        rng = np.random.default_rng([zlib.crc32(self.scenario.name.encode()), self.replication, 1])
        unit = self.runs.get("unit")
        codes = np.arange(len(self.runs)) if unit is None else pd.factorize(unit)[0]
        share = self.runs["share"].to_numpy(dtype=float)
        return ~self.ours & (rng.random(codes.max() + 1)[codes] < share / (1.0 - share))

    def seen(self, windows: int, each: int) -> int:
        """Candidate runs in so many windows of `each` runs of traffic."""
        return int(self.ours[: windows * each].sum())

    def windows(self, mine: np.ndarray, each: int) -> dict[str, np.ndarray]:
        """Each metric in each window of `each` runs of traffic; NaN where an arm has nothing there."""
        whole = len(self.runs) // each * each

        def sums(values: np.ndarray) -> np.ndarray:
            return np.where(mine, values, 0.0)[:whole].reshape(-1, each).sum(axis=1)

        done = self.runs["completed"].to_numpy(dtype=float)
        n, completed, found = sums(np.ones(len(done))), sums(done), {}
        for metric, (column, amount) in METRICS.items():
            values = self.runs[column].to_numpy(dtype=float)
            bad = 1.0 - values if column in {"completed", "validated"} else values
            with np.errstate(invalid="ignore", divide="ignore"):
                rate = sums(bad) / (completed if amount else n)
            found[metric] = np.where((completed if amount else n) > 0, rate, np.nan)
        return found
