from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, nchypergeom_fisher

from evaluators.mixture import DISTANCES, FISHER_PRIOR, THETAS, log_mean_exp, promote_prior
from evaluators.proportions import bet_increments, fisher_log_ratio, under_rate_log_e


def as_counts(rows):
    """Rows of (bad candidate, bad baseline, candidate, baseline) as n_c, y_c, n_b, y_b."""
    return np.array([[n_c, y_c, n_b, y_b] for y_c, y_b, n_c, n_b in rows])


@st.composite
def one_block(draw):
    n_c, n_b = draw(st.integers(0, 25)), draw(st.integers(0, 60))
    return [n_c, draw(st.integers(0, n_c)), n_b, draw(st.integers(0, n_b))]


def test_one_blocks_likelihood_ratio_is_the_published_one(published):
    for fixture in published("fnch_block_loglr"):
        row = fixture["input"]
        thetas = np.log([row["odds_ratio_alt"], row["odds_ratio_null"]])
        counts = as_counts([(row["bad_c"], row["bad_b"], row["n_c"], row["n_b"])])
        ratio = fisher_log_ratio(counts, thetas)[0]
        assert ratio[0] - ratio[1] == pytest.approx(fixture["expected"], abs=1e-9)


def test_the_harm_sequence_is_the_published_one(published):
    for fixture in published("fnch_sequence_log_e_revert"):
        counts = as_counts(fixture["input"]["blocks_badc_badb_nc_nb"])
        path = log_mean_exp(FISHER_PRIOR, fisher_log_ratio(counts, THETAS).cumsum(axis=0))
        assert np.allclose(path, fixture["expected"], rtol=0.0, atol=1e-9)


def test_the_promote_sequence_is_the_published_one(published):
    for fixture in published("fnch_sequence_log_e_promote"):
        counts = as_counts(fixture["input"]["blocks_badc_badb_nc_nb"])
        null = np.log(0.1 / 0.9) - np.log(0.08 / 0.92)
        sums = fisher_log_ratio(counts, np.append(null - DISTANCES, null)).cumsum(axis=0)
        path = log_mean_exp(promote_prior(null), sums[:, :-1] - sums[:, -1:])
        assert np.allclose(path, fixture["expected"], rtol=0.0, atol=1e-9)


@given(one_block(), st.floats(-5, 5))
def test_the_conditional_law_agrees_with_scipy(row, theta):
    n_c, y_c, n_b, y_b = row
    bad = y_c + y_b
    ours = fisher_log_ratio(np.array([row]), np.array([theta]))[0, 0]
    at, null = (nchypergeom_fisher(n_c + n_b, n_c, bad, odds) for odds in (np.exp(theta), 1.0))
    if n_c == 0 or n_b == 0 or bad in {0, n_c + n_b}:
        assert ours == 0.0
    else:
        assert ours == pytest.approx(at.logpmf(y_c) - null.logpmf(y_c), abs=1e-8)


@pytest.mark.parametrize("row", [(5, 0, 40, 0), (5, 5, 40, 40), (0, 0, 40, 3), (5, 2, 0, 0), (0, 0, 0, 0)])
def test_an_uninformative_block_adds_exactly_nothing(row):
    assert not fisher_log_ratio(np.array([row]), np.linspace(-6, 6, 50)).any()


def test_equal_blocks_among_others_get_equal_values():
    rows = np.array([[3, 1, 17, 2], [2, 0, 18, 1], [3, 1, 17, 2]])
    together = fisher_log_ratio(rows, THETAS)
    assert np.array_equal(together[0], together[2])
    assert np.array_equal(together[1], fisher_log_ratio(rows[1:2], THETAS)[0])


def test_a_large_block_neither_overflows_nor_loses_digits():
    row = np.array([[3000, 700, 9000, 1500]])
    ours = fisher_log_ratio(row, np.array([-6.0, 0.0, 0.5, 6.0]))[0]
    assert np.isfinite(ours).all()
    assert ours[1] == pytest.approx(0.0, abs=1e-9)


@given(
    st.lists(st.booleans(), min_size=1, max_size=7),
    st.floats(0.01, 0.99),
    st.floats(1e-6, 1 - 1e-6),
)
def test_the_bet_has_mean_one_whatever_the_outcomes(outcomes, share, rate):
    """Exact: every way in which the coin could have dealt these outcomes to the arms, by its chance."""
    mean = np.zeros(len(THETAS))
    for arms in product([0, 1], repeat=len(outcomes)):
        arm, bad = np.array(arms), np.array(outcomes)
        counts = [[arm.sum(), (arm & bad).sum(), (1 - arm).sum(), ((1 - arm) & bad).sum()]]
        chance = share ** arm.sum() * (1 - share) ** (1 - arm).sum()
        factor = bet_increments(np.array(counts), np.array([share]), np.array([rate]), np.asarray(THETAS))
        mean += chance * np.exp(factor[0])
    assert np.allclose(mean, 1.0, rtol=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.02, 0.98), st.floats(0.0, 1.0))
def test_the_bets_mean_is_at_most_one_for_a_better_candidate(share, rate, part):
    """With the baseline's rate predicted right and the candidate bad in `part` of it."""
    rates = (rate, part * rate)
    cells = np.array([[0, 0, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]])
    factor = np.exp(bet_increments(cells, np.full(4, share), np.full(4, rate), np.asarray(THETAS)))
    chance = [(1 - share) * (1 - rates[0]), (1 - share) * rates[0], share * (1 - rates[1]), share * rates[1]]
    assert (np.array(chance) @ factor <= 1.0 + 1e-9).all()


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.3])
def test_the_one_sample_test_has_mean_one_at_its_rate_and_less_above(rate):
    bad = np.arange(41)
    value = np.exp(under_rate_log_e(np.full(41, 40), bad, rate))
    assert binom.pmf(bad, 40, rate) @ value == pytest.approx(1.0, abs=1e-9)
    assert binom.pmf(bad, 40, 1.5 * rate) @ value < 1.0


def test_clean_runs_alone_prove_a_rate_of_two_in_a_hundred():
    proof = under_rate_log_e(np.array([100, 250]), np.array([0, 0]), 0.02)
    assert proof[0] < np.log(20) < proof[1]
