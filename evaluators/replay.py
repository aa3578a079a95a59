"""One replay: a release on a virtual clock, its outcomes drawn from recorded runs.

Assignment, evidence and decision are those of a real release: `lastgood.assignment`, `Comparison` and
`next_transition`. Three simplifications: a look sees closed blocks only (an open one is at most a block of
its stratum behind), blocks close by count and never by the clock, and every guardrail is scored at the
policy's longest maturity except where a quicker one proves harm: that revert comes at its own time.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.comparison import Comparison
from evaluators.decision import revert_line
from evaluators.drawing import Case, Open, Stream, closings
from evaluators.mixture import BoolArray, IntArray
from evaluators.rules import Rules
from evaluators.stages import Move, Standing, Transition, next_transition
from evaluators.verdict import Decision, Verdict
from lastgood.release import ReleaseState as State

#: runs that are looked ahead at first, and at most
AHEAD, FAR_AHEAD = 1_024, 16_384


class Ending(StrEnum):
    """How a replayed release ends."""

    PROMOTED = "promoted"  #: every guardrail was proven within its margin
    REVERTED = "reverted"  #: harm was proven, or a trigger fired
    UNDECIDED = "undecided"  #: the horizon came first
    INVALID = "invalid"  #: the evidence could not be used: share 0, or the horizon came first


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
    #: whether a rate trigger ended it, not the comparison
    triggered: bool = False


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

    def __init__(self, case: Case, salt: str, stream: Stream | None = None) -> None:
        """Open it at the first step; its runs are the stream's, else drawn from the case's recordings."""
        # an approval is taken as given at once: what a person does in between is not recorded
        self.case, self.rules = case, replace(case.rules, approve=frozenset())
        self.stream = stream or Stream(case, salt)
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
        #: the first run that no trigger has counted; candidate runs and bad ones before it, by metric
        self.watched = 0
        self.counted = {watch.trigger.metric: (0, 0) for watch in case.watches}

    def replay(self) -> Replay:
        """Run it to its end."""
        size = AHEAD
        while True:
            ahead = self._look_ahead(self.first + size)
            found = self._moved(ahead)
            fired = self._fired(self._until(ahead, found)) if self.case.watches else None
            if fired is not None:
                return fired
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
        scored = self.scored + _running(runs["arm"].cat.codes.to_numpy(dtype=np.int64))
        runs_of = np.diff(path["candidate"].to_numpy(dtype=np.int64), prepend=self._closed_runs()).astype(
            np.int64
        )
        step = self.step_runs + _running(np.where(of_share == self.standing.share_bp, runs_of, 0))
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
        last = len(ahead.run)
        arms = self.stream.candidate(0, self._shares_of(0, ahead.end))
        verdict = replace(ahead.comparison.verdict(), candidate_runs=int(arms.sum()))
        return last, next_transition(self._standing_at(ahead, last), verdict, self.rules), verdict

    def _standing_at(self, ahead: _Ahead, look: int) -> Standing:
        """Where the release stands at a look; one past the last is the horizon's time."""
        late = look == len(ahead.run)
        age = self.rules.horizon_us if late else int(ahead.age_us[look])
        steps = np.append(self.step_runs, ahead.step_runs)
        invalid = -1 if late else int(ahead.invalid_us[look])
        return replace(
            self.standing,
            age_us=age,
            step_age_us=age - self.since_us,
            step_runs=int(steps[-1] if late else ahead.step_runs[look]),
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

    def _until(self, ahead: _Ahead, found: tuple[int, Transition, Verdict] | None) -> int:
        """The run after the last one that is assigned by the time of a move, or of the last look."""
        if found is None:
            age = int(self._look_us(np.array([ahead.end - 1]), self.maturity_us)[0])
        else:
            age = self._age(ahead, found[0], found[1])
        return self._runs_by(age, 0)

    def _fired(self, end: int) -> Replay | None:
        """How the release ends if a trigger fires among the runs before `end`, in order of assignment."""
        first, self.watched = self.watched, max(end, self.watched)
        runs = self.stream.runs(first, self._shares_of(first, self.watched))
        places = np.flatnonzero(runs["arm"].cat.codes.to_numpy() == 1)
        firings = []
        for watch in self.case.watches:
            outcomes = runs[watch.column].to_numpy(dtype=np.bool_)[places]
            n, bad = self.counted[watch.trigger.metric]
            hit = watch.fires(outcomes, (n, bad))
            if hit is not None:
                firings.append((int(places[hit]), n + hit + 1, watch.trigger.metric))
            self.counted[watch.trigger.metric] = n + len(places), bad + int((outcomes == watch.bad).sum())
        if not firings:
            return None
        place, served, metric = min(firings)
        age = (first + place) * self.case.interval_us
        return Replay(Ending.REVERTED, served, served, age, self.standing.step, (metric,), triggered=True)

    def _age(self, ahead: _Ahead, look: int, transition: Transition) -> int:
        """When a move at a look is made, microseconds since the start."""
        if look == len(ahead.run):
            return self.rules.horizon_us
        if transition.culprits:
            return self._harm_us(int(ahead.run[look]), transition.culprits)
        return int(ahead.age_us[look])

    def _ended(self, ahead: _Ahead, look: int, transition: Transition, verdict: Verdict) -> Replay:
        age = self._age(ahead, look, transition)
        ending = _ending(transition, valid=verdict.valid)
        slices = slices_of(verdict, self.rules) if ending is Ending.REVERTED else ()
        served, step = self._served(self._runs_by(age, 0)), self.standing.step
        return Replay(ending, verdict.candidate_runs, served, age, step, transition.culprits, slices)

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


def _running(counts: npt.ArrayLike) -> IntArray:
    """Running sums, shape of the counts."""
    return np.asarray(np.cumsum(counts), dtype=np.int64)


def _ending(transition: Transition, *, valid: bool) -> Ending:
    if transition.move is Move.PROMOTE:
        return Ending.PROMOTED
    if transition.by == "evidence":
        return Ending.REVERTED
    return Ending.UNDECIDED if valid and transition.move is not Move.PAUSE else Ending.INVALID
