from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.residual_bet import STAKES
from evaluators.tilt import tilt_log_e

SCORES = st.lists(st.floats(-4, 40), min_size=1, max_size=5)


def test_the_tilt_is_the_published_one(published):
    for fixture in published("randomisation_tilt_log_e"):
        row = fixture["input"]
        found = tilt_log_e(
            np.array(row["scores_canary"]), np.array(row["scores_baseline"]), np.array(row["lam"])
        )
        assert found == pytest.approx(fixture["expected"], abs=1e-9)


@given(SCORES, SCORES)
def test_the_tilt_is_the_mean_over_all_choices(ours, theirs):
    scores, n = np.array([*ours, *theirs]), len(ours)
    sums = np.array([scores[list(chosen)].sum() for chosen in combinations(range(len(scores)), n)])
    for place, stake in enumerate(STAKES):
        top = (stake * sums).max()
        mean = top + np.log(np.exp(stake * sums - top).mean())
        found = tilt_log_e(np.array(ours), np.array(theirs), STAKES)[place]
        assert found == pytest.approx(stake * np.sum(ours) - mean, abs=1e-9)


@given(SCORES, st.integers(1, 4))
def test_the_tilt_has_mean_one_over_all_choices(scores, n):
    rows, mean = np.array([*scores, 0.5, -0.5]), []
    for chosen in combinations(range(len(rows)), min(n, len(rows) - 1)):
        mask = np.isin(np.arange(len(rows)), chosen)
        mean.append(np.exp(tilt_log_e(rows[mask], rows[~mask], STAKES)))
    assert np.allclose(np.mean(mean, axis=0), 1.0, rtol=1e-9)


def test_an_empty_arm_says_exactly_nothing():
    assert not tilt_log_e(np.array([]), np.array([3.0]), STAKES).any()
    assert not tilt_log_e(np.array([3.0]), np.array([]), STAKES).any()


def test_large_scores_do_not_overflow():
    assert np.isfinite(tilt_log_e(np.array([900.0, 3.0]), np.array([800.0, 1.0]), STAKES)).all()
