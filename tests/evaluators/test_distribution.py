import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.distribution import Distribution


@pytest.fixture(scope="module")
def costs():
    rng = np.random.default_rng(3)
    values, done = rng.lognormal(-3, 1, 20_000), rng.random(20_000) < 0.9
    return values, done, Distribution.of(values, {"completed": done})


@pytest.mark.parametrize("level", [0.01, 0.5, 0.95, 0.99])
def test_a_quantile_is_the_samples_own(costs, level):
    values, _, found = costs
    assert found.quantile(level) == pytest.approx(np.quantile(values, level, method="inverted_cdf"), rel=0.03)


def test_as_many_values_lie_past_a_quantile_as_there_should(costs):
    values, _, found = costs
    line = found.quantile(0.99)
    assert found.past(line, above=True) == int((values > line).sum()) == 200


def test_capped_sums_are_those_of_the_values(costs):
    values, done, found = costs
    cap = found.quantile(0.99)
    low = np.minimum(values, cap)
    expected = (low.sum(), (low**2).sum(), (low * done).sum(), done.sum())
    assert found.capped(cap, "completed") == pytest.approx(expected, rel=1e-9)
    assert found.capped(np.inf, None)[0] == pytest.approx(values.sum())


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(0, 30))
def test_a_column_of_few_values_is_held_exactly(values, line):
    array = np.array(values, dtype=float)
    found = Distribution.of(array, {})
    assert found.past(line, above=True) == int((array > line).sum())
    assert found.past(line, above=False) == int((array < line).sum())
    assert found.capped(max(line, 1), None)[0] == pytest.approx(np.minimum(array, max(line, 1)).sum())
    assert found.quantile(0.5) == np.quantile(array, 0.5, method="inverted_cdf")


def test_a_distribution_is_small_and_survives_json(costs):
    text = json.dumps(costs[2].to_json())
    assert Distribution.from_json(json.loads(text)).to_json() == costs[2].to_json()
    assert len(text) < 6_000


def test_silent_runs_survive_json_and_histories_that_never_counted_them_have_none():
    found = Distribution.of(np.array([1.0, 2.0]), {}, 3, {"completed": 1})
    again = Distribution.from_json(json.loads(json.dumps(found.to_json())))
    assert (again.silent, again.silent_flags) == (3, {"completed": 1})
    old = {key: value for key, value in found.to_json().items() if key != "silent"}
    assert (Distribution.from_json(old).silent, Distribution.from_json(old).silent_flags) == (0, {})
