"""Clusters: runs that share a unit (a user, a conversation) say less than as many independent ones.

Half of the evidence is each unit's first run alone, which is exact; the other half is every run with its
log likelihoods divided by the design effect, from the first run on. Without protection the same tests
revert healthy candidates in 25% to 72% of releases (STATISTICS.md, section 2(d)).
"""

import numpy as np
import numpy.typing as npt

from evaluators.mixture import FloatArray

#: moments of one arm: runs, SUM x, SUM x^2 over runs; SUM n^2, SUM n y, SUM y^2 over units
MOMENTS = 6


def run_moments(x: FloatArray, before_n: FloatArray, before_y: FloatArray) -> FloatArray:
    """What each run adds to its arm's moments, (runs, 6).

    `x` (runs,) is the run's score (1 for a bad run, or a residual); `before_n` and `before_y` are its
    unit's runs and their scores' sum ahead of it. Sums over runs are then those over units, additive.
    """
    one = np.ones(len(x))
    columns = [one, x, x * x, 2.0 * before_n + 1.0, (before_n + 1.0) * x + before_y]
    return np.stack([*columns, x * (2.0 * before_y + x)], axis=1)


def unit_moments(n: npt.ArrayLike, y: npt.ArrayLike, squares: npt.ArrayLike) -> FloatArray:
    """One arm's moments, (6,), from each unit's runs, sum of scores and sum of squared scores."""
    runs, sums = np.asarray(n, dtype=np.float64), np.asarray(y, dtype=np.float64)
    parts = [runs, sums, np.asarray(squares, dtype=np.float64), runs**2, runs * sums, sums**2]
    return np.array([part.sum() for part in parts])


def design_effect(moments: FloatArray) -> FloatArray:
    """max(1, cluster variance / independent variance), shape of all but the last axis.

    `moments` (..., 6 * arms); each arm's scores are taken from its own mean: SUM_units (y - n mean)^2 over
    SUM_runs (x - mean)^2, which is N p (1 - p) for bad runs. 1 where nothing varies.
    """
    arms = moments.reshape(*moments.shape[:-1], moments.shape[-1] // MOMENTS, MOMENTS)
    runs, total, squares, n2, ny, y2 = (arms[..., i] for i in range(MOMENTS))
    mean = np.where(runs > 0, total / np.maximum(runs, 1.0), 0.0)
    between = (y2 - 2.0 * mean * ny + mean * mean * n2).sum(axis=-1)
    within = (squares - 2.0 * mean * total + mean * mean * runs).sum(axis=-1)
    varies = within > 1e-12 * np.maximum(squares.sum(axis=-1), 1e-300)
    return np.where(varies, np.maximum(1.0, between / np.where(varies, within, 1.0)), 1.0)


def halves(first: FloatArray | float, tempered: FloatArray | float) -> FloatArray:
    """ln(1/2 E_first + 1/2 E_tempered), shape of both."""
    return np.asarray(np.logaddexp(first, tempered) - np.log(2.0), dtype=np.float64)


__all__ = ["MOMENTS", "design_effect", "halves", "run_moments", "unit_moments"]
