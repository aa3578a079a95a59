"""Mantel-Haenszel: is the ratio of two ratios of sums, pooled over blocks, under a margin?

Costs are skewed, and a sum over few canary runs is below its mean more often than above. So the variance
of the canary arm has a floor, the baseline's own: without it a candidate exactly at the margin is promoted
in 10% of releases instead of 1%. Asymptotic, hence the burn-in.
"""

from dataclasses import dataclass

import numpy as np

from evaluators.mixture import DISTANCES, FISHER_PRIOR, THETAS, FloatArray, log_mean_exp, promote_prior

#: candidate runs, and candidate denominators (successes), before which nothing is proven
BURN_IN_RUNS, BURN_IN_SUCCESSES = 100, 30
#: below any number of runs
TINY = 1e-300
_BOTH_WAYS = np.array([[[1.0]], [[-1.0]]])
#: additive numbers of a block: see `block_sums`
WIDTH = 18


@dataclass(frozen=True, slots=True, eq=False)
class ArmSums:
    """One arm's sums in some blocks, (blocks,) each."""

    #: runs
    n: FloatArray
    #: numerators (cost) and denominators (successes)
    cost: FloatArray
    success: FloatArray
    #: squares and products: cost^2, cost * success, success^2
    cost2: FloatArray
    cross: FloatArray
    success2: FloatArray


def block_sums(candidate: ArmSums, baseline: ArmSums) -> FloatArray:
    """What a block adds, (blocks, 18): the test at any ratio is a function of these numbers' totals.

    With M = D_b + D_c, a = C_c/M and b = C_b/M the pooled rate is r = b + a/R, so that both the score and
    the residuals' squares are polynomials in R and 1/R. A block without successes adds nothing.
    """
    m = candidate.success + baseline.success
    some = m > 0
    size = np.where(some, m, 1.0)
    a, b = candidate.cost / size, baseline.cost / size
    columns = [
        a * baseline.success,  # SUM C_c D_b / M
        b * candidate.success,  # SUM C_b D_c / M
        (baseline.success / size) ** 2 * candidate.n,
        (candidate.success / size) ** 2 * baseline.n,
    ]
    for arm in (candidate, baseline):
        columns += [arm.n, arm.cost2, a * arm.cross, b * arm.cross]
        columns += [a * a * arm.success2, a * b * arm.success2, b * b * arm.success2]
    return np.where(some[:, None], np.stack(columns, axis=1), 0.0)


def score(sums: FloatArray, ratio: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """U, V and G at a ratio R0 from totals (..., 18); shapes broadcast.

    U = SUM (C_c D_b - R0 C_b D_c)/M, G = R0 SUM C_b D_c/M and
    V = max(e_c/n_c, R0^2 e_b/n_b) k_c + (e_b/n_b) k_b. Source: STATISTICS.md, section 2(c).
    """
    R = np.asarray(ratio, dtype=np.float64)
    up, down, k_c, k_b = _columns(sums[..., :4])
    # residuals cost - R0 r success on the candidate (R0 r = a + R b), cost - r success on the baseline
    e_c = _squares(sums[..., 5:11], 1.0, R)
    e_b = _squares(sums[..., 12:18], 1.0 / R, 1.0)
    # an arm without runs has no squares either: 0
    v_c, v_b = e_c / np.maximum(sums[..., 4], TINY), e_b / np.maximum(sums[..., 11], TINY)
    variance = np.maximum(v_c, R**2 * v_b) * k_c + v_b * R**2 * k_b
    return up - R * down, np.asarray(variance), R * down


def _squares(parts: FloatArray, x: FloatArray | float, y: FloatArray | float) -> FloatArray:
    """SUM (cost - (a x + b y) success)^2 from its six parts."""
    cost2, a_cross, b_cross, aa, ab, bb = _columns(parts)
    found = cost2 - 2.0 * (x * a_cross + y * b_cross) + x * x * aa + 2.0 * x * y * ab + y * y * bb
    return np.asarray(np.maximum(found, 0.0))


def _columns(sums: FloatArray) -> FloatArray:
    """The last axis in front, so that it can be taken apart: a third of the time of an index each."""
    return np.moveaxis(sums, -1, 0) if sums.ndim > 2 else sums.T


def plain_variance(candidate: ArmSums, baseline: ArmSums, ratio: float) -> float:
    """V without its floor, each block's own variances: what the floor is measured against."""
    m = candidate.success + baseline.success
    r = (baseline.cost + candidate.cost / ratio) / m
    e_c = candidate.cost2 - 2.0 * ratio * r * candidate.cross + (ratio * r) ** 2 * candidate.success2
    e_b = baseline.cost2 - 2.0 * r * baseline.cross + r**2 * baseline.success2
    k_c, k_b = (baseline.success / m) ** 2, (ratio * candidate.success / m) ** 2
    return float((e_c * k_c + e_b * k_b).sum())


def log_e_over(
    U: FloatArray | float,
    V: FloatArray | float,
    G: FloatArray | float,
    grid: FloatArray = THETAS,
    log_prior: FloatArray = FISHER_PRIOR,
) -> FloatArray:
    """Ln e-value for "the ratio is over R0" against "at most R0", shape of U.

    S = U G/V, I = G^2/V; logsumexp(ln pi_j + d_j S - d_j^2 I/2) over a grid of d, the relative distance
    from R0. No variance: exactly 0.
    """
    u, v, g = (np.asarray(value, dtype=np.float64) for value in (U, V, G))
    safe = np.where(v > 0, v, 1.0)
    s, information = u * g / safe, g * g / safe
    drift = grid * s[..., None] - grid**2 * information[..., None] / 2.0
    return np.where(v > 0, log_mean_exp(log_prior, drift), 0.0)


def log_e_under(U: FloatArray | float, V: FloatArray | float, G: FloatArray | float) -> FloatArray:
    """Ln e-value for "the ratio is under R0" against "at least R0": S = -U G/V. It promotes."""
    return log_e_over(-np.asarray(U), V, G)


def log_e_within(
    U: FloatArray | float, V: FloatArray | float, G: FloatArray | float, ratio: float
) -> FloatArray:
    """Ln e-value that promotes: the ratio is on the good side of R0 = `ratio`, under it where R0 > 1.

    Most of the prior lies where an equal candidate does, at d = |1 - 1/R0|: half of it near .8, as for harm,
    would cost an equal candidate four nats at a margin of a tenth.
    """
    sign = -1.0 if ratio > 1.0 else 1.0
    prior = promote_prior(abs(1.0 - 1.0 / ratio))
    return log_e_over(sign * np.asarray(U), V, G, np.asarray(DISTANCES), prior)


def log_e_two_sided(u: FloatArray, v: FloatArray, g: FloatArray) -> FloatArray:
    """Ln e-value against "the ratio is exactly R", (ratios,), from U, V and G at each of some ratios."""
    safe = np.where(v > 0, v, 1.0)
    up = THETAS * (u * g / safe)[:, None]
    down = THETAS**2 * (g * g / safe)[:, None] / 2.0
    both = np.logaddexp(*log_mean_exp(FISHER_PRIOR, _BOTH_WAYS * up - down))
    return np.where(v > 0, both - np.log(2.0), 0.0)


__all__ = [
    "BURN_IN_RUNS",
    "BURN_IN_SUCCESSES",
    "WIDTH",
    "ArmSums",
    "block_sums",
    "log_e_over",
    "log_e_two_sided",
    "log_e_under",
    "log_e_within",
    "plain_variance",
    "score",
]
