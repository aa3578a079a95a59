"""Walks: a release from its first run to its end, from drawn sums, many times at once.

Two of them. The ramp of an equal candidate: all guardrails open the gates of the policy's steps. And the
hunt for one harm: the harm test of its guardrail, along the ramps that were found. What is left out, and so
slightly wrong: guardrails are drawn independently, and a harmful candidate's other guardrails bet nothing.
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


class _Clock:
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
    rng, clock = np.random.default_rng(seed), _Clock(rules, traffic, replicates)
    proofs = {name: _Proof(own, worth[name], clock, rng) for name, own in sources.items()}
    steps = len(rules.steps)
    at, runs = np.full((replicates, steps), np.inf), np.full((replicates, steps), np.inf)
    began, runs_before, due = np.zeros(replicates), np.zeros(replicates), np.full(replicates, np.inf)
    least_us = np.array([float(step.min_time_us) for step in rules.steps])
    least_runs = np.array([step.min_runs for step in rules.steps])
    last = np.zeros(replicates, dtype=np.bool_)
    block = rules.block_size
    for size in clock.slices(block, 2.0 * GROWTH):
        open_ = np.isinf(due) & ~last & (clock.runs - runs_before >= least_runs[clock.step])
        for proof in proofs.values():
            open_ &= proof.taken()
        # where in the slice it opened is not known: after any of its blocks alike
        back = np.floor(rng.random(replicates) * (size // block)) * block
        seen = clock.at - back / clock.rates[clock.step] + clock.lag
        due = np.where(open_, np.maximum(seen, began + least_us[clock.step]), due)
        waited = (due - seen)[open_] * (clock.rates * clock.shares)[clock.step[open_]]
        rows = np.flatnonzero(open_)
        served = (clock.runs - back * clock.shares[clock.step])[rows] + waited
        at[rows, clock.step[rows]], runs[rows, clock.step[rows]] = due[rows], served
        last |= open_ & (clock.step == steps - 1)
        if last.all():
            break
        moves = ~last & (clock.at >= due)
        began, runs_before = np.where(moves, due, began), np.where(moves, clock.runs, runs_before)
        clock.step, due = clock.step + moves, np.where(moves, np.inf, due)
    kept = (at <= rules.horizon_us) & (runs <= rules.horizon_runs)
    proven = {name: float(proof.crossed[:, -1].mean()) for name, proof in proofs.items()}
    return Ramp(np.where(kept, at, np.inf), np.where(kept, runs, np.inf), proven)


class _Proof:
    """One guardrail's gates while runs come."""

    def __init__(
        self, sources: Sequence[Source], worth: Worth, clock: _Clock, rng: np.random.Generator
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
                added = self.sources[step].blocks.draw(self.rng, blocks - self.blocks, len(rows))
                self.total[rows] += added
            self.blocks, before = blocks, self.now
            self.now = self.sources[0].gates(self.total)
            self.crossed |= touched(before, self.now, self.line, self.rng)
        proven = self.crossed & (self.now >= self.worth.price)
        return np.asarray(proven[np.arange(len(proven)), self.clock.step])


def hunt(
    sources: Sequence[Source],
    rules: Rules,
    traffic: Traffic,
    worth: Worth,
    opens_us: FloatArray,
    *,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Candidate runs, and microseconds since the start, until one harm is caught, (replicates,) each.

    `sources` has one source with the harm a step, `opens_us` (replicates, steps) is when each step's gate
    opens; the last one ends the release. Infinite where that or the horizon comes first.
    """
    guardrail, replicates = sources[0].guardrail, len(opens_us)
    rng, clock = np.random.default_rng(seed), _Clock(rules, traffic, replicates)
    line, harm = alone(rules, guardrail.weight) + worth.price, _Harm(sources, worth, clock, rng)
    runs, at = np.full(replicates, np.inf), np.full(replicates, np.inf)
    lag, block = guardrail.maturity_us + rules.look_interval_us, rules.block_size
    for size in clock.slices(block, 1.5 * GROWTH):
        before, own_before = harm.log_e, harm.runs
        harm.take(size)
        found = (harm.log_e >= line) & np.isinf(runs) & ~clock.over
        # within a slice of several blocks the path is taken as straight; a look follows each closed block
        rise = np.where(found, np.maximum(harm.log_e - before, 1e-9), 1.0)
        back = np.clip(np.where(found, (harm.log_e - line) / rise, 0.0), 0.0, 1.0)
        back = np.floor(back * (size / block - 1e-9)) * block / size
        own = harm.runs - np.floor(back * (harm.runs - own_before))
        runs = np.where(found, np.maximum(own, 1.0), runs)
        at = np.where(found, clock.at - back * size / clock.rates[clock.step] + lag, at)
        if (np.isfinite(runs) | clock.over | (opens_us[:, -1] <= clock.at)).all():
            break
        clock.step = (opens_us[:, :-1] <= clock.at[:, None]).sum(axis=1)
    return runs, np.where(at <= np.minimum(rules.horizon_us, opens_us[:, -1]), at, np.inf)


class _Harm:
    """One guardrail's harm test while runs come, slice by slice in whole blocks."""

    def __init__(
        self, sources: Sequence[Source], worth: Worth, clock: _Clock, rng: np.random.Generator
    ) -> None:
        """No run yet."""
        self.sources, self.worth, self.clock, self.rng = sources, worth, clock, rng
        replicates, width = len(clock.step), len(sources[0].judge.prior)
        self._bets = {name: np.zeros((replicates, width)) for name in worth.parts}
        self._seen = {name: np.zeros((replicates, 4)) for name in worth.parts}
        self._done = dict.fromkeys(worth.parts, 0)
        self.log_e: FloatArray = np.zeros(replicates)
        #: candidate runs so far, those that tell nothing included, (replicates,)
        self.runs: FloatArray = np.zeros(replicates)

    def take(self, size: int) -> None:
        """Take the blocks of each slice that closed within the last runs."""
        mute, runs, block = size, self.runs.copy(), self.sources[0].rules.block_size
        for name, part in self.worth.parts.items():
            closed = int(self.clock.total * part / self.worth.design_effect) // block * block
            fresh = round(closed * self.worth.counted) - self._done[name]
            self._done[name] += fresh
            mute -= fresh
            for step, rows in self.clock.groups() if fresh else ():
                source = self.sources[step]
                counts, sums = source.draw_runs(self.rng, fresh, len(rows))
                table = source.table(counts, sums)
                self._bets[name][rows] += source.judge.bets(table, self._seen[name][rows, 2:])
                self._seen[name][rows] += counts
                runs[rows] += counts[:, 0]
        self.runs = runs + mute * self.clock.shares[self.clock.step]
        self.log_e = self.worth.log_e(self._bets)


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


__all__ = ["DAY", "Ramp", "Traffic", "alone", "climb", "hunt", "touched"]
