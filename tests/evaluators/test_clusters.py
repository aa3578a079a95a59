import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.clusters import design_effect, halves, run_moments, unit_moments


def test_the_design_effect_is_the_published_one(published):
    for fixture in published("design_effect"):
        n, y = np.array(fixture["input"]["users_n_y"]).T
        assert float(design_effect(unit_moments(n, y, y))) == pytest.approx(fixture["expected"], abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-3, 3)), min_size=1, max_size=30))
def test_runs_add_up_to_their_units(runs):
    frame = pd.DataFrame(runs, columns=["unit", "x"])
    groups = frame.groupby("unit")["x"]
    x = frame["x"].to_numpy()
    added = run_moments(x, groups.cumcount().to_numpy(float), groups.cumsum().to_numpy() - x).sum(axis=0)
    whole = unit_moments(groups.size(), groups.sum(), groups.agg(lambda v: (v**2).sum()))
    assert added == pytest.approx(whole, abs=1e-9)


def test_the_design_effect_is_the_variance_of_unit_sums_over_that_of_runs():
    rng = np.random.default_rng(2)
    rates = rng.beta(2, 8, 400)
    n = rng.integers(1, 20, 400)
    y = rng.binomial(n, rates)
    p = y.sum() / n.sum()
    expected = ((y - n * p) ** 2).sum() / (n.sum() * p * (1 - p))
    assert float(design_effect(unit_moments(n, y, y))) == pytest.approx(expected)
    assert expected > 1.5


def test_each_arm_has_its_own_mean():
    worse, better = unit_moments([5, 5], [5, 5], [5, 5]), unit_moments([5, 5], [0, 0], [0, 0])
    assert float(design_effect(np.append(worse, better))) == 1.0


def test_single_runs_have_no_design_effect():
    assert float(design_effect(unit_moments(np.ones(50), np.arange(50) % 2, np.arange(50) % 2))) == 1.0
    assert float(design_effect(np.zeros(12))) == 1.0


def test_the_halves_are_a_mean():
    assert float(np.exp(halves(np.log(3.0), np.log(5.0)))) == pytest.approx(4.0)
