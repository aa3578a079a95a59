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
from evaluators.planning_harms import Harm, mix
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


class Sums:
    """Additive numbers of runs or blocks as independent draws of some rows."""

    def __init__(self, rows: FloatArray, chance: FloatArray | None = None) -> None:
        """Rows (rows, K) and the chance of each, (rows,); None: all the same."""
        self._rows, self._chance = rows, chance
        self._weights = np.full(len(rows), 1.0 / len(rows)) if chance is None else chance
        #: mean of one draw, (K,)
        self.mean: FloatArray = self._weights @ rows

    def draw(self, rng: np.random.Generator, times: int, replicates: int) -> FloatArray:
        """The sum of so many draws in each replicate, (replicates, K)."""
        if times <= FEW:
            return np.asarray(self._rows[self._places(rng, (replicates, times))].sum(axis=1))
        moved = np.sqrt(times) * rng.standard_normal((replicates, len(self._basis)))
        return np.asarray(times * self.mean + moved @ self._basis)

    @cached_property
    def _basis(self) -> FloatArray:
        """Spread along each direction, (r, K): r standard normals make one draw."""
        deviation = np.sqrt(self._weights @ (self._rows - self.mean) ** 2)  # columns have units of their own
        unit = np.where(deviation > 0.0, deviation, 1.0)
        centred = (self._rows - self.mean) / unit
        values, vectors = np.linalg.eigh((centred * self._weights[:, None]).T @ centred)
        kept = values > 1e-9
        return np.asarray((vectors[:, kept] * np.sqrt(values[kept])).T * unit)

    def _places(self, rng: np.random.Generator, shape: tuple[int, int]) -> IntArray:
        if self._chance is None:
            return rng.integers(0, len(self._rows), shape)
        found = np.searchsorted(np.cumsum(self._chance), rng.random(shape))
        return np.minimum(found, len(self._rows) - 1)


class Source:
    """Runs of one guardrail at one share, of an equal candidate or one with a harm."""

    def __init__(
        self, guardrail: Guardrail, rules: Rules, history: History, share_bp: int, harm: Harm | None = None
    ) -> None:
        """Score every kind of run on both arms; see `known`."""
        self.guardrail, self.rules = guardrail, rules
        self.share_bp, self.share, self.equal = share_bp, share_bp / WHOLE, harm is None
        self.method = _light(method_of(guardrail, rules, history), len(rules.steps))
        found = None if self.method is None else mix(guardrail, rules, history, harm)
        #: whether history or the policy fixes how it is scored and what to expect
        self.known = found is not None
        if self.method is None or found is None:
            return
        both = 2 * len(found.runs)
        ours: BoolArray = np.arange(both) < len(found.runs)
        chance = np.concatenate([self.share * found.candidate, (1.0 - self.share) * found.baseline])
        runs = found.runs.loc[np.tile(np.arange(len(found.runs)), 2)].reset_index(drop=True)
        none: BoolArray = np.zeros(both, dtype=np.bool_)
        scored = self.method.score(runs, ours, np.full(both, self.share), none, none)
        hit = scored.hit & scored.counted
        counts = np.stack([ours, ours & hit, ~ours, ~ours & hit], axis=1)
        there = chance > 0.0
        self.chance: FloatArray = chance[there] / chance[there].sum()
        self.counts: IntArray = counts[there].astype(np.int64)
        self.added: FloatArray = scored.added[there]

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
    def runs(self) -> Sums:
        """Single runs: counts, then the method's sums."""
        return Sums(np.hstack([self.counts, self.added]), self.chance)

    @cached_property
    def blocks(self) -> Sums:
        """Blocks of both arms: what they add to the proof, then counts."""
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
        return Sums(np.hstack([proof, counts]))

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

    def draw_runs(self, rng: np.random.Generator, runs: int, replicates: int) -> tuple[IntArray, FloatArray]:
        """Counts (replicates, 4) and sums (replicates, width) of so many runs."""
        if len(self.chance) <= SOME_KINDS:
            drawn = rng.multinomial(runs, self.chance, replicates)
            return drawn @ self.counts, drawn @ self.added
        found = self.runs.draw(rng, runs, replicates)
        return np.maximum(np.rint(found[:, :4]), 0.0).astype(np.int64), found[:, 4:]

    def gates(self, proof: FloatArray) -> FloatArray:
        """Ln e-values of the gates, (rows, steps), from totals of `blocks`, (rows, K + 4)."""
        return self.judge.gates(proof[:, :-4], proof[:, -4:])


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
