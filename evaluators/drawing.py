"""Drawing: recorded runs of two arms become the runs of a release, in the order of assignment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.blocks import WHOLE
from evaluators.history import History
from evaluators.mixture import BoolArray, FloatArray, IntArray
from evaluators.rules import Rules
from lastgood.assignment import bucketer
from lastgood.triggers import RateTrigger

#: runs whose buckets and draws are made at once
BATCH = 2_048
#: the arms by the places that an assignment gives them
_ARMS = pd.Index(["baseline", "candidate"])


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Recorded runs of one arm, to draw from with replacement."""

    #: recorded runs
    size: int
    #: outcome columns by name, (size,) each
    outcomes: Mapping[str, npt.NDArray[Any]]
    #: place of each run's stratum in `Case.strata`, -1 for none of them, (size,)
    strata: IntArray


@dataclass(frozen=True, slots=True)
class Watch:
    """A rate trigger and the outcome that it counts."""

    trigger: RateTrigger
    column: str
    #: the column's value that counts as bad
    bad: bool

    def fires(self, outcomes: BoolArray, before: tuple[int, int]) -> int | None:
        """The first of some candidate runs, by their outcomes, at which it fires; None where none does.

        `before` are candidate runs and bad ones ahead of these. Only a bad run can make it fire.
        """
        bad = outcomes == self.bad
        total = before[1] + np.cumsum(bad)
        for place in np.flatnonzero(bad).tolist():
            if self.trigger.fires(before[0] + place + 1, int(total[place])):
                return int(place)
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What all replays of a backtest share."""

    #: its mode is always `act`
    rules: Rules
    history: History
    baseline: Pool
    candidate: Pool
    #: names that `Pool.strata` counts in
    strata: tuple[str, ...]
    #: microseconds from one eligible run to the next
    interval_us: int
    seed: int
    watches: tuple[Watch, ...] = ()


class Stream:
    """The runs of one replay in the order of assignment, the same however many are asked for at once."""

    def __init__(self, case: Case, salt: str) -> None:
        """Assign and draw for one release; `salt` stands for its id."""
        self._case = case
        self._bucket = bucketer(salt)
        self._random = np.random.default_rng(list(salt.encode()))
        self._buckets: IntArray = np.empty(0, dtype=np.int64)
        self._draws: FloatArray = np.empty(0)

    def candidate(self, first: int, share_bp: IntArray) -> BoolArray:
        """Whether each run from `first` on is the candidate's at these shares, (runs,)."""
        end = first + len(share_bp)
        while len(self._buckets) < end:
            start = len(self._buckets)
            fresh = map(self._bucket, map(str, range(start, start + BATCH)))
            self._buckets = np.append(self._buckets, np.fromiter(fresh, dtype=np.int64, count=BATCH))
            self._draws = np.append(self._draws, self._random.random(BATCH))
        return np.asarray(self._buckets[first:end] < share_bp)

    def runs(self, first: int, share_bp: IntArray) -> pd.DataFrame:
        """The runs from `first` on as `Comparison.observe` takes them, with `code`, their stratum's place."""
        case, candidate = self._case, self.candidate(first, share_bp)
        draws = self._draws[first : first + len(share_bp)]
        rows = [(draws * pool.size).astype(np.int64) for pool in (case.baseline, case.candidate)]

        def mixed(baseline: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(np.where(candidate, other[rows[1]], baseline[rows[0]]))

        codes = mixed(case.baseline.strata, case.candidate.strata)
        columns: dict[str, Any] = {
            "arm": pd.Categorical.from_codes(candidate.astype(np.int64), _ARMS),
            "share": share_bp / WHOLE,
            "code": codes,
        }
        if case.strata:
            columns["stratum"] = pd.Categorical.from_codes(codes, pd.Index(case.strata))
        for name, outcome in case.baseline.outcomes.items():
            columns[name] = mixed(outcome, case.candidate.outcomes[name])
        return pd.DataFrame(columns)


#: runs in a stratum's open block, and the block's share in basis points, by the stratum's place
Open = dict[int, tuple[int, int]]


def closings(codes: IntArray, share_bp: IntArray, size: int, held: Open) -> tuple[IntArray, IntArray, Open]:
    """Where blocks close: place of the run that closes each, its share, (blocks,) both, and what stays open.

    The order is that of `Comparison.path`: a full block closes with its last run, one that the share
    outgrew with its stratum's next run.
    """
    none = np.empty(0, dtype=np.int64)
    at, shares, after = [none], [none], dict(held)
    for code in np.unique(codes).tolist():
        places = np.flatnonzero(codes == code)
        own = share_bp[places]
        count, share = held.get(code, (0, int(own[0])))
        starts = np.flatnonzero(np.append(share, own[:-1]) != own)
        position = count + np.arange(len(own))
        for start in starts.tolist():
            position[start:] -= position[start]
        full = position % size == size - 1
        cut = starts[np.append(count, position[:-1] + 1)[starts] % size != 0]
        at += [places[full], places[cut]]
        shares += [own[full], np.append(share, own[:-1])[cut]]
        after[code] = (int(position[-1] + 1) % size, int(own[-1]))
    order = np.argsort(np.concatenate(at), kind="stable")
    return np.concatenate(at)[order], np.concatenate(shares)[order], after
