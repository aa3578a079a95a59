import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.bounded import loss_bets, loss_slopes
from evaluators.clusters import bet_effect, design_effect, halves, run_moments, unit_moments
from evaluators.mixture import THETAS


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


def moments_of(unit, ours, x):
    """Both arms' moments, the candidate's first, summed unit by unit."""
    found = []
    for arm in (ours, ~ours):
        groups = pd.DataFrame({"unit": unit[arm], "x": x[arm], "s": x[arm] ** 2}).groupby("unit")
        found.append(unit_moments(groups.size(), groups["x"].sum(), groups["s"].sum()))
    return np.concatenate(found)[None, :]


def made(seed, users, each):
    """Users who keep their arm, each with some runs that are bad by a rate of their own."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(users), each)
    ours = (rng.random(users) < 0.3)[unit]
    ours[unit == 0], ours[unit == 1] = True, False
    return unit, ours, (rng.random(len(unit)) < rng.beta(1, 4, users)[unit]).astype(float)


def test_the_bets_design_effect_is_its_factors_variance_by_unit_over_that_by_run():
    """The factors themselves, run by run, of many users: the coin's expectation has no weight left."""
    unit, ours, x = made(3, 4_000, 6)
    share, rate = np.array([0.3]), 0.2
    factors = loss_bets(x, ours, np.full(len(x), 0.3), rate, THETAS)
    by_unit = pd.DataFrame(factors).groupby(unit).sum().to_numpy()
    expected = np.maximum(1.0, (by_unit**2).sum(axis=0) / (factors**2).sum(axis=0))
    found = bet_effect(moments_of(unit, ours, x), loss_slopes(share, rate, THETAS), share)[0]
    assert found == pytest.approx(expected, rel=0.02)


def test_while_few_users_have_come_the_coins_own_variance_stands_in():
    """Two candidate users: every user's factors, on either arm, weighted by the chance of that arm."""
    unit, _, x = made(5, 30, 4)
    ours = unit < 2
    share, rate = np.array([0.3]), 0.2
    own, runs = np.zeros(24), np.zeros(24)
    for arm, chance in ((True, 0.3), (False, 0.7)):
        factors = loss_bets(x, np.full(len(x), arm), np.full(len(x), 0.3), rate, THETAS)
        own += chance * (pd.DataFrame(factors).groupby(unit).sum().to_numpy() ** 2).sum(axis=0)
        runs += chance * (factors**2).sum(axis=0)
    found = bet_effect(moments_of(unit, ours, x), loss_slopes(share, rate, THETAS), share)[0]
    assert (found >= np.maximum(1.0, own / runs) - 1e-9).all()


def test_one_users_bad_runs_count_as_about_one():
    """Nine bad runs of one candidate user among good ones: a tenth of their evidence is left."""
    unit = np.repeat(np.arange(40), 9)
    x = (unit == 0).astype(float)
    share = np.array([0.1])
    found = bet_effect(moments_of(unit, unit == 0, x), loss_slopes(share, 0.01, THETAS), share)[0]
    assert (found >= 8.0).all()
    assert design_effect(moments_of(unit, unit == 0, x))[0] == 1.0


def test_runs_without_repeats_have_no_design_effect():
    unit, ours, x = made(7, 300, 1)
    share = np.array([0.3])
    assert bet_effect(moments_of(unit, ours, x), loss_slopes(share, 0.2, THETAS), share) == pytest.approx(1.0)
