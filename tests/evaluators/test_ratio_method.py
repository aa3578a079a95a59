import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import mantel_haenszel as mh
from evaluators.mixture import running
from evaluators.ratio_method import COARSE, RATIOS, _ends


def sums(seed, blocks, ratio):
    """Totals of some blocks of 40 runs, 10 of them the candidate's, whose costs are `ratio` times as high."""
    rng = np.random.default_rng(seed)
    arms = []
    for n, times in ((10, ratio), (30, 1.0)):
        cost, done = times * rng.lognormal(-0.5, 1.0, (blocks, n)), rng.random((blocks, n)) < 0.9
        columns = (cost.sum(1), done.sum(1), (cost**2).sum(1), (cost * done).sum(1), done.sum(1))
        arms.append(mh.ArmSums(np.full(blocks, float(n)), *(c.astype(float) for c in columns)))
    return mh.block_sums(*arms).sum(axis=0)


@settings(max_examples=60)
@given(st.integers(0, 5_000), st.integers(1, 2_000), st.floats(0.05, 20), st.sampled_from([0.01, 0.05, 0.5]))
def test_the_ends_are_those_of_all_ratios_asked(seed, blocks, ratio, alpha):
    totals = sums(seed, blocks, ratio)
    kept = RATIOS[mh.log_e_two_sided(*mh.score(totals[None, :], RATIOS)) < np.log(1 / alpha)]
    expected = (kept[0], kept[-1]) if len(kept) else None
    assert _ends(totals, alpha) == expected


def test_ends_closer_than_the_coarse_ratios_are_found():
    totals = sums(1, 60_000, 1.0)
    low, high = _ends(totals, 0.05)
    assert np.searchsorted(RATIOS, high) - np.searchsorted(RATIOS, low) < COARSE
    assert low < 1.02
    assert high > 0.98


@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.integers(0, 30), st.floats(-1e6, 1e6))
def test_running_totals_do_not_depend_on_where_they_are_cut(values, cut, start):
    rows = np.array(values).reshape(-1, 1)
    whole = running(np.array([start]), rows)
    head = running(np.array([start]), rows[:cut])
    assert np.array_equal(np.vstack([head, running(head[-1], rows[cut:])[1:]]), whole)
    assert whole[-1, 0] == pytest.approx(start + sum(values), rel=1e-9, abs=1e-3)
