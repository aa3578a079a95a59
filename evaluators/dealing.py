"""Dealing: the runs of one simulated release, dealt from two populations in the order of assignment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from evaluators.blocks import WHOLE
from evaluators.drawing import Case, Stream, Watch
from evaluators.mixture import BoolArray, FloatArray, IntArray
from evaluators.rules import Rules
from evaluators.scoring import INFRA, LOST
from evaluators.streams import Column, Population, outcomes

#: runs that are drawn at once
BATCH = 4_096


class Dealt(Stream):
    """The runs of one release drawn from two populations, the same however many are asked for at once."""

    def __init__(
        self, case: Case, baseline: Population, candidate: Population, seed: tuple[int, ...]
    ) -> None:
        """Draw nothing yet."""
        super().__init__(case, "")
        self._populations, self._seed = (baseline, candidate), seed
        self._columns = judged_columns(case.rules, case.watches)
        self._filled = {watch.column: float(watch.bad) for watch in case.watches}
        self._strata = case.strata
        self._coins: list[FloatArray] = []
        self._arms: list[tuple[dict[str, Column], dict[str, Column]]] = []

    def candidate(self, first: int, share_bp: IntArray) -> BoolArray:
        """Whether each run from `first` on is the candidate's at these shares, (runs,)."""
        if len(share_bp) == 0:
            return np.zeros(0, dtype=np.bool_)
        self._draw(first + len(share_bp))
        return np.asarray(self._cut(self._coins, first, len(share_bp)) * WHOLE < share_bp)

    def runs(self, first: int, share_bp: IntArray) -> pd.DataFrame:
        """The runs from `first` on as `Comparison.observe` takes them, with `code`, their stratum's place."""
        ours, size = self.candidate(first, share_bp), len(share_bp)
        names = ("baseline", "candidate")
        columns: dict[str, Any] = {
            "arm": pd.Categorical.from_codes(ours.astype(np.int8), pd.Index(names)),
            "share": share_bp / WHOLE,
        }
        same = self._populations[0] is self._populations[1]
        for name in self._arms[0][0] if self._arms else ():
            found = self._cut([arms[0][name] for arms in self._arms], first, size)
            if not same:
                theirs = self._cut([arms[1][name] for arms in self._arms], first, size)
                found = np.where(ours, theirs, found)
            columns[name] = found
        codes = np.full(size, -1, dtype=np.int64)
        if self._strata and "stratum" in columns:
            codes = pd.Index(self._strata).get_indexer(pd.Index(columns["stratum"])).astype(np.int64)
        for name, bad in self._filled.items():
            if columns[name].dtype != np.bool_:
                columns[name] = np.where(np.isnan(columns[name]), bad, columns[name])
        return pd.DataFrame({**columns, "code": codes})

    def _draw(self, end: int) -> None:
        baseline, candidate = self._populations
        while len(self._coins) * BATCH < end:
            rng = np.random.default_rng([*self._seed, len(self._coins)])
            self._coins.append(rng.random(BATCH))
            own = self._kept(outcomes(rng, baseline, BATCH))
            theirs = own if candidate is baseline else self._kept(outcomes(rng, candidate, BATCH))
            self._arms.append((own, theirs))

    def _kept(self, found: dict[str, Column]) -> dict[str, Column]:
        return {name: found[name] for name in self._columns if name in found}

    def _cut(self, batches: list[Any], first: int, size: int) -> Any:
        """So many values from `first` on out of batches."""
        low, high = first // BATCH, -(-(first + size) // BATCH)
        found = batches[low] if high - low == 1 else np.concatenate(batches[low:high])
        return found[first - low * BATCH : first - low * BATCH + size]


def judged_columns(rules: Rules, watches: Sequence[Watch] = ()) -> list[str]:
    """The columns that judging reads."""
    own = [g.column for g in rules.guardrails] + [g.per for g in rules.guardrails]
    return list(dict.fromkeys([*own, *(w.column for w in watches), LOST, INFRA, "stratum"]))


__all__ = ["BATCH", "Dealt", "judged_columns"]
