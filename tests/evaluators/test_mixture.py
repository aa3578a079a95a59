import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.mixture import (
    BET_PRIOR,
    DISTANCES,
    FINE_PRIOR,
    FISHER_PRIOR,
    THETAS,
    log_family,
    log_sum_exp,
    pack,
    promote_prior,
    unpack,
)

FLOATS = st.floats(-700, 700, allow_nan=False)


def test_the_harm_grid_and_prior_are_the_published_ones(published):
    assert np.allclose(THETAS, published()["theta_grid"], rtol=1e-12)
    assert np.allclose(np.exp(FISHER_PRIOR), published()["prior_revert"], rtol=1e-9)


def test_the_promote_grid_and_prior_are_the_published_ones(published):
    assert np.allclose(DISTANCES, published()["delta_grid"], rtol=1e-12)
    assert np.allclose(np.exp(promote_prior(0.245122458033)), published()["prior_promote"], rtol=1e-9)


@pytest.mark.parametrize("prior", [BET_PRIOR, FISHER_PRIOR, FINE_PRIOR, promote_prior(1.1)])
def test_a_prior_sums_to_one(prior):
    assert np.exp(prior).sum() == pytest.approx(1.0, abs=1e-12)


def test_a_fifth_of_the_bets_prior_lies_near_three():
    extra = np.exp(BET_PRIOR) - 0.8 * np.exp(FISHER_PRIOR)
    assert extra.sum() == pytest.approx(0.2, abs=1e-12)
    assert THETAS[np.argmax(extra)] == pytest.approx(3.0, rel=0.15)


def test_the_family_mean_is_the_published_one(published):
    for fixture in published("family_average_log_e"):
        given_, expected = fixture["input"], fixture["expected"]
        assert float(log_family(given_["weights"], given_["log_e"])) == pytest.approx(expected, abs=1e-9)


@given(st.lists(FLOATS, min_size=1, max_size=6), st.floats(-1e4, 1e4))
def test_a_log_sum_moves_with_its_terms_and_never_overflows(values, shift):
    moved = log_sum_exp(np.array(values) + shift)
    assert float(moved) == pytest.approx(float(log_sum_exp(values)) + shift, abs=1e-8)


def test_a_log_sum_of_nothing_but_zeros_is_minus_infinity():
    assert log_sum_exp([-np.inf, -np.inf]) == -np.inf


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=8))
def test_packed_doubles_come_back_bit_for_bit(values):
    assert unpack(pack(np.array(values)), (len(values),)).tolist() == values


def test_packed_doubles_of_another_length_are_refused():
    with pytest.raises(ValueError, match="reshape"):
        unpack(pack(np.zeros(3)), (4,))
