import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.triggers import _PRIOR, _THETAS, RateTrigger, Triggers


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
