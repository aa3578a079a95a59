"""Clusters: runs that share a unit (a user, a conversation) say less than as many independent ones.

Half of the evidence is each unit's first run alone, which is exact; the other half is every run with its
log likelihoods divided by the larger of two design effects, from the first run on. Without protection the
same tests revert healthy candidates in 25% to 72% of releases (STATISTICS.md, section 2(d)).
"""

import numpy as np
import numpy.typing as npt

from evaluators.mixture import BoolArray, FloatArray

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


def by_arm(added: FloatArray, candidate: BoolArray) -> FloatArray:
    """What each run adds to its arm, (runs, width), as columns of both, the candidate's first."""
    ours = candidate[:, None]
    return np.hstack([np.where(ours, added, 0.0), np.where(ours, 0.0, added)])


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


def bet_effect(moments: FloatArray, slopes: FloatArray, share: FloatArray) -> FloatArray:
    """Unit variance of a bet's own log factors over their run variance, at least 1, (rows, J).

    A run adds about alpha + beta x to alternative j on its arm: `slopes` (rows, J, 2, 2) are alpha and beta,
    `moments` (rows, 12), the candidate's first, `share` (rows,) the candidate's. Users keep their arm, so
    even runs that all went well come in lumps of one coin, and `design_effect` is 1 until outcomes vary:
    where users' runs come together it let healthy candidates be reverted in 11% (alpha .05) and 6% (alpha
    .01) of releases within 5,000 runs, this one in 1% (30 runs a user, ICC .2).

    As long as few candidate users have come, their own lumps say little: the variance that the coin would
    make of every user's outcomes, whichever the arm, has the weight 2/K, K = (SUM n)^2 / SUM n^2 being the
    candidate's effective number of users. Source: the sandwich variance of clustered scores (Liang and
    Zeger 1986), and its expectation over the assignment.
    """
    own = _lumps(moments, slopes)
    half = moments.shape[-1] // 2
    pooled = moments[..., :half] + moments[..., half:]
    chances = np.sqrt(np.stack([share, 1.0 - share], axis=-1))[..., None, :, None]
    coin = _lumps(np.concatenate([pooled, pooled], axis=-1), slopes * chances)
    runs, squares = moments[..., 0], moments[..., 3]
    weight = np.where(runs > 0, np.minimum(1.0, 2.0 * squares / np.maximum(runs, 1.0) ** 2), 1.0)
    return np.asarray(own + np.maximum(coin - own, 0.0) * weight[..., None])


def _lumps(moments: FloatArray, slopes: FloatArray) -> FloatArray:
    """SUM_units (alpha n + beta y)^2 over SUM_runs (alpha + beta x)^2, both arms, at least 1, (rows, J).

    About zero and not about a mean, so that one user's bad runs count as about one.
    """
    arms = moments.reshape(*moments.shape[:-1], 1, moments.shape[-1] // MOMENTS, MOMENTS)
    runs, total, squares, n2, ny, y2 = (arms[..., i] for i in range(MOMENTS))
    a, b = slopes[..., 0], slopes[..., 1]
    between = (a * a * n2 + 2.0 * a * b * ny + b * b * y2).sum(axis=-1)
    within = (a * a * runs + 2.0 * a * b * total + b * b * squares).sum(axis=-1)
    varies = within > 1e-300
    return np.where(varies, np.maximum(1.0, between / np.where(varies, within, 1.0)), 1.0)


def halves(first: FloatArray | float, tempered: FloatArray | float) -> FloatArray:
    """ln(1/2 E_first + 1/2 E_tempered), shape of both."""
    return np.asarray(np.logaddexp(first, tempered) - np.log(2.0), dtype=np.float64)


__all__ = ["MOMENTS", "bet_effect", "by_arm", "design_effect", "halves", "run_moments", "unit_moments"]
