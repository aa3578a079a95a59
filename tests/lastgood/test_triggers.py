import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.outcome import Outcome
from lastgood.release import Terms
from lastgood.triggers import (
    _PRIOR,
    _THETAS,
    RATES,
    RateTrigger,
    RepeatTrigger,
    SpendTrigger,
    Triggers,
    bad_outcomes,
)

GOOD = Outcome(completed=True, validated=True)


@pytest.mark.parametrize(
    ("outcome", "bad"),
    [
        (GOOD, set()),
        (Outcome(), {"completion", "validation"}),
        (Outcome(completed=False, validated=True), {"completion"}),
        (Outcome(completed=True, validated=False), {"validation"}),
        (Outcome("failed", completed=True, validated=True), set()),
        (Outcome("failed"), {"completion", "validation"}),
        (Outcome("disconnected"), set()),
        (Outcome("disconnected", completed=False, validated=False), set()),
        (replace(GOOD, escalated=True), {"escalation"}),
        (replace(GOOD, escalated=False), set()),
        (replace(GOOD, incidents=2), {"incidents"}),
        (replace(GOOD, incidents=0), set()),
        (replace(GOOD, operator_edits=1), {"corrections"}),
        (replace(GOOD, operator_edits=0), set()),
        (replace(GOOD, metrics={"tool_malformed": True}), {"tool_malformed"}),
        (replace(GOOD, metrics={"tool_malformed": False, "tone": 1.0}), set()),
    ],
)
def test_what_a_run_did_badly(outcome, bad):
    assert {name for name, is_bad in bad_outcomes(outcome).items() if is_bad} == bad


def test_a_rate_can_be_set_on_everything_bad_and_on_silence():
    assert set(RATES) == {*bad_outcomes(GOOD), "lost"}


def test_the_prior_is_log_normal_around_four_fifths_with_a_spread_of_nine_tenths():
    """STATISTICS.md, 2(f): a rate of about twice the limit is what it looks for first."""
    distances = [math.log(theta / 0.8) / 0.9 for theta in _THETAS]
    for distance, weight in zip(distances, _PRIOR, strict=True):
        assert math.log(weight / _PRIOR[0]) == pytest.approx((distances[0] ** 2 - distance**2) / 2)


def test_one_candidate_at_the_limit_in_a_thousand_is_reverted_by_a_rate_or_by_cost_unless_said_otherwise():
    assert RateTrigger("completion", 0.1).alpha == SpendTrigger(0.1).alpha == 0.001


def test_the_prior_is_a_distribution_over_the_published_grid():
    assert len(_THETAS) == len(_PRIOR) == 24
    assert (_THETAS[0], _THETAS[-1]) == pytest.approx((0.05, 5.0))
    assert sum(_PRIOR) == pytest.approx(1)


@given(st.floats(0.01, 0.99), st.integers(0, 300), st.data())
def test_no_bernoulli_rate_at_or_under_the_limit_gains_on_average(limit, n, data):
    """E[e_{n+1} | past] <= e_n for a bad rate p <= limit: what makes looking at every run valid."""
    trigger = RateTrigger("completion", limit)
    bad = data.draw(st.integers(0, n))
    rate = data.draw(st.floats(0, limit))
    now = trigger.log_e(n, bad)
    up, down = trigger.log_e(n + 1, bad + 1) - now, trigger.log_e(n + 1, bad) - now
    assert rate * math.exp(up) + (1 - rate) * math.exp(down) <= 1 + 1e-9


def test_before_the_first_run_nothing_is_proven():
    assert RateTrigger("completion", 0.1).log_e(0, 0) == pytest.approx(0)


@given(st.floats(0.01, 0.9), st.integers(1, 200), st.data())
def test_one_more_bad_run_is_never_less_proof(limit, n, data):
    trigger = RateTrigger("completion", limit)
    bad = data.draw(st.integers(0, n - 1))
    assert trigger.log_e(n, bad + 1) > trigger.log_e(n, bad)


def test_a_rate_of_nine_in_ten_crosses_a_limit_of_a_half_within_few_runs():
    trigger, rng, needed = RateTrigger("completion", 0.5), random.Random(9), []
    for _ in range(200):
        bad = 0
        for n in range(1, 400):
            bad += rng.random() < 0.9
            if trigger.fires(n, bad):
                break
        needed.append(n)
    assert sorted(needed)[100] <= 70
    assert sorted(needed)[180] <= 130


def test_all_bad_runs_cross_at_once():
    trigger = RateTrigger("completion", 0.05)
    assert next(n for n in range(1, 50) if trigger.fires(n, n)) <= 6


def test_false_alarms_at_the_limit_keep_to_alpha():
    """1,000 candidates exactly at the limit, looked at after each of 200 runs."""
    limit, alpha, rng = 0.2, 0.05, random.Random(20)
    trigger = RateTrigger("completion", limit, alpha)
    lines = [next((bad for bad in range(n + 1) if trigger.fires(n, bad)), n + 1) for n in range(201)]
    alarms = 0
    for _ in range(1_000):
        bad = 0
        for n in range(1, 201):
            bad += rng.random() < limit
            if bad >= lines[n]:
                alarms += 1
                break
    assert alarms <= 1_000 * alpha * 1.5


def test_the_line_rises_as_alpha_falls():
    assert RateTrigger("completion", 0.2, 0.05).fires(8, 7)
    assert not RateTrigger("completion", 0.2, 1e-9).fires(8, 7)


def test_two_events_are_not_tolerated_by_default():
    assert Triggers() == Triggers(("data_leak", "wrong_action"), ())


# -- costs


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=30), st.floats(0.01, 10))
def test_no_mean_cost_at_the_limit_gains_on_average(amounts, limit):
    """E[factor] = 1 where the mean is the limit: each factor is linear in the cost."""
    trigger = SpendTrigger(limit)
    mean = sum(amounts) / len(amounts)
    scaled = [amount * limit / mean for amount in amounts]
    factors = [[math.exp(log) for log in trigger.log_factors(amount)] for amount in scaled]
    for stake in range(5):
        assert sum(row[stake] for row in factors) / len(factors) == pytest.approx(1.0)


def test_the_spend_test_is_that_of_the_evaluators():
    import numpy as np

    from evaluators.monitors import spend_log_e

    amounts, trigger, wealth = [0.05, 0.3, 0.0, 1.2], SpendTrigger(0.1), [0.0] * 5
    for amount in amounts:
        wealth = [w + f for w, f in zip(wealth, trigger.log_factors(amount), strict=True)]
    assert trigger.log_e(wealth) == pytest.approx(spend_log_e(np.array(amounts), 0.1)[-1])


def test_the_spend_trigger_fires_at_its_line():
    trigger = SpendTrigger(0.1, alpha=0.05)
    assert not trigger.fires([math.log(19.9)] * 5)
    assert trigger.fires([math.log(20.1)] * 5)


# -- repeated failures


@pytest.mark.parametrize(
    ("errors", "fired"),
    [
        ([], None),
        ([None, "A", "A", "A"], None),
        (["A", "A", "A"], "A"),
        (["A", "B", "A", "A"], "A"),
        (["A", "A", "B", "B"], None),
        (["A", "A", None, None, "A"], None),
    ],
)
def test_three_of_the_newest_four(errors, fired):
    assert RepeatTrigger(3, 4).fires(errors) == fired


# -- as JSON


@pytest.mark.parametrize(
    "triggers",
    [
        Triggers(),
        Triggers(("x",), (RateTrigger("completion", 0.1),), SpendTrigger(0.2), RepeatTrigger(3, 5)),
    ],
)
def test_triggers_come_back_from_json(triggers):
    assert Triggers.of_plain(json.loads(json.dumps(triggers.plain()))) == triggers


def test_what_schema_0001_knew_is_written_as_it_was():
    """A control point that an older version sealed still matches its seal."""
    assert set(Triggers().plain()) == {"zero_tolerance", "rates"}
    assert not {"watch_us", "after_watch", "on_revert"} & set(json_of(Terms()))
    changed = Terms(watch_us=1, after_watch="revert", on_revert="finish")
    assert Terms.from_json(changed.to_json()) == changed


def json_of(terms):
    return json.loads(terms.to_json())
