import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.intervals import Interval, log_odds_sequence, risk_difference
from evaluators.mixture import CURVE, FINE
from evaluators.proportions import fisher_log_ratio


def both_grids(counts):
    """The same blocks on the fine grid and on the one that a state keeps."""
    return fisher_log_ratio(counts, FINE).sum(axis=0), fisher_log_ratio(counts, CURVE).sum(axis=0)


def test_the_confidence_sequence_is_the_published_one(published):
    for fixture in published("fnch_cs_log_or"):
        rows = fixture["input"]["blocks_badc_badb_nc_nb"]
        counts = np.array([[n_c, y_c, n_b, y_b] for y_c, y_b, n_c, n_b in rows])
        found = log_odds_sequence(FINE, both_grids(counts)[0], fixture["input"]["alpha"])
        assert (found.low, found.high) == pytest.approx(fixture["expected"], abs=1e-9)


@pytest.mark.parametrize(
    ("rate", "lifted", "blocks"), [(0.08, 0.08, 400), (0.08, 0.3, 60), (0.005, 0.02, 900)]
)
def test_the_kept_curve_gives_the_fine_grids_ends(rate, lifted, blocks):
    rng = np.random.default_rng(5)
    n_c = rng.binomial(20, 0.1, blocks)
    y_c, y_b = rng.binomial(n_c, lifted), rng.binomial(20 - n_c, rate)
    fine, kept = both_grids(np.stack([n_c, y_c, 20 - n_c, y_b], axis=1))
    exact, shown = log_odds_sequence(FINE, fine, 0.05), log_odds_sequence(CURVE, kept, 0.05)
    assert (shown.low, shown.high) == pytest.approx((exact.low, exact.high), abs=2e-3)


def test_no_evidence_rules_nothing_out():
    assert log_odds_sequence(CURVE, np.zeros(len(CURVE)), 0.05) == Interval(0.0, -6.0, 6.0)


@given(st.integers(1, 400), st.data())
def test_a_risk_difference_stays_ordered_and_within_the_rates_reach(n_b, data):
    y_b = data.draw(st.integers(0, n_b))
    shown = risk_difference(Interval(0.3, -0.5, 1.5), n_b, y_b)
    assert -100.0 < shown.low < 0.0 < shown.estimate < shown.high < 100.0


def test_a_risk_difference_is_in_points_at_the_baselines_rate():
    assert risk_difference(Interval(np.log(81.0), 0.0, 0.0), 999, 99).estimate == pytest.approx(80.0, abs=0.1)
