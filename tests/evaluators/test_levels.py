"""One-sample e-values against levels that were fixed before."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.levels import (
    Outcomes,
    RateLevel,
    amount_over,
    amount_under,
    between,
    rate_over,
    rate_over_lately,
    rate_under,
)

LINE = float(np.log(20))


def outcomes(bad, stratum=None):
    values = np.asarray(bad, dtype=float)
    return Outcomes(np.asarray(stratum if stratum is not None else np.zeros(len(values), int)), values)


def expected(e_value, rates, weights):
    """The mean of an e-value over every outcome of runs that are bad with these chances."""
    total = 0.0
    for bad in product((0, 1), repeat=len(rates)):
        chance = np.prod([r if b else 1 - r for b, r in zip(bad, rates, strict=True)])
        n, y = np.zeros(3), np.zeros(3)
        np.add.at(n, weights, 1.0)
        np.add.at(y, weights, np.array(bad, dtype=float))
        total += chance * np.exp(e_value(n, y, np.array([0.1, 0.3, 0.2])))
    return total


def test_over_has_mean_one_at_most_at_its_rates():
    assert expected(rate_over, [0.1, 0.1, 0.3, 0.3, 0.2, 0.2], [0, 0, 1, 1, 2, 2]) <= 1.0 + 1e-12


def test_under_has_mean_one_at_its_rates():
    assert expected(rate_under, [0.1, 0.1, 0.3, 0.3, 0.2, 0.2], [0, 0, 1, 1, 2, 2]) == pytest.approx(1.0)


def test_another_mix_of_runs_is_no_evidence():
    worse = np.array([0.05, 0.6, 0.2])
    assert rate_over(np.array([0.0, 200.0, 0.0]), np.array([0.0, 120.0, 0.0]), worse) < LINE


def test_one_slice_that_is_worse_is_found_among_others():
    rate = np.array([0.05, 0.05, 0.05])
    assert rate_over(np.array([400.0, 30.0, 0.0]), np.array([12.0, 15.0, 0.0]), rate) > LINE


def test_a_worsening_that_began_lately_is_found_behind_many_good_runs():
    bad = np.append(np.zeros(3_000), np.ones(40) * (np.arange(40) % 2))
    level = np.array([0.05, 0.05])
    assert rate_over(*outcomes(bad).counts(2), level) < LINE < rate_over_lately(outcomes(bad), level)


def test_a_small_stratum_has_the_level_of_all():
    level = RateLevel.of(outcomes([0.0] * 90 + [1.0] * 10, [0] * 95 + [1] * 5), 3)
    assert level.rate[1] == level.rate[2] > level.rate[0]


@given(st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.floats(0.05, 0.95))
def test_between_lies_between(reference, rate, part):
    low, high = sorted((reference, rate))
    assert low - 1e-9 <= between(reference, rate, part) <= high + 1e-9


def test_amounts_are_judged_from_both_sides():
    costs = np.random.default_rng(1).lognormal(-3.0, 1.0, 400)
    mean = float(costs.mean())
    assert amount_over(costs, 0.5 * mean) > LINE > amount_over(costs, 1.3 * mean)
    assert amount_under(costs, 2.5 * mean, 6 * mean) > LINE > amount_under(costs, 0.8 * mean, 6 * mean)
