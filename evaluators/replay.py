"""One replay: a release on a virtual clock, its outcomes drawn from recorded runs.

Assignment, evidence and decision are those of a real release: `lastgood.assignment`, `Comparison` and
`next_transition`. Three simplifications: a look sees closed blocks only (an open one is at most a block of
its stratum behind), blocks close by count and never by the clock, and every guardrail is scored at the
policy's longest maturity except where a quicker one proves harm: that revert comes at its own time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.blocks import WHOLE
from evaluators.comparison import Comparison
from evaluators.decision import revert_line
from evaluators.history import History
from evaluators.mixture import BoolArray, FloatArray, IntArray
from evaluators.rules import Rules
from evaluators.stages import Move, Standing, Transition, next_transition
from evaluators.verdict import Decision, Verdict
from lastgood.assignment import bucketer
from lastgood.release import ReleaseState as State
from lastgood.triggers import RateTrigger

#: runs whose buckets and draws are made at once
BATCH = 2_048
#: runs that are looked ahead at first, and at most
AHEAD, FAR_AHEAD = 1_024, 16_384
ARMS = ("baseline", "candidate")


class Ending(StrEnum):
    """How a replayed release ends."""

    PROMOTED = "promoted"  #: every guardrail was proven within its margin
    REVERTED = "reverted"  #: harm was proven, or a trigger fired
    UNDECIDED = "undecided"  #: the horizon came first
    INVALID = "invalid"  #: the evidence could not be used: share 0, or the horizon came first


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Recorded runs of one arm, to draw from with replacement."""

    #: recorded runs
    size: int
    #: outcome columns by name, (size,) each
    outcomes: Mapping[str, npt.NDArray[Any]]
    #: place of each run's stratum in `Case.strata`, -1 for none of them, (size,)
    strata: IntArray


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
    triggers: tuple[RateTrigger, ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """How one replay ended."""

    ending: Ending
    #: candidate runs that were scored when it ended
    candidate_runs: int
    #: candidate runs that had been assigned by then, scored or not
    served: int
    #: microseconds from the start to the end
    age_us: int
    #: index of the step on which it ended
    step: int
    #: guardrails that proved the harm, or whose trigger fired, the worst first
    culprits: tuple[str, ...] = ()
    #: slices that would have proven it alone, as "guardrail/stratum"
    slices: tuple[str, ...] = ()


class Stream:
    """The runs of one replay in the order of assignment, the same however many are asked for at once."""

    def __init__(self, case: Case, salt: str, entropy: tuple[int, ...]) -> None:
        """Draw for one release; `salt` stands for its id."""
        self._case = case
        self._bucket = bucketer(salt)
        self._random = np.random.default_rng(entropy)
        self._buckets: IntArray = np.empty(0, dtype=np.int64)
        self._draws: FloatArray = np.empty(0)

    def candidate(self, first: int, share_bp: IntArray) -> BoolArray:
        """Whether each run from `first` on is the candidate's at these shares, (runs,)."""
        end = first + len(share_bp)
        while len(self._buckets) < end:
            start = len(self._buckets)
            fresh = (self._bucket(f"run-{number}") for number in range(start, start + BATCH))
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
            "arm": pd.Categorical.from_codes(candidate.astype(np.int8), list(ARMS)),
            "share": share_bp / WHOLE,
            "code": codes,
        }
        if case.strata:
            columns["stratum"] = pd.Categorical.from_codes(codes, list(case.strata))
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
    at, shares, after = [np.empty(0)], [np.empty(0, dtype=np.int64)], dict(held)
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
        at += [places[full].astype(np.float64), places[cut] - 0.5]
        shares += [own[full], np.append(share, own[:-1])[cut]]
        after[code] = (int(position[-1] + 1) % size, int(own[-1]))
    order = np.argsort(np.concatenate(at), kind="stable")
    places = np.ceil(np.concatenate(at)[order]).astype(np.int64)
    return places, np.concatenate(shares)[order].astype(np.int64), after


@dataclass(frozen=True, slots=True, eq=False)
class _Ahead:
    """Looks that lie ahead if nothing moves: one a closed block, in order."""

    #: the evidence after all of them
    comparison: Comparison
    #: the path's rows of these looks
    path: pd.DataFrame
    #: number of the run that closed each block, (looks,)
    run: IntArray
    #: microseconds since the start, (looks,)
    age_us: IntArray
    #: candidate runs scored so far, (looks,), and those in closed blocks of the step
    candidate_runs: IntArray
    step_runs: IntArray
    #: microseconds that the evidence has been invalid, (looks,); -1 while it is valid
    invalid_us: IntArray
    #: open blocks after all of them
    held: Open
    #: the run after the last one that was looked at
    end: int


class Release:
    """One release while it is replayed."""

    def __init__(self, case: Case, salt: str, entropy: tuple[int, ...]) -> None:
        """Open it at the first step."""
        self.case, self.rules = case, case.rules
        self.stream = Stream(case, salt, entropy)
        self.comparison = Comparison(case.rules, case.history)
        self.maturity_us = max(case.rules.classes)
        opened = Standing(State.OPENED, 0, 0, 0, 0, 0, lease_left_us=1)
        self.standing = self._entered(next_transition(opened, None, self.rules), opened)
        #: the first run that no look has seen; candidate runs before it
        self.first, self.scored = 0, 0
        #: first run and share (basis points) of each step so far
        self.shares = [(0, self.standing.share_bp)]
        self.since_us, self.step_runs, self.invalid_since = 0, 0, -1
        self.held: Open = {}

    def replay(self) -> Replay:
        """Run it to its end."""
        size = AHEAD
        while True:
            ahead = self._look_ahead(self.first + size)
            found = self._moved(ahead)
            if found is None:
                self._take(ahead, len(ahead.run))
                size = min(2 * size, FAR_AHEAD)
                continue
            look, transition, verdict = found
            if transition.move is not Move.RAMP:
                return self._ended(ahead, look, transition, verdict)
            self._ramp(ahead, look, transition)

    def _entered(self, transition: Transition, standing: Standing) -> Standing:
        """Where a release stands that serves a step's share, its ceilings armed, at that instant."""
        while transition.to is not State.COMPARE:
            state, step, share_bp = transition.to, transition.step, transition.share_bp
            standing = replace(standing, state=state, step=step, share_bp=share_bp)
            transition = next_transition(standing, None, self.rules)
        return replace(standing, state=transition.to, step=transition.step, share_bp=transition.share_bp)

    def _look_us(self, run: IntArray, maturity_us: int) -> IntArray:
        """When the first look is that sees each run matured, microseconds since the start."""
        interval = self.rules.look_interval_us
        return -(-(run * self.case.interval_us + maturity_us) // interval) * interval

    def _runs_by(self, age_us: int, maturity_us: int) -> int:
        """Runs that are matured by a time."""
        return max(0, (age_us - maturity_us) // self.case.interval_us + 1)

    def _shares_of(self, first: int, end: int) -> IntArray:
        """The share in basis points at which each run is assigned, (end - first,)."""
        found = np.empty(end - first, dtype=np.int64)
        for start, share_bp in self.shares:
            found[max(0, start - first) :] = share_bp
        return found

    def _last_run(self) -> int:
        """The run after the last one that a look within the horizon can see."""
        interval = self.rules.look_interval_us
        return self._runs_by(self.rules.horizon_us // interval * interval, self.maturity_us)

    def _look_ahead(self, end: int) -> _Ahead:
        """The looks at the runs up to about `end`: all runs of a look, none after the horizon."""
        whole = int(self._look_us(np.array([end]), self.maturity_us)[0])
        end = max(self.first, min(self._runs_by(whole, self.maturity_us), self._last_run()))
        return self._observe(end)

    def _observe(self, end: int) -> _Ahead:
        share_bp = self._shares_of(self.first, end)
        runs = self.stream.runs(self.first, share_bp)
        ahead, before = self.comparison.copy(), len(self.comparison.path())
        ahead.observe(runs.drop(columns="code"))
        path = ahead.path().iloc[before:]
        size = self.rules.block_size
        at, of_share, held = closings(runs["code"].to_numpy(), share_bp, size, self.held)
        at, of_share = at[: len(path)], of_share[: len(path)]
        scored = self.scored + np.cumsum(runs["arm"].cat.codes.to_numpy(dtype=np.int64))
        runs_of = np.diff(path["candidate"].to_numpy(dtype=np.int64), prepend=self._closed_runs())
        step = self.step_runs + np.cumsum(np.where(of_share == self.standing.share_bp, runs_of, 0))
        age = self._look_us(self.first + at, self.maturity_us)
        invalid = self._invalid_us(path["valid"].to_numpy(dtype=np.bool_), age)
        return _Ahead(ahead, path, self.first + at, age, scored[at], step, invalid, held, end)

    def _closed_runs(self) -> int:
        path = self.comparison.path()
        return int(path["candidate"].iloc[-1]) if len(path) else 0

    def _invalid_us(self, valid: BoolArray, age: IntArray) -> IntArray:
        """For how long the evidence has been invalid at each look; -1 while it is valid."""
        found, since = np.full(len(valid), -1, dtype=np.int64), self.invalid_since
        for look in range(len(valid)) if since >= 0 or not valid.all() else ():
            since = -1 if valid[look] else int(age[look]) if since < 0 else since
            found[look] = -1 if since < 0 else age[look] - since
        return found

    def _moved(self, ahead: _Ahead) -> tuple[int, Transition, Verdict] | None:
        """The first look at which the release moves, its transition and verdict; None where it only holds.

        The place is one past the last look where the horizon's time ends the release.
        """
        for look in speaking(ahead.path, ahead.candidate_runs, ahead.age_us, self.standing.step, self.rules):
            verdict = self._verdict(ahead, int(look))
            transition = next_transition(self._standing_at(ahead, int(look)), verdict, self.rules)
            if transition.move is not Move.HOLD:
                return int(look), transition, verdict
        if ahead.end < self._last_run():
            return None
        standing = replace(self.standing, age_us=self.rules.horizon_us, step_age_us=0)
        verdict = ahead.comparison.verdict()
        return len(ahead.run), next_transition(standing, verdict, self.rules), verdict

    def _standing_at(self, ahead: _Ahead, look: int) -> Standing:
        age, invalid = int(ahead.age_us[look]), int(ahead.invalid_us[look])
        return replace(
            self.standing,
            age_us=age,
            step_age_us=age - self.since_us,
            step_runs=int(ahead.step_runs[look]),
            invalid_us=None if invalid < 0 else invalid,
        )

    def _verdict(self, ahead: _Ahead, look: int) -> Verdict:
        """What a look says; in full where it reverts, which only the last one can."""
        row = ahead.path.iloc[look]
        runs = int(ahead.candidate_runs[look])
        if row["decision"] == Decision.REVERT:
            return replace(ahead.comparison.verdict(), candidate_runs=runs)
        gates = tuple(bool(row[f"gate:{step}"]) for step in range(len(self.rules.steps)))
        valid = bool(row["valid"])
        return Verdict(
            Decision(row["decision"]), (), (), float(row["family"]), revert_line(self.rules), gates,
            valid, "" if valid else "invalid", int(ahead.run[look]) + 1, runs, float(row["mismatch"]),
        )  # fmt: skip

    def _take(self, ahead: _Ahead, looks: int) -> None:
        """Go on behind some looks."""
        self.comparison, self.held = ahead.comparison, ahead.held
        arms = self.stream.candidate(self.first, self._shares_of(self.first, ahead.end))
        self.scored += int(arms.sum())
        self.first = ahead.end
        if looks:
            self.step_runs = int(ahead.step_runs[-1])
            invalid = int(ahead.invalid_us[-1])
            self.invalid_since = -1 if invalid < 0 else int(ahead.age_us[-1]) - invalid

    def _ramp(self, ahead: _Ahead, look: int, transition: Transition) -> None:
        """Serve the next step's share to every run after a look; go on with the runs behind it."""
        seen = self._observe(int(ahead.run[look]) + 1)
        self._take(seen, len(seen.run))
        self.since_us, self.step_runs = int(ahead.age_us[look]), 0
        self.standing = self._entered(transition, self.standing)
        self.shares.append((self._runs_by(self.since_us, 0), self.standing.share_bp))

    def _ended(self, ahead: _Ahead, look: int, transition: Transition, verdict: Verdict) -> Replay:
        late = look == len(ahead.run)
        age = self.rules.horizon_us if late else int(ahead.age_us[look])
        if transition.culprits and not late:
            age = self._harm_us(int(ahead.run[look]), transition.culprits)
        ending = _ending(transition, valid=verdict.valid)
        slices = slices_of(verdict, self.rules) if ending is Ending.REVERTED else ()
        served = self._served(self._runs_by(age, 0))
        return Replay(ending, verdict.candidate_runs, served, age, self.standing.step, transition.culprits, slices)

    def _harm_us(self, run: int, culprits: tuple[str, ...]) -> int:
        """When harm that a run proved is seen: at the maturity of the guardrail that proved it."""
        matures = {guardrail.name: guardrail.maturity_us for guardrail in self.rules.guardrails}
        return int(self._look_us(np.array([run]), matures[culprits[0]])[0])

    def _served(self, runs: int) -> int:
        return int(self.stream.candidate(0, self._shares_of(0, runs)).sum())


def speaking(
    path: pd.DataFrame, candidate_runs: IntArray, age_us: IntArray, step: int, rules: Rules
) -> IntArray:
    """Looks at which a release on a step could do anything but hold, (some,).

    A look that is not the last before its time says only whether it reverts. Leaving the others out saves
    most of a replay's time; a test holds that each of them holds.
    """
    last = np.append(age_us[1:] != age_us[:-1], True) if len(age_us) else np.zeros(0, dtype=np.bool_)
    opens = path[f"gate:{step}"].to_numpy(dtype=np.bool_) | ~path["valid"].to_numpy(dtype=np.bool_)
    late = (candidate_runs >= rules.horizon_runs) | (age_us >= rules.horizon_us)
    reverts = path["decision"].to_numpy() == str(Decision.REVERT)
    return np.flatnonzero(reverts | (last & (opens | late)))


def slices_of(verdict: Verdict, rules: Rules) -> tuple[str, ...]:
    """Slices whose own share of the family's e-value reaches 1/alpha_revert, as "guardrail/stratum"."""
    weights = {guardrail.name: guardrail.weight for guardrail in rules.guardrails}
    strata, found = dict(rules.strata), []
    for name in verdict.culprits:
        for stratum, log_e in verdict.guardrail(name).slices:
            if np.log(weights[name] * strata[stratum] / 2.0) + log_e >= revert_line(rules):
                found.append(f"{name}/{stratum}")
    return tuple(found)


def _ending(transition: Transition, *, valid: bool) -> Ending:
    if transition.move is Move.PROMOTE:
        return Ending.PROMOTED
    if transition.by == "evidence":
        return Ending.REVERTED
    return Ending.UNDECIDED if valid and transition.move is not Move.PAUSE else Ending.INVALID
