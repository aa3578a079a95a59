"""Methods: what a kind of guardrail brings to the comparison.

A method scores runs into additive numbers and reads e-values from their totals. It is made once, from the
frozen rules and history, and never changes.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from evaluators.blocks import BlockTable
from evaluators.intervals import Interval
from evaluators.mixture import BoolArray, FloatArray, IntArray, bump


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Some runs as one guardrail counts them."""

    #: runs that count at all, (runs,)
    counted: BoolArray
    #: runs that are bad; of a ratio those that are a denominator, (runs,)
    hit: BoolArray
    #: what each run adds to a block's sums, (runs, width)
    added: FloatArray
    #: each run's score, whose spread within units makes the design effect, (runs,)
    x: FloatArray


@dataclass(frozen=True, slots=True)
class Shown:
    """One guardrail's figures in its own unit."""

    #: candidate minus baseline
    difference: Interval
    #: the arms' own values
    baseline: float
    candidate: float


class Method(Protocol):
    """How one guardrail is judged. All arrays are in nats or plain sums; see each implementation."""

    @property
    def prior(self) -> FloatArray:
        """Ln prior of the harm test over its alternatives, (J,)."""

    @property
    def width(self) -> int:
        """Numbers in a block's sums."""

    @property
    def proof_width(self) -> int:
        """Numbers that a closed block adds to the proof, K."""

    @property
    def moves_open(self) -> bool:
        """Whether the harm test moves with every scored run, not only when a block closes."""

    def score(
        self, runs: pd.DataFrame, candidate: BoolArray, share: FloatArray, lost: BoolArray, infra: BoolArray
    ) -> Scored:
        """Runs as the guardrail counts them; `share` (runs,) is the candidate's, 0..1."""

    def bets(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """The harm test's increments, (blocks, J).

        `before` (blocks, 2) are baseline runs and bad ones of the stratum ahead of each block.
        """

    def run_bets(
        self, scored: Scored, candidate: BoolArray, share: FloatArray, rate: FloatArray
    ) -> FloatArray:
        """Each run's part of its block's `bets`, (runs, J); `rate` is the block's predicted bad rate."""

    def rates(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """The baseline's bad rate as predicted for each block, (blocks,)."""

    def slopes(self, share: FloatArray) -> FloatArray | None:
        """What a run adds to the harm test, about alpha + beta x, (rows, J, arms, 2), at shares (rows,).

        The candidate's arm first; see `clusters.bet_effect`. None where the test is given the blocks' split.
        """

    def proof(self, table: BlockTable) -> FloatArray:
        """What closed blocks add to the proof, (blocks, K)."""

    def gates(self, proof: FloatArray, totals: FloatArray) -> FloatArray:
        """Ln e-value of each gate from totals of the proof, (blocks, K), and counts, (blocks, 4)."""

    def check(self, proof: FloatArray) -> float:
        """Ln harm e-value of a second test that needs no share, from the proof's total, (K,)."""

    def shown(self, proof: FloatArray, totals: tuple[int, int, int, int], alpha: float) -> Shown:
        """Estimate and confidence sequence at 1 - alpha, closed blocks."""


def with_declared(prior: FloatArray, grid: FloatArray, at: float | None) -> FloatArray:
    """A ln prior with half of its mass moved near a declared harm (width .35 in ln grid); None: as it is.

    Source: STATISTICS.md, section 2(a), declared harms.
    """
    if at is None or at <= 0.0:
        return prior
    near = bump(np.log(grid), float(np.log(min(max(at, grid[0]), grid[-1]))), 0.35)
    return np.asarray(np.log(0.5 * np.exp(prior) + 0.5 * near), dtype=np.float64)


def no_sums(runs: int) -> FloatArray:
    """Sums of width 0."""
    return np.zeros((runs, 0))


def as_counts(scored: Scored, candidate: BoolArray) -> IntArray:
    """Each run as counts n_c, y_c, n_b, y_b, (runs, 4)."""
    arms = np.stack([candidate, candidate & scored.hit, ~candidate, ~candidate & scored.hit], axis=1)
    return (arms & scored.counted[:, None]).astype(np.int64)


__all__ = ["Method", "Scored", "Shown", "as_counts", "no_sums", "with_declared"]
