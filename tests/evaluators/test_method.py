import numpy as np
import pytest

from evaluators.method import with_declared
from evaluators.mixture import BET_PRIOR, THETAS


def test_a_declared_harm_moves_half_of_the_priors_mass_to_it():
    base, found = np.exp(BET_PRIOR), np.exp(with_declared(np.asarray(BET_PRIOR), np.asarray(THETAS), 1.0))
    assert found.sum() == pytest.approx(1.0)
    assert (found - 0.5 * base).sum() == pytest.approx(0.5)
    assert THETAS[np.argmax(found - 0.5 * base)] == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("at", [None, 0.0, -1.0])
def test_without_a_declared_harm_the_prior_stays(at):
    assert np.array_equal(with_declared(np.asarray(BET_PRIOR), np.asarray(THETAS), at), BET_PRIOR)


def test_a_harm_past_the_grid_lies_at_its_end():
    found = np.exp(with_declared(np.asarray(BET_PRIOR), np.asarray(THETAS), 40.0))
    assert np.argmax(found) == len(THETAS) - 1
