from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.residual_bet import COST_CENTRE, COUNT_CENTRE, STAKES, residual_bets, stake_prior

SCORES = st.lists(st.floats(-5, 60, allow_nan=False), min_size=1, max_size=7)


@given(SCORES, st.floats(0.01, 0.99))
def test_the_bet_has_mean_one_whatever_the_scores(scores, share):
    """Exact: every way in which the coin could have dealt these runs, by its chance."""
    g, mean = np.array(scores), np.zeros(14)
    for arms in product([False, True], repeat=len(scores)):
        arm = np.array(arms)
        chance = np.prod(np.where(arm, share, 1 - share))
        mean += chance * np.exp(residual_bets(g, arm, np.full(len(g), share)).sum(axis=1))
    assert np.allclose(mean, 1.0, rtol=1e-9)


def test_a_factor_is_the_written_formula():
    found = residual_bets(np.array([1.7, -0.4]), np.array([True, False]), np.array([0.1, 0.3]))
    assert found[:, 0] == pytest.approx(STAKES * 1.7 - np.log(0.9 + 0.1 * np.exp(STAKES * 1.7)))
    assert found[:, 1] == pytest.approx(-np.log(0.7 + 0.3 * np.exp(-STAKES * 0.4)))


def test_a_huge_score_does_not_overflow():
    assert np.isfinite(residual_bets(np.array([1e6]), np.array([True]), np.array([0.1]))).all()


@given(st.floats(0.02, 0.98), st.floats(0.0, 1.0))
def test_a_stochastically_smaller_candidate_has_mean_at_most_one(share, part):
    """Scores 0 or 2; the candidate reaches 2 in `part` of the baseline's four in ten."""
    rates = {False: 0.4, True: 0.4 * part}
    mean = np.zeros(14)
    for arm, high in product([False, True], repeat=2):
        chance = (share if arm else 1 - share) * (rates[arm] if high else 1 - rates[arm])
        factor = residual_bets(np.array([2.0 * high]), np.array([arm]), np.array([share]))
        mean += chance * np.exp(factor[:, 0])
    assert (mean <= 1.0 + 1e-12).all()


@pytest.mark.parametrize("centre", [COST_CENTRE, COUNT_CENTRE])
def test_a_prior_sums_to_one_around_its_centre(centre):
    prior = np.exp(stake_prior(centre))
    assert prior.sum() == pytest.approx(1.0)
    assert STAKES[np.argmax(prior)] == pytest.approx(centre, rel=0.2)
