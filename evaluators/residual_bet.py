"""Residuals: the bet on the assignment with a winsorised residual as the score.

It serves ratios and counts: does the arm that costs more than its successes explain turn out to be the
candidate more often than its share? Exact against "stochastically no larger"; all functions are pure.
"""

import numpy as np

from evaluators.mixture import BoolArray, FloatArray, bump, frozen

#: stakes that the bet mixes, per standard deviation of the residual, (14,)
STAKES = frozen(np.geomspace(0.05, 3.0, 14))
#: where the prior of a heavy-tailed ratio (cost) and of a small count (edits) is centred
COST_CENTRE, COUNT_CENTRE = 0.3, 0.2
#: width of the prior, in ln stake
WIDTH = 0.8


def stake_prior(centre: float) -> FloatArray:
    """Ln prior over STAKES, a bump at `centre`, (14,)."""
    return np.asarray(np.log(bump(np.log(STAKES), float(np.log(centre)), WIDTH)), dtype=np.float64)


def residual_bets(scores: FloatArray, candidate: BoolArray, share: FloatArray) -> FloatArray:
    """Ln factors of each run, (runs, 14): A lam g - ln(1 - q + q e^(lam g)).

    `scores` (runs,) are the residuals g, `candidate` whether the run was the candidate's and `share` its
    chance q of that, 0..1. Given the scores, each factor has mean exactly one under the coin q, so
    the product is an e-process for "the score does not depend on the arm" at any time and under any drift.
    Source: STATISTICS.md, section 2(c).
    """
    lifted = scores[:, None] * STAKES
    q = share[:, None]
    # beyond e^500 the rest of the exponent is added by itself: ln(1 - q + q e^x) = ln q + x there
    small = np.minimum(lifted, 500.0)
    expected = np.log1p(q * np.expm1(small)) + (lifted - small)
    return np.asarray(np.where(candidate[:, None], lifted, 0.0) - expected, dtype=np.float64)


__all__ = ["COST_CENTRE", "COUNT_CENTRE", "STAKES", "residual_bets", "stake_prior"]
