"""The permutation tilt: harm in a score where the share is not ours.

Given a closed block's scores and how many of its runs were the candidate's, every choice of those runs is
equally likely under no harm. The tilt needs no share at all, and moves only when a block closes.

Scores of a release are rounded to LEVELS levels that are fixed before its first run: any predictable score
is valid, and a block then holds counts by level, which add up in any order. 24 levels over the range of a
winsorised residual lose less than 1% of its variance.
"""

from dataclasses import dataclass

import numpy as np

from evaluators.mixture import BoolArray, FloatArray, IntArray, frozen
from evaluators.residual_bet import STAKES
from evaluators.scales import Scale

#: levels that a score is rounded to
LEVELS = 24


def residual_levels(found: Scale, *, bad: bool) -> FloatArray:
    """Levels from the least to the largest residual, in standard deviations, (24,), rising."""
    low, high = -found.theta / found.sd, found.cap / found.sd
    return frozen(np.linspace(low, high, LEVELS) if bad else np.linspace(-high, -low, LEVELS))


@dataclass(frozen=True, slots=True, eq=False)
class LevelTilt:
    """The tilt of measured guardrails; a block's sums are its runs by level, the candidate's first."""

    #: rising, evenly spaced, (24,)
    levels: FloatArray

    @property
    def width(self) -> int:
        """Both arms' levels."""
        return 2 * LEVELS

    @property
    def moves_open(self) -> bool:
        """Only when a block closes."""
        return False

    def fill(self, scores: FloatArray, candidate: BoolArray, share: FloatArray, out: FloatArray) -> None:
        """Write what each run adds to a block's sums, (48, runs): one in its level of its arm."""
        del share
        step = (self.levels[-1] - self.levels[0]) / (LEVELS - 1)
        level = np.clip(np.rint((scores - self.levels[0]) / step), 0, LEVELS - 1).astype(np.int64)
        out[:] = 0.0
        out[np.where(candidate, level, level + LEVELS), np.arange(len(scores))] = 1.0

    def read(self, sums: FloatArray) -> FloatArray:
        """Ln e-values of closed blocks at each stake, (blocks, 14), from their sums (blocks, 48)."""
        counts = np.rint(sums).astype(np.int64)
        ours, both = counts[:, :LEVELS], counts[:, :LEVELS] + counts[:, LEVELS:]
        chosen, sizes = ours.sum(axis=1), both.sum(axis=1)
        found = np.zeros((len(sums), len(STAKES)))
        splits = (chosen > 0) & (chosen < sizes)
        for size in np.unique(sizes[splits]).tolist():
            rows = np.flatnonzero(splits & (sizes == size))
            scores = np.repeat(np.tile(self.levels, len(rows)), both[rows].ravel()).reshape(len(rows), size)
            lifted = scores.T[:, :, None] * STAKES
            # summed row by row, not as a product of matrices: the same digits however blocks were sent
            tilted = (ours[rows] * self.levels).sum(axis=1)[:, None] * STAKES
            found[rows] = tilted - _log_mean_choice(lifted, chosen[rows])
        return found


def tilt_log_e(candidate: FloatArray, baseline: FloatArray, stakes: FloatArray) -> FloatArray:
    """Ln e-value of one closed block at each stake, (stakes,).

    lam SUM_candidate g - ln(e_n(exp(lam g_1..N)) / C(N, n)), with e_n the elementary symmetric polynomial:
    the mean of exp(lam sum of g) over all choices of n of the N runs. An empty arm gives exactly 0.
    Source: STATISTICS.md, section 2(c).
    """
    if len(candidate) == 0 or len(baseline) == 0:
        return np.zeros(len(stakes))
    lifted = np.append(candidate, baseline)[:, None, None] * stakes
    mean = _log_mean_choice(lifted, np.array([len(candidate)]))[0]
    return np.asarray(candidate.sum() * stakes - mean, dtype=np.float64)


def _log_mean_choice(lifted: FloatArray, chosen: IntArray) -> FloatArray:
    """Ln mean over all choices of `chosen` rows of exp(their sum): `lifted` (rows, blocks, stakes).

    E_k <- E_k (i+1-k)/(i+1) + E_{k-1} w_i k/(i+1) keeps means instead of sums, in logs: no overflow.
    Returns (blocks, stakes); `chosen` (blocks,) may differ by block.
    """
    most = int(chosen.max())
    table = np.full((most + 1, *lifted.shape[1:]), -np.inf)
    table[0] = 0.0
    k = np.arange(most + 1)[:, None, None]
    for i in range(len(lifted)):
        with np.errstate(divide="ignore"):
            stay = table[1:] + np.log(np.maximum(i + 1 - k[1:], 0) / (i + 1))
            join = np.log(k[1:] / (i + 1)) + table[:-1] + lifted[i]
        table[1:] = np.logaddexp(stay, join)
    return np.asarray(table[chosen, np.arange(len(chosen))], dtype=np.float64)


__all__ = ["LEVELS", "LevelTilt", "residual_levels", "tilt_log_e"]
