from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.residual_bet import STAKES
from evaluators.scales import Scale
from evaluators.tilt import LEVELS, LevelTilt, residual_levels, tilt_log_e

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


@given(st.lists(st.tuples(st.integers(0, LEVELS - 1), st.booleans(), st.integers(0, 2)), max_size=30))
def test_blocks_of_levels_have_the_tilt_of_their_scores(runs):
    """Three blocks of runs, each with a level, an arm and the place of its block."""
    tilt = LevelTilt(residual_levels(Scale(cap=0.4, theta=0.09, sd=0.08), bad=True))
    scores = tilt.levels[[level for level, _, _ in runs]]
    ours, place = np.array([arm for _, arm, _ in runs], dtype=bool), np.array([at for _, _, at in runs])
    out = np.empty((tilt.width, len(runs)))
    tilt.fill(scores, ours, np.full(len(runs), 0.1), out)
    sums = np.stack([out[:, place == at].sum(axis=1) for at in range(3)])
    for at, found in enumerate(tilt.read(sums)):
        mine = place == at
        assert found == pytest.approx(tilt_log_e(scores[ours & mine], scores[~ours & mine], STAKES), abs=1e-9)


def test_levels_span_the_residuals_in_either_direction():
    found = Scale(cap=0.4, theta=0.1, sd=0.1)
    assert residual_levels(found, bad=True)[[0, -1]] == pytest.approx([-1.0, 4.0])
    assert residual_levels(found, bad=False)[[0, -1]] == pytest.approx([-4.0, 1.0])


def test_a_score_goes_to_its_nearest_level():
    tilt = LevelTilt(np.linspace(0.0, LEVELS - 1.0, LEVELS))
    out = np.empty((tilt.width, 3))
    tilt.fill(np.array([2.4, 2.6, 99.0]), np.array([True, False, True]), np.full(3, 0.5), out)
    assert np.argwhere(out.T == 1.0).tolist() == [[0, 2], [1, LEVELS + 3], [2, LEVELS - 1]]
