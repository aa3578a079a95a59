"""Hunts: a candidate with a harm from its first run until it is caught, from drawn sums, many times at once.

Every guardrail that sees the harm bets on it and proves what it can of the same runs, and the family of them
crosses the line as a release's does. The other guardrails bet nothing, and open their gates as an equal
candidate's, drawn before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.decision import families, revert_line
from evaluators.mixture import BoolArray, FloatArray
from evaluators.planning_sources import Source
from evaluators.planning_walk import GROWTH, Clock, Proof, Steps, Traffic, touched
from evaluators.planning_worth import Worth
from evaluators.rules import Rules

#: a slice of runs is so much shorter than one of a ramp
FINER = 0.75
#: -zeta(1/2)/sqrt(2 pi): how far a walk's first step over a line goes, standard deviations of a step
DISCRETE = 0.5826


@dataclass(frozen=True, slots=True, eq=False)
class Catch:
    """When a harm was caught in each replicate; infinite where the release ended before."""

    #: candidate runs, those that tell nothing included, (replicates,)
    runs: FloatArray
    #: microseconds since the start, (replicates,)
    at_us: FloatArray


def hunt(
    sources: Mapping[str, Sequence[Source]],
    rules: Rules,
    traffic: Traffic,
    worth: Mapping[str, Worth],
    opens_us: FloatArray,
    *,
    seed: int,
) -> Catch:
    """Walk a candidate with one harm until it is caught, promoted, or past the horizon.

    `sources` has, by guardrail that sees the harm and its own first, one source a step. `opens_us`
    (replicates, steps) is when each step's gate opens as far as the other guardrails go.
    """
    rng, clock = np.random.default_rng(seed), Clock(rules, traffic, len(opens_us))
    seers = {name: _Seer(own, worth[name], clock, rng) for name, own in sources.items()}
    steps, family = Steps(rules, clock), _Family(rules, seers, clock, rng)
    runs, at = np.full(len(opens_us), np.inf), np.full(len(opens_us), np.inf)
    places, line, block = np.arange(len(opens_us)), revert_line(rules), rules.block_size
    lags = np.array([float(maturity + rules.look_interval_us) for maturity in rules.classes])
    for size in clock.slices(block, 2.0 * GROWTH * FINER):
        before, own_before = family.log_e, family.runs
        family.take(size)
        who = np.argmax(family.log_e, axis=1)
        now, was = family.log_e[places, who], before[places, who]
        found = reached(was, now, line, size // block, rng) & np.isinf(runs) & ~clock.over
        # within a slice of several blocks the path is taken as straight, where it ends above the line
        straight = np.clip((now - line) / np.maximum(now - was, 1e-9), 0.0, 1.0)
        back = np.where(found, np.where(now >= line, straight, rng.random(len(now))), 0.0)
        back = np.floor(back * (size / block - 1e-9)) * block / size
        own = family.runs - np.floor(back * (family.runs - own_before))
        runs = np.where(found, np.maximum(own, 1.0), runs)
        at = np.where(found, clock.at - back * size / clock.rates[clock.step] + lags[who], at)
        due = opens_us[places, clock.step]
        # before its time no gate opens, and what is caught by then needs none
        if family.proves or ((due <= clock.at + clock.lag) & np.isinf(runs)).any():
            steps.open(steps.waiting & np.isfinite(due) & family.open(), size, rng, due)
        if (np.isfinite(runs) | clock.over | (steps.at_us[:, -1] <= clock.at)).all():
            break
    caught = at <= np.minimum(rules.horizon_us, steps.at_us[:, -1])
    return Catch(np.where(caught, runs, np.inf), np.where(caught, at, np.inf))


def reached(
    before: FloatArray, now: FloatArray, line: float, blocks: int, rng: np.random.Generator
) -> BoolArray:
    """Whether paths were at a line or above at the end of any of the blocks since `before`, (replicates,).

    As a Brownian path that is looked at all the time would touch a line that much higher. Source: Broadie,
    Glasserman and Kou, "A continuity correction for discrete barrier options", theorem 1.1.
    """
    over = now >= line
    if blocks <= 1:
        return np.asarray(over)
    higher = line + DISCRETE * float(np.std(now - before)) / np.sqrt(blocks)
    return np.asarray(over | touched(before, now, higher, rng))


class _Family:
    """The guardrails that see a harm while runs come, slice by slice in whole blocks."""

    def __init__(
        self, rules: Rules, seers: Mapping[str, "_Seer"], clock: Clock, rng: np.random.Generator
    ) -> None:
        """No run yet."""
        self.rules, self.seers, self.clock, self.rng = rules, seers, clock, rng
        #: ln of the weighted sum of the harm e-values, (replicates, classes of maturity)
        self.log_e: FloatArray = self._summed()

    def take(self, size: int) -> None:
        """Take the blocks that closed within the last runs; those of one slice are the same to each."""
        names = {name for seer in self.seers.values() for name in seer.worth.parts}
        luck = {name: self.rng.random((len(self.clock.step), 2)) for name in sorted(names)}
        for seer in self.seers.values():
            seer.take(size, luck)
        self.log_e = self._summed()

    def _summed(self) -> FloatArray:
        harm = np.full((len(self.clock.step), len(self.rules.guardrails)), -np.inf)
        for place, guardrail in enumerate(self.rules.guardrails):
            if guardrail.name in self.seers:
                seer = self.seers[guardrail.name]
                harm[:, place] = seer.log_e - seer.worth.price
        return families(self.rules, harm)

    @property
    def runs(self) -> FloatArray:
        """Candidate runs so far, those that tell nothing included, (replicates,)."""
        return next(iter(self.seers.values())).runs

    @property
    def proves(self) -> bool:
        """Whether gates are read: from the first question on."""
        return any(seer.proof is not None for seer in self.seers.values())

    def open(self) -> BoolArray:
        """Whether each of them has proven the gate that a replicate is at, (replicates,)."""
        return np.asarray(np.logical_and.reduce([seer.open() for seer in self.seers.values()]))


class _Seer:
    """One guardrail's harm test and, from where it is asked for, its proof while runs come."""

    def __init__(
        self, sources: Sequence[Source], worth: Worth, clock: Clock, rng: np.random.Generator
    ) -> None:
        """No run yet."""
        self.sources, self.worth, self.clock, self.rng = sources, worth, clock, rng
        replicates, width = len(clock.step), len(sources[0].judge.prior)
        self._bets = {name: np.zeros((replicates, width)) for name in worth.parts}
        self._seen = {name: np.zeros((replicates, 4)) for name in worth.parts}
        self._done = dict.fromkeys(worth.parts, 0)
        self.proof: Proof | None = None
        #: until then nobody leaves the first step: its blocks, and what they add up to in each replicate
        self._blocks, self._total = 0.0, np.zeros((replicates, 4 + sources[0].judge.width))
        self.log_e: FloatArray = np.zeros(replicates)
        #: candidate runs so far, those that tell nothing included, (replicates,)
        self.runs: FloatArray = np.zeros(replicates)

    def take(self, size: int, luck: Mapping[str, FloatArray]) -> None:
        """Take the blocks of each slice that closed within the last runs; `luck` as of `Source.draw_runs`."""
        mute, runs, block = size, self.runs.copy(), self.sources[0].rules.block_size
        for name, part in self.worth.parts.items():
            closed = int(self.clock.total * part / self.worth.design_effect) // block * block
            fresh = round(closed * self.worth.counted) - self._done[name]
            self._done[name] += fresh
            mute -= fresh
            for step, rows in self.clock.groups() if fresh else ():
                source = self.sources[step]
                counts, sums = source.draw_runs(self.rng, fresh, luck[name][rows])
                table = source.table(counts, sums)
                self._bets[name][rows] += source.judge.bets(table, self._seen[name][rows, 2:])
                self._seen[name][rows] += counts
                runs[rows] += counts[:, 0]
                if self.proof is None:
                    self._total += np.hstack([counts, sums])
                else:
                    self.proof.total[rows] += source.proof(self.rng, fresh / block, np.hstack([counts, sums]))
            self._blocks += fresh / block
        self.runs = runs + mute * self.clock.shares[self.clock.step]
        self.log_e = self.worth.log_e(self._bets)

    def open(self) -> BoolArray:
        """Whether the gate that each replicate is at is proven, (replicates,)."""
        if self.proof is None:
            self.proof = Proof(self.sources, self.worth, self.clock, self.rng)
            self.proof.total = self.sources[0].proof(self.rng, self._blocks, self._total)
        self.proof.look()
        return self.proof.open


__all__ = ["Catch", "hunt"]
