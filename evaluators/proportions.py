"""Proportions: likelihood ratios of bad counts, block by block.

Two e-values serve them. The bet on the assignment knows the share and scores the arm given the outcome
(harm). The conditional test knows only the blocks' totals: given a block's bad runs, how many fell on
the candidate (promotion, and harm where the share is not ours). A third, one-sample one proves a
candidate under an absolute margin where hardly anything fails. All functions are pure and vectorised.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from evaluators.mixture import FloatArray, IntArray, log_sum_exp

#: rates, as parts of the margin, that the one-sample test bets on, (8,)
PARTS = np.geomspace(0.02, 0.8, 8)


def bet_increments(
    counts: IntArray, share: FloatArray, baseline_rate: FloatArray, thetas: FloatArray
) -> FloatArray:
    """Ln factors of the bet on the assignment, (blocks, thetas).

    `counts` (blocks, 4) as n_c, y_c, n_b, y_b; `share` (blocks,) the candidate's, 0..1; `baseline_rate`
    (blocks,) any bad rate in 0..1 exclusive that was predicted before the block. With p_c at odds ratio
    e^theta to p_b and p_0 = q p_c + (1 - q) p_b, a bad run is worth ln(p/p_0) and a good one
    ln((1-p)/(1-p_0)) on its arm. Each factor has mean exactly one under the assignment's own coin, given
    the outcome. Source: STATISTICS.md, section 2(a).
    """
    q, p_b = share[:, None], baseline_rate[:, None]
    lifted = np.exp(thetas) * p_b
    p_c = lifted / (1.0 - p_b + lifted)
    p_0 = q * p_c + (1.0 - q) * p_b
    log_0, log_1 = np.log(p_0), np.log1p(-p_0)
    good_c = (1.0 - p_b) / (1.0 - p_b + lifted)
    n_c, y_c, n_b, y_b = (counts[:, i, None].astype(np.float64) for i in range(4))
    bad = y_c * (np.log(p_c) - log_0) + y_b * (np.log(p_b) - log_0)
    good = (n_c - y_c) * (np.log(good_c) - log_1) + (n_b - y_b) * (np.log1p(-p_b) - log_1)
    return np.asarray(bad + good, dtype=np.float64)


def informative(counts: IntArray) -> npt.NDArray[np.bool_]:
    """Blocks that say something about the odds ratio: both arms, some bad and some good runs."""
    bad = counts[:, 1] + counts[:, 3]
    return (counts[:, 0] > 0) & (counts[:, 2] > 0) & (bad > 0) & (bad < counts[:, 0] + counts[:, 2])


def fisher_log_ratio(counts: IntArray, thetas: FloatArray) -> FloatArray:
    """Ln P(y_c | m; theta) - ln P(y_c | m; 0) for each block and theta, (blocks, thetas).

    P is Fisher's non-central hypergeometric law of the candidate's bad runs given the block's m bad runs;
    uninformative blocks give exactly 0. Equal blocks are computed once. Source: the conditional
    likelihood of the 2x2 table; STATISTICS.md, section 2(a').
    """
    found = np.zeros((len(counts), len(thetas)))
    rows = np.flatnonzero(informative(counts))
    if len(rows) == 0:
        return found
    n_c, y_c, n_b, y_b = (counts[rows, i] for i in range(4))
    bad = y_c + y_b
    base = int(max(n_c.max(), n_b.max(), bad.max())) + 1
    distinct, inverse = _distinct(n_c, n_b, bad, base)
    found[rows] = y_c[:, None] * thetas - _log_moment(*distinct, thetas)[inverse]
    return found


def _distinct(
    n_c: IntArray, n_b: IntArray, bad: IntArray, base: int
) -> tuple[tuple[IntArray, IntArray, IntArray], IntArray]:
    """The different (n_c, n_b, bad) and each row's place among them."""
    if base > 2_000_000:  # three such digits no longer fit an int64
        raise OverflowError(f"a block of {base} runs")
    keys, inverse = np.unique((n_c * base + n_b) * base + bad, return_inverse=True)
    return (keys // (base * base), keys // base % base, keys % base), inverse.astype(np.int64)


def _log_moment(n_c: IntArray, n_b: IntArray, bad: IntArray, thetas: FloatArray) -> FloatArray:
    """Ln E[exp(theta K)], K central hypergeometric: (rows, thetas). Loops over K to be order-exact."""
    low, high = np.maximum(0, bad - n_b), np.minimum(n_c, bad)
    log_all = _log_choose(n_c + n_b, bad)
    steps = range(int((high - low).max()) + 1)
    terms = []
    for step in steps:
        k = np.minimum(low + step, high)
        log_p = _log_choose(n_c, k) + _log_choose(n_b, bad - k) - log_all
        terms.append((k, np.where(low + step <= high, log_p, -np.inf)))
    top = np.full((len(n_c), len(thetas)), -np.inf)
    for k, log_p in terms:
        np.maximum(top, log_p[:, None] + k[:, None] * thetas, out=top)
    total = np.zeros_like(top)
    for k, log_p in terms:
        total += np.exp(log_p[:, None] + k[:, None] * thetas - top)
    return np.asarray(top + np.log(total), dtype=np.float64)


def _log_choose(n: IntArray, k: IntArray) -> FloatArray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)


def under_rate_log_e(n: npt.ArrayLike, bad: npt.ArrayLike, rate: float) -> FloatArray:
    """Ln e-value against "every candidate run is bad with chance >= rate", shape of `n`; 0 < rate < 1.

    A mean of Bernoulli likelihood ratios at PARTS of the rate: each factor's mean falls in the true
    chance and is one at `rate`, so the product is a test supermartingale for any drift above it. Since a
    candidate worse than its baseline by an absolute margin is bad at least that often, this proves the
    margin without any history. Source: Wald's ratio, mixed.
    """
    log_bad, log_good = np.log(PARTS), np.log1p(-PARTS * rate) - np.log1p(-rate)
    runs, worse = np.asarray(n, dtype=np.float64), np.asarray(bad, dtype=np.float64)
    ratios = worse[..., None] * log_bad + (runs - worse)[..., None] * log_good
    return np.asarray(log_sum_exp(ratios) - np.log(len(PARTS)), dtype=np.float64)
