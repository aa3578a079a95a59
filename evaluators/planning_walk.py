"""Walks: the ramp of an equal candidate from its first run to its end, from drawn sums, many times at once.

All guardrails open the gates of the policy's steps. What is left out, and so slightly wrong: they are drawn
independently. A candidate with a harm is walked by `evaluators.planning_hunt`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.decision import revert_line
from evaluators.mixture import BoolArray, FloatArray, IntArray
from evaluators.planning_sources import Source
from evaluators.planning_worth import Worth
from evaluators.rules import HOUR, Rules

#: microseconds of a day
DAY = 24 * HOUR
#: a slice of runs ends with a look of the walk: a block at first, then this part of all runs in whole blocks
GROWTH = 0.02
#: no plan walks further, runs of both arms
FAR = 10_000_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """How busy the agent is."""

    #: runs a day that a candidate may be given, both arms
    runs_per_day: float
    #: candidate runs that the policy's ceilings let start in an hour; None: no ceiling
    most_per_hour: float | None = None

    def rate(self, share: float) -> float:
        """Runs of both arms that are evidence, a microsecond, at a share (0..1).

        Above a ceiling no run is eligible, in either arm.
        """
        rate = self.runs_per_day / DAY
        return rate if self.most_per_hour is None else min(rate, self.most_per_hour / HOUR / share)


@dataclass(frozen=True, slots=True, eq=False)
class Ramp:
    """When each gate opened in each replicate; infinite where it did not before the horizon."""

    #: microseconds since the start, (replicates, steps)
    at_us: FloatArray
    #: candidate runs assigned and scored by then, (replicates, steps)
    runs: FloatArray
    #: replicates in which each guardrail alone had proven its margin, by name, 0..1
    proven: Mapping[str, float]


class Clock:
    """Time, step and candidate runs of each replicate while all of them take the same runs."""

    def __init__(self, rules: Rules, traffic: Traffic, replicates: int) -> None:
        """At the start."""
        self.rules = rules
        self.shares = np.array([step.share_bp / 10_000 for step in rules.steps])
        self.rates = np.array([traffic.rate(float(share)) for share in self.shares])
        #: from a run to a look that has scored it, microseconds
        self.lag = max(rules.classes) + rules.look_interval_us
        self.step = np.zeros(replicates, dtype=np.int64)
        self.at = np.zeros(replicates)
        self.runs = np.zeros(replicates)
        self.total = 0

    def slices(self, block: int, growth: float = GROWTH) -> Iterator[int]:
        """Sizes of slices, runs of both arms in whole blocks, until every replicate is past the horizon."""
        while self.total < FAR and not self.over.all():
            # a part of all runs, and of the candidate's: at a larger share they come faster
            reached = min(float(self.total), float(self.runs.max() / self.shares[self.step].max()))
            size = block * max(1, int(growth * reached) // block)
            self.total += size
            self.at += size / self.rates[self.step]
            self.runs += size * self.shares[self.step]
            yield size

    @property
    def over(self) -> BoolArray:
        """Replicates past the horizon."""
        late = self.at + self.lag > self.rules.horizon_us
        return np.asarray(late | (self.runs > self.rules.horizon_runs))

    def groups(self) -> Iterator[tuple[int, IntArray]]:
        """Each step that some replicate is on, and those replicates."""
        for step in np.unique(self.step).tolist():
            yield step, np.flatnonzero(self.step == step)


class Steps:
    """Which step each replicate is on, and when each gate opened."""

    def __init__(self, rules: Rules, clock: Clock) -> None:
        """All on the first one."""
        replicates, steps = len(clock.step), len(rules.steps)
        self.rules, self.clock = rules, clock
        self.at_us, self.runs = np.full((replicates, steps), np.inf), np.full((replicates, steps), np.inf)
        #: replicates whose last gate opened
        self.last: BoolArray = np.zeros(replicates, dtype=np.bool_)
        self._began, self._runs_before = np.zeros(replicates), np.zeros(replicates)
        self._due = np.full(replicates, np.inf)
        self._least_us = np.array([float(step.min_time_us) for step in rules.steps])
        self._least_runs = np.array([step.min_runs for step in rules.steps])

    @property
    def waiting(self) -> BoolArray:
        """Replicates whose gate may open: their step's least runs are scored."""
        enough = self.clock.runs - self._runs_before >= self._least_runs[self.clock.step]
        return np.asarray(np.isinf(self._due) & ~self.last & enough)

    def open(self, open_: BoolArray, size: int, rng: np.random.Generator, not_before: FloatArray) -> None:
        """Open the gates that are proven within the last `size` runs, each not before its time.

        The step's least time is over then too. Go on to the next step where that time has come.
        """
        clock, block = self.clock, self.rules.block_size
        # where in the slice it opened is not known: after any of its blocks alike
        back = np.floor(rng.random(len(open_)) * (size // block)) * block
        seen = clock.at - back / clock.rates[clock.step] + clock.lag
        due = np.maximum(np.maximum(seen, not_before), self._began + self._least_us[clock.step])
        self._due = np.where(open_, due, self._due)
        waited = (self._due - seen)[open_] * (clock.rates * clock.shares)[clock.step[open_]]
        rows = np.flatnonzero(open_)
        served = (clock.runs - back * clock.shares[clock.step])[rows] + waited
        self.at_us[rows, clock.step[rows]], self.runs[rows, clock.step[rows]] = self._due[rows], served
        self.last |= open_ & (clock.step == len(self.rules.steps) - 1)
        moves = ~self.last & (clock.at >= self._due)
        self._began = np.where(moves, self._due, self._began)
        self._runs_before = np.where(moves, clock.runs, self._runs_before)
        clock.step, self._due = clock.step + moves, np.where(moves, np.inf, self._due)


def climb(
    sources: Mapping[str, Sequence[Source]],
    rules: Rules,
    traffic: Traffic,
    worth: Mapping[str, Worth],
    *,
    replicates: int,
    seed: int,
) -> Ramp:
    """Walk an equal candidate through the policy's steps.

    `sources` has, by guardrail, one source a step. A gate opens when every guardrail has reached
    1/alpha_promote on it and is at least 1 now, its least runs are scored and its least time is over.
    """
    rng, clock = np.random.default_rng(seed), Clock(rules, traffic, replicates)
    proofs = {name: Proof(own, worth[name], clock, rng) for name, own in sources.items()}
    steps, any_time = Steps(rules, clock), np.zeros(replicates)
    for size in clock.slices(rules.block_size, 2.0 * GROWTH):
        open_ = steps.waiting
        for proof in proofs.values():
            open_ &= proof.taken()
        steps.open(open_, size, rng, any_time)
        if steps.last.all():
            break
    at, runs = steps.at_us, steps.runs
    kept = (at <= rules.horizon_us) & (runs <= rules.horizon_runs)
    proven = {name: float(proof.crossed[:, -1].mean()) for name, proof in proofs.items()}
    return Ramp(np.where(kept, at, np.inf), np.where(kept, runs, np.inf), proven)


class Proof:
    """One guardrail's gates while runs come."""

    def __init__(
        self, sources: Sequence[Source], worth: Worth, clock: Clock, rng: np.random.Generator
    ) -> None:
        """Nothing is proven yet."""
        self.sources, self.worth, self.clock, self.rng = sources, worth, clock, rng
        replicates, steps = len(clock.step), len(sources)
        self.line = float(np.log(1.0 / sources[0].rules.alpha_promote)) + worth.price
        self.total = np.zeros((replicates, len(sources[0].blocks.mean)))
        self.crossed = np.zeros((replicates, steps), dtype=np.bool_)
        self.now = np.zeros((replicates, steps))
        self.blocks = 0

    def taken(self) -> BoolArray:
        """Take the blocks that closed by now; whether the gate that each replicate is at is proven."""
        size = self.sources[0].rules.block_size
        blocks = int(self.clock.total / self.worth.proof) // size
        if blocks > self.blocks:
            for step, rows in self.clock.groups():
                fresh = np.full(len(rows), blocks - self.blocks)
                self.total[rows] += self.sources[step].blocks.draw(self.rng, fresh)
            self.blocks = blocks
            self.look()
        return self.open

    def look(self) -> None:
        """Read the gates from the totals."""
        before = self.now
        self.now = self.sources[0].gates(self.total)
        self.crossed |= touched(before, self.now, self.line, self.rng)

    @property
    def open(self) -> BoolArray:
        """Whether the gate that each replicate is at is proven."""
        proven = self.crossed & (self.now >= self.worth.price)
        return np.asarray(proven[np.arange(len(proven)), self.clock.step])


def touched(before: FloatArray, now: FloatArray, line: float, rng: np.random.Generator) -> BoolArray:
    """Whether paths reached a line between two looks, shape of both; the first axis is replicates.

    A path below it at both ends did with chance exp(-2 (line - before)(line - now)/v), v the variance of its
    increment, here that over the replicates. Source: the maximum of a Brownian bridge.
    """
    v = np.maximum(np.var(now - before, axis=0), 1e-12)
    left = np.maximum(line - before, 0.0) * np.maximum(line - now, 0.0)
    return np.asarray(rng.random(now.shape) < np.exp(np.maximum(-2.0 * left / v, -700.0)))


def alone(rules: Rules, weight: float) -> float:
    """Ln e-value at which a guardrail of this weight reverts alone."""
    return revert_line(rules) - float(np.log(weight))


__all__ = ["DAY", "GROWTH", "Clock", "Proof", "Ramp", "Steps", "Traffic", "alone", "climb", "touched"]
