import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.monitors import SPEND_STAKES, Drift, shiryaev_roberts, spend_log_e


def test_the_drift_watch_is_the_published_one(published):
    for fixture in published("e_cusum"):
        row, watch, found = fixture["input"], Drift(fixture["input"]["p0"], fixture["input"]["p1"]), []
        for bad in row["y"]:
            watch = watch.add(bad=bool(bad))
            found.append(np.exp(watch.log_m))
        assert found == pytest.approx(fixture["expected"], abs=1e-9)


def test_the_shiryaev_roberts_statistic_is_the_published_one(published):
    for fixture in published("e_sr"):
        row = fixture["input"]
        good, bad = (1 - row["p1"]) / (1 - row["p0"]), row["p1"] / row["p0"]
        found = list(shiryaev_roberts([bad if y else good for y in row["y"]]))
        assert found == pytest.approx(fixture["expected"], abs=1e-9)


@given(st.lists(st.booleans(), max_size=40))
def test_the_drift_watch_is_the_best_start_so_far(outcomes):
    """By brute force: the largest product of likelihood ratios over all runs to start from."""
    ratios, watch = [4.0 if bad else 2 / 3 for bad in outcomes], Drift(0.1, 0.4)
    for bad in outcomes:
        watch = watch.add(bad=bad)
    expected = max((np.prod(ratios[start:]) for start in range(len(ratios))), default=1.0)
    assert np.exp(watch.log_m) == pytest.approx(expected)


def test_a_healthy_bundle_rarely_alarms_and_a_drifted_one_soon():
    def alarm_at(rate, runs, seed):
        rng, watch = np.random.default_rng(seed), Drift(0.10, 0.30)
        for run in range(runs):
            watch = watch.add(bad=rng.random() < rate)
            if watch.alarms:
                return run
        return None

    assert sum(alarm_at(0.08, 2_000, seed) is not None for seed in range(60)) <= 6
    assert np.median([alarm_at(0.30, 2_000, seed) for seed in range(60)]) <= 60


@pytest.mark.parametrize("limit", [0.05, 2.0])
def test_the_spend_test_has_mean_one_at_the_limit(limit):
    """Amounts 0 or three times the limit, a third of them high, three runs enumerated."""
    mean = 0.0
    for code in range(8):
        high = np.array([code >> i & 1 for i in range(3)])
        chance = np.prod(np.where(high, 1 / 3, 2 / 3))
        mean += chance * np.exp(spend_log_e(3.0 * limit * high, limit)[-1])
    assert mean == pytest.approx(1.0)


def test_the_spend_test_is_the_mean_of_its_stakes():
    expected = np.log(np.mean([(1 + lam) * (1 - lam) for lam in SPEND_STAKES]))
    assert spend_log_e(np.array([2.0, 0.0]), 1.0)[-1] == pytest.approx(expected)
