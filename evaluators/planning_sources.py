"""Sources: what runs of one guardrail add to its evidence, drawn from the method that will judge them.

Nothing is approximated twice: single runs and blocks are scored once by the release's own `Method`, and a
plan adds up draws of these. Few runs are drawn one by one, many as a normal sum with their mean and
covariance.
"""

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import binom

from evaluators.blocks import ALL, WHOLE, BlockTable
from evaluators.history import History
from evaluators.method import Method, no_sums
from evaluators.mixture import BoolArray, FloatArray, IntArray
from evaluators.planning_harms import Harm
from evaluators.planning_spills import seen
from evaluators.proportion_method import GATE, HARM, ProportionMethod
from evaluators.ratio_method import RatioMethod
from evaluators.rules import Guardrail, Rules
from evaluators.terms import method as method_of

#: runs in a pool of blocks, and blocks in it at least
POOL_RUNS, LEAST_BLOCKS = 40_000, 256
#: kinds of runs up to which every block is enumerated, and up to which their numbers are drawn
FEW_KINDS, SOME_KINDS = 8, 160
#: runs or blocks up to which each is drawn: one dear run moves a bet more than a normal sum would
FEW = 40
#: chance of a block below which it is left out
UNLIKELY = 1e-8
#: variance, of columns in units of their own, that counts as none
LEAST = 1e-9


class Sums:
    """Additive numbers of runs or blocks as independent draws of some rows."""

    def __init__(self, rows: FloatArray, chance: FloatArray | None = None) -> None:
        """Rows (rows, K) and the chance of each, (rows,); None: all the same."""
        self._rows, self._chance = rows, chance
        self._slopes: dict[int, tuple[FloatArray, FloatArray]] = {}
        self._weights = np.full(len(rows), 1.0 / len(rows)) if chance is None else chance
        #: mean of one draw, (K,)
        self.mean: FloatArray = self._weights @ rows

    def draw(self, rng: np.random.Generator, times: IntArray) -> FloatArray:
        """The sum of so many draws in each replicate, (replicates, K), from times (replicates,)."""
        most = int(times.max())
        if most <= FEW:
            rows = self._rows[self._places(rng, (len(times), most))]
            return np.asarray((rows * (np.arange(most) < times[:, None])[:, :, None]).sum(axis=1))
        moved = np.sqrt(times)[:, None] * rng.standard_normal((len(times), len(self._basis)))
        return np.asarray(times[:, None] * self.mean + moved @ self._basis)

    def given(self, rng: np.random.Generator, times: float, last: FloatArray) -> FloatArray:
        """The first numbers of so many draws whose last ones sum up to these, (replicates, K - last).

        As if all were normal: what the last ones tell, and the spread that they leave.
        """
        slope, basis = self._told(last.shape[1])
        first = len(self.mean) - last.shape[1]
        left = np.sqrt(times) * rng.standard_normal((len(last), len(basis))) @ basis
        return np.asarray(times * self.mean[:first] + (last - times * self.mean[first:]) @ slope + left)

    @cached_property
    def _unit(self) -> FloatArray:
        """The columns' standard deviations: each has a unit of its own."""
        deviation = np.sqrt(self._weights @ (self._rows - self.mean) ** 2)
        return np.where(deviation > 0.0, deviation, 1.0)

    @cached_property
    def _covariance(self) -> FloatArray:
        """Of the columns in their units, (K, K)."""
        centred = (self._rows - self.mean) / self._unit
        return np.asarray((centred * self._weights[:, None]).T @ centred)

    @cached_property
    def _basis(self) -> FloatArray:
        """Spread along each direction, (r, K): r standard normals make one draw."""
        return _spread(self._covariance) * self._unit

    def _told(self, last: int) -> tuple[FloatArray, FloatArray]:
        """What the last columns say of the first, (last, first), and the spread they leave, (r, first)."""
        if last not in self._slopes:
            first, both, unit = len(self.mean) - last, self._covariance, self._unit
            slope = np.linalg.pinv(both[first:, first:], rcond=LEAST, hermitian=True) @ both[first:, :first]
            left = both[:first, :first] - both[:first, first:] @ slope
            scaled = slope * unit[:first] / unit[first:, None]
            self._slopes[last] = scaled, _spread(left) * unit[:first]
        return self._slopes[last]

    def _places(self, rng: np.random.Generator, shape: tuple[int, int]) -> IntArray:
        if self._chance is None:
            return rng.integers(0, len(self._rows), shape)
        found = np.searchsorted(np.cumsum(self._chance), rng.random(shape))
        return np.minimum(found, len(self._rows) - 1)


class Kinds:
    """Kinds of runs with what each adds, to draw numbers of them from."""

    def __init__(self, chance: FloatArray, counts: IntArray, added: FloatArray) -> None:
        """Chances (kinds,) up to a factor, counts (kinds, 4) and sums (kinds, width)."""
        there = chance > 0.0
        #: chance of any of them
        self.part = float(chance.sum())
        self.chance: FloatArray = chance[there] / max(self.part, 1e-300)
        self.counts, self.added = counts[there], added[there]

    def draw(self, rng: np.random.Generator, runs: IntArray) -> tuple[IntArray, FloatArray]:
        """Counts (replicates, 4) and sums (replicates, width) of so many runs in each replicate."""
        if len(self.chance) <= SOME_KINDS:
            drawn = rng.multinomial(runs, self.chance) if len(self.chance) else np.zeros((len(runs), 0), int)
            return drawn @ self.counts, drawn @ self.added
        found = self._runs.draw(rng, runs)
        return np.maximum(np.rint(found[:, :4]), 0.0).astype(np.int64), found[:, 4:]

    @cached_property
    def _runs(self) -> Sums:
        return Sums(np.hstack([self.counts, self.added]), self.chance)


class Source:
    """Runs of one guardrail at one share, of an equal candidate or one with a harm, its own or another's."""

    def __init__(
        self, guardrail: Guardrail, rules: Rules, history: History, share_bp: int, harm: Harm | None = None
    ) -> None:
        """Score every kind of run on both arms; see `known`."""
        self.guardrail, self.rules = guardrail, rules
        self.share_bp, self.share, self.equal = share_bp, share_bp / WHOLE, harm is None
        self.method = _light(method_of(guardrail, rules, history), len(rules.steps))
        found = None if self.method is None else seen(guardrail, rules, history, harm)
        #: whether history or the policy fixes how it is scored and what to expect
        self.known = found is not None
        if self.method is None or found is None:
            return
        both = 2 * len(found.runs)
        ours: BoolArray = np.arange(both) < len(found.runs)
        chance = np.concatenate([self.share * found.candidate, (1.0 - self.share) * found.baseline])
        runs = found.runs.loc[np.tile(np.arange(len(found.runs)), 2)].reset_index(drop=True)
        no: BoolArray = np.zeros(both, dtype=np.bool_)
        scored = self.method.score(runs, ours, np.full(both, self.share), no, no)
        hit = scored.hit & scored.counted
        counts = np.stack([ours, ours & hit, ~ours, ~ours & hit], axis=1)
        there = chance > 0.0
        self.chance: FloatArray = chance[there] / chance[there].sum()
        self.counts: IntArray = counts[there].astype(np.int64)
        self.added: FloatArray = scored.added[there]
        none = np.zeros(len(found.runs))
        moved = np.concatenate([self.share * found.changed, none])[there]
        alike = np.concatenate([none, (1.0 - self.share) * found.alike])[there]
        rest = self.chance - moved - alike
        rest = np.where(rest > LEAST * self.chance, rest, 0.0)
        #: candidate runs that the harm changed, baseline runs alike, and all others
        self._kinds = [Kinds(part, self.counts, self.added) for part in (moved, alike, rest)]

    @property
    def judge(self) -> Method:
        """The method; only of a source that is known."""
        assert self.method is not None  # noqa: S101  `known` says so
        return self.method

    def table(self, counts: IntArray, sums: FloatArray) -> BlockTable:
        """Closed blocks of these counts and sums."""
        n = len(counts)
        stratum = np.full(n, ALL, dtype=object)
        closed = np.ones(n, dtype=np.bool_)
        return BlockTable(stratum, np.arange(n), np.full(n, self.share_bp), counts, closed, sums)

    @cached_property
    def drift(self) -> FloatArray:
        """What the harm test gains a run on average, (J,), nats; both arms' runs."""
        table = self.table(self.counts, self.added)
        return np.asarray(self.chance @ self.judge.bets(table, np.zeros((len(table), 2))))

    @cached_property
    def blocks(self) -> Sums:
        """Blocks of both arms: what they add to the proof, then counts and sums."""
        if len(self.chance) <= FEW_KINDS and not self.added.shape[1]:
            counts, chance = self._every_block()
            return Sums(
                np.hstack([self.judge.proof(self.table(counts, no_sums(len(counts)))), counts]), chance
            )
        size = self.rules.block_size
        blocks = max(LEAST_BLOCKS, POOL_RUNS // size)
        # each kind of run as often as it is expected, so that means of plain sums are exact
        place = (np.arange(blocks * size) + 0.5) / (blocks * size)
        kind = np.minimum(np.searchsorted(np.cumsum(self.chance), place), len(self.chance) - 1)
        kind = np.random.default_rng(size).permutation(kind)
        counts = self.counts[kind].reshape(blocks, size, 4).sum(axis=1)
        sums = self.added[kind].reshape(blocks, size, self.added.shape[1]).sum(axis=1)
        proof = self.judge.proof(self.table(counts, sums))
        if isinstance(self.method, RatioMethod) and self.equal:
            # arms that are equal: C_c D_b/M and C_b D_c/M have one mean, which few blocks only guess
            both = proof[:, :2].mean()
            proof[:, :2] += both - proof[:, :2].mean(axis=0)
        return Sums(np.hstack([proof, counts, sums]))

    def _every_block(self) -> tuple[IntArray, FloatArray]:
        """Every block of good and bad runs that may come, (rows, 4), and its chance."""
        size = self.rules.block_size
        ours, theirs = (self.counts[:, arm] @ self.chance for arm in (0, 2))
        p_c, p_b = (
            self.counts[:, arm + 1] @ self.chance / (self.counts[:, arm] @ self.chance) for arm in (0, 2)
        )
        n_c = _likely(size, ours / (ours + theirs))
        y_c, y_b = _likely(int(n_c[-1]), p_c), _likely(int(size - n_c[0]), p_b)
        cells = np.stack([axis.ravel() for axis in np.meshgrid(n_c, y_c, y_b, indexing="ij")], axis=1)
        cells = cells[(cells[:, 1] <= cells[:, 0]) & (cells[:, 2] <= size - cells[:, 0])]
        n, y, z = cells.T
        chance = binom.pmf(n, size, ours) * binom.pmf(y, n, p_c) * binom.pmf(z, size - n, p_b)
        kept = chance > UNLIKELY
        return np.stack([n, y, size - n, z], axis=1)[kept], chance[kept] / chance[kept].sum()

    def draw_runs(self, rng: np.random.Generator, runs: int, luck: FloatArray) -> tuple[IntArray, FloatArray]:
        """Counts (replicates, 4) and sums (replicates, width) of so many runs.

        `luck` (replicates, 2), 0..1, says as quantiles how many of them the harm changed, and how many of the
        baseline's are alike: guardrails that see the same runs are given the same.
        """
        left, parts, ahead = np.full(len(luck), runs), [], 1.0
        for kinds, quantile in zip(self._kinds[:2], luck.T, strict=True):
            chance = min(kinds.part / ahead, 1.0)
            parts.append(np.maximum(binom.ppf(quantile, left, chance), 0.0).astype(np.int64))
            left, ahead = left - parts[-1], ahead - kinds.part
        drawn = [kinds.draw(rng, n) for kinds, n in zip(self._kinds, [*parts, left], strict=True)]
        return np.sum([counts for counts, _ in drawn], axis=0), np.sum([sums for _, sums in drawn], axis=0)

    def proof(self, rng: np.random.Generator, blocks: float, runs: FloatArray) -> FloatArray:
        """What so many blocks add to `blocks`, (replicates, K + 4 + width).

        `runs` (replicates, 4 + width) are the counts and sums of their runs.
        """
        return np.hstack([self.blocks.given(rng, blocks, runs), runs])

    def gates(self, proof: FloatArray) -> FloatArray:
        """Ln e-values of the gates, (rows, steps), from totals of `blocks`, (rows, K + 4 + width)."""
        cut = self.judge.proof_width
        return self.judge.gates(proof[:, :cut], proof[:, cut : cut + 4])


def _spread(covariance: FloatArray) -> FloatArray:
    """Rows (r, K) that r standard normals are multiplied with to have a covariance (K, K)."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > LEAST
    return np.asarray((vectors[:, kept] * np.sqrt(values[kept])).T)


def _likely(n: int, chance: Any) -> IntArray:
    """The numbers of successes of n that are not too unlikely, rising."""
    low, high = binom.ppf([UNLIKELY, 1.0 - UNLIKELY], n, chance)
    return np.arange(max(int(low), 0), int(high) + 1)


def _light(found: Method | None, steps: int) -> Method | None:
    """A method without the numbers that only a picture needs."""
    if isinstance(found, ProportionMethod):
        return replace(found, thetas=found.thetas[: HARM + GATE * steps])
    return found


__all__ = ["Source", "Sums"]
