"""Residuals: the bet on the assignment with a winsorised residual as the score.

It serves ratios and counts: does the arm that costs more than its successes explain turn out to be the
candidate more often than its share? Exact against "stochastically no larger"; all functions are pure.
"""

from dataclasses import dataclass

import numpy as np

from evaluators.mixture import BoolArray, FloatArray, bump, frozen

#: stakes that the bet mixes, per standard deviation of the residual, (14,)
STAKES = frozen(np.geomspace(0.05, 3.0, 14))
#: where the prior of a heavy-tailed ratio (cost) and of a small count (edits) is centred
COST_CENTRE, COUNT_CENTRE = 0.3, 0.2
#: width of the prior, in ln stake
WIDTH = 0.8


@dataclass(frozen=True, slots=True)
class ResidualBet:
    """The harm test of measured guardrails where the share is ours; a block's sums are its ln factors."""

    @property
    def width(self) -> int:
        """One a stake."""
        return len(STAKES)

    @property
    def moves_open(self) -> bool:
        """With every scored run."""
        return True

    def fill(self, scores: FloatArray, candidate: BoolArray, share: FloatArray, out: FloatArray) -> None:
        """Write what each run adds to a block's sums, (14, runs)."""
        residual_bets(scores, candidate, share, out)

    def read(self, sums: FloatArray) -> FloatArray:
        """Ln factors of blocks, (blocks, 14), from their sums, the same."""
        return np.asarray(sums)


def stake_prior(centre: float) -> FloatArray:
    """Ln prior over STAKES, a bump at `centre`, (14,)."""
    return np.asarray(np.log(bump(np.log(STAKES), float(np.log(centre)), WIDTH)), dtype=np.float64)


def residual_bets(
    scores: FloatArray, candidate: BoolArray, share: FloatArray, out: FloatArray | None = None
) -> FloatArray:
    """Ln factors of each run, (14, runs), written to `out` if given: A lam g - ln(1 - q + q e^(lam g)).

    `scores` (runs,) are the residuals g, `candidate` whether the run was the candidate's and `share` its
    chance q of that, 0..1. Given the scores, each factor has mean exactly one under the coin q, so
    the product is an e-process for "the score does not depend on the arm" at any time and under any drift.
    Source: STATISTICS.md, section 2(c).
    """
    # stake after stake, so that what is between stays in the cache: four times as fast as one array of all
    found = np.empty((len(STAKES), len(scores))) if out is None else out
    for place, stake in enumerate(STAKES):
        lifted = stake * scores
        # beyond e^500 the rest of the exponent is added by itself: ln(1 - q + q e^x) = ln q + x there
        small = np.minimum(lifted, 500.0)
        expected = np.log((1.0 - share) + share * np.exp(small)) + (lifted - small)
        found[place] = lifted * candidate - expected
    return found


__all__ = ["COST_CENTRE", "COUNT_CENTRE", "STAKES", "ResidualBet", "residual_bets", "stake_prior"]
