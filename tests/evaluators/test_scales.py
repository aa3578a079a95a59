import numpy as np
import pandas as pd
import pytest

from evaluators.history import History
from evaluators.rules import Guardrail, Kind
from evaluators.scales import scale, threshold

COST = Guardrail("cost", "cost_usd", True, 1.0, None, 0.10, 0, kind=Kind.RATIO)
MARK = Guardrail("judge", "mark", False, 1.0, 0.1, None, 0, kind=Kind.SCORE, lowest=1.0, highest=5.0)


@pytest.fixture(scope="module")
def recorded(measured):
    return measured(5_000, 2)


def test_a_ratios_scale_is_that_of_the_winsorised_residual(recorded):
    found = scale(COST, History(recorded))
    cap = np.quantile(recorded["cost_usd"], 0.99, method="inverted_cdf")
    low, done = np.minimum(recorded["cost_usd"], cap), recorded["completed"]
    theta = low.sum() / done.sum()
    assert (found.cap, found.theta) == pytest.approx((cap, theta), rel=2e-3)
    assert found.sd == pytest.approx((low - theta * done).std(), rel=5e-3)
    assert found.level == pytest.approx(low.mean() / found.sd, rel=2e-3)


def test_lost_runs_and_infrastructure_failures_fix_no_scale(recorded):
    broken = pd.concat([recorded, recorded.assign(cost_usd=99.0, lost=True)]).assign(
        lost=lambda runs: runs["lost"].fillna(value=False).astype(bool)
    )
    assert scale(COST, History(broken)).theta == pytest.approx(scale(COST, History(recorded)).theta)


def test_a_scores_scale_is_its_mean_loss_and_one_half_without_history(recorded):
    expected = (5.0 - recorded["mark"].mean()) / 4.0
    assert scale(MARK, History(recorded)).loss == pytest.approx(expected)
    assert scale(MARK, History()).loss == 0.5


def test_nothing_fixes_the_scale_of_a_column_without_history(recorded):
    assert scale(COST, History()) is None
    assert scale(COST, History(recorded.drop(columns="completed"))) is None


def test_a_threshold_is_historys_level_in_the_bad_direction_or_the_policys_own(recorded):
    slow = Guardrail("latency", "latency_s", True, 1.0, 0.02, None, 0, kind=Kind.QUANTILE, level=0.95)
    history = History(recorded)
    assert (recorded["latency_s"] > threshold(slow, history)).mean() == pytest.approx(0.05, abs=1e-3)
    fast = Guardrail("speed", "latency_s", False, 1.0, 0.02, None, 0, kind=Kind.QUANTILE, level=0.95)
    assert (recorded["latency_s"] < threshold(fast, history)).mean() == pytest.approx(0.05, abs=0.01)
    fixed = Guardrail("latency", "latency_s", True, 1.0, 0.02, None, 0, kind=Kind.QUANTILE, limit=7.0)
    assert threshold(fixed, History()) == 7.0
    assert threshold(slow, History()) is None
