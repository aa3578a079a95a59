"""The permutation tilt: harm in a score where the share is not ours.

Given a closed block's scores and how many of its runs were the candidate's, every choice of those runs is
equally likely under no harm. The tilt needs no share at all, and moves only when a block closes.
"""

import numpy as np

from evaluators.mixture import FloatArray


def tilt_log_e(candidate: FloatArray, baseline: FloatArray, stakes: FloatArray) -> FloatArray:
    """Ln e-value of one closed block at each stake, (stakes,).

    lam SUM_candidate g - ln(e_n(exp(lam g_1..N)) / C(N, n)), with e_n the elementary symmetric polynomial:
    the mean of exp(lam sum of g) over all choices of n of the N runs. An empty arm gives exactly 0.
    Source: STATISTICS.md, section 2(c).
    """
    if len(candidate) == 0 or len(baseline) == 0:
        return np.zeros(len(stakes))
    lifted = np.append(candidate, baseline)[:, None] * stakes
    return np.asarray(candidate.sum() * stakes - _log_mean_choice(lifted, len(candidate)), dtype=np.float64)


def _log_mean_choice(lifted: FloatArray, chosen: int) -> FloatArray:
    """Ln mean over all choices of `chosen` rows of exp(their sum), by column; `lifted` (rows, columns).

    E_k <- E_k (i+1-k)/(i+1) + E_{k-1} w_i k/(i+1) keeps means instead of sums, in logs: no overflow.
    """
    rows, columns = lifted.shape
    table = np.full((chosen + 1, columns), -np.inf)
    table[0] = 0.0
    k = np.arange(chosen + 1)[:, None]
    for i in range(rows):
        with np.errstate(divide="ignore"):
            stay = table + np.log(np.maximum(i + 1 - k, 0) / (i + 1))
            join = np.log(k[1:] / (i + 1)) + table[:-1] + lifted[i]
        table = np.vstack([stay[:1], np.logaddexp(stay[1:], join)])
    return np.asarray(table[chosen], dtype=np.float64)


__all__ = ["tilt_log_e"]
