"""Hunts against the comparison itself on drawn runs: a short version, wide enough for its few replicates."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, History, planning_hunt
from evaluators.planning_harms import Harm
from evaluators.planning_hunt import hunt
from evaluators.planning_sources import Source
from evaluators.planning_walk import Traffic
from evaluators.planning_worth import worth_of
from evaluators.rules import HOUR, Guardrail, Kind, Step
from evaluators.streams import Population, draw, draw_history
from evaluators.worse import Worsening

BUSY = Traffic(1e7)
HEALTHY = Population()


@pytest.fixture(scope="module")
def history():
    return History(draw_history(np.random.default_rng(11), HEALTHY, 20_000))


def sources(rules, history, harm):
    """By guardrail that sees a harm, its own first."""
    found = {}
    for guardrail in sorted(rules.guardrails, key=lambda g: g.name != harm.guardrail):
        own = [Source(guardrail, rules, history, step.share_bp, harm) for step in rules.steps]
        if own[0].known:
            found[guardrail.name] = own
    return found


def hunted(rules, history, name, size, *, opens=None, **changes):
    never = np.full((300, len(rules.steps)), np.inf) if opens is None else opens
    found = sources(rules, history, Harm(name, "", size))
    worth = {own[0].guardrail.name: worth_of(own[0].guardrail, rules, history) for own in found.values()}
    given = {"traffic": BUSY, "worth": worth, **changes}
    return hunt(found, rules, opens_us=never, seed=3, **given)


def judged(rules, history, base, candidate, runs, seed, releases=60):
    """Candidate runs until the comparison itself reverts, in some releases."""
    ends, fresh = [], Comparison(rules, history)
    for number in range(releases):
        comparison = fresh.copy()
        comparison.observe(draw(np.random.default_rng([seed, number]), base, candidate, runs, 0.1))
        ends.append(comparison.path()["candidate"].iloc[-1] if comparison.ended else np.inf)
    return ends


@pytest.mark.parametrize(
    ("name", "size", "column", "level", "runs"),
    [
        ("completion", 0.82, "completed", 0.10, 150),
        ("completion", 0.28, "completed", 0.64, 900),
        ("validation", 0.10, "validated", 0.87, 2_500),
        ("lost", 0.06, "lost", 0.06, 2_500),
    ],
    ids=["collapse", "drop", "validation", "lost"],
)
def test_a_harm_is_caught_when_the_comparison_catches_it(
    make_rules, history, name, size, column, level, runs
):
    rules = make_rules()
    ends = judged(rules, history, HEALTHY, HEALTHY.at(column, level), runs, 8)
    found = hunted(rules, history, name, size)
    # 15% and the standard error of a median of 60
    assert np.median(found.runs) == pytest.approx(np.median(ends), rel=0.15 + 0.12, abs=1.0)


def test_edits_are_caught_when_the_comparison_catches_them_where_runs_are_lost(make_rules):
    lossy = replace(HEALTHY, lost=0.02)
    edits = Guardrail("edits", "operator_edits", True, 1.0, None, 0.3, 0, kind=Kind.RATIO, cap=10.0)
    known = History(draw_history(np.random.default_rng(12), lossy, 20_000))
    rules = make_rules(guardrails=(edits,))
    ends = judged(rules, known, lossy, lossy.at("operator_edits", 1.0), 8_000, 9)
    found = hunted(rules, known, "edits", 1.5)
    # without the lost runs, which count as the cap on both arms, it would be a half of it
    assert np.median(found.runs) == pytest.approx(np.median(ends), rel=0.15 + 0.12)


@pytest.mark.parametrize(("place", "size", "amount", "runs"), [(0, 0.5, 1.5, 4_000), (1, 0.04, 0.04, 5_000)])
def test_a_harm_that_two_guardrails_of_a_column_see_is_caught_when_the_comparison_catches_it(
    make_rules, history, place, size, amount, runs
):
    cost = Guardrail("cost", "cost_usd", True, 0.5, None, 0.1, 0, kind=Kind.RATIO)
    tail = Guardrail("cost_tail", "cost_usd", True, 0.5, None, 1.0, 0, kind=Kind.QUANTILE, level=0.99)
    rules, cause = make_rules(guardrails=(cost, tail)), (cost, tail)[place]
    candidate = Worsening(HEALTHY, rules, history).of(cause, amount, "worse").candidate
    ends = judged(rules, history, HEALTHY, candidate, runs, 10, releases=300)
    found = hunted(rules, history, cause.name, size)
    assert np.median(found.runs) == pytest.approx(np.median(ends), rel=0.15 + 0.05)


def test_hours_are_runs_at_the_traffic_plus_maturity_and_a_look(make_rules, history):
    rules = make_rules("completion")
    slow = replace(rules, guardrails=(replace(rules.guardrails[0], maturity_us=3 * HOUR),))
    for each, wait in ((rules, 0), (slow, 3 * HOUR)):
        found = hunted(each, history, "completion", 0.28, traffic=Traffic(2_400))
        served = (found.at_us - wait - each.look_interval_us) / HOUR * 10.0
        assert np.median(served) == pytest.approx(np.median(found.runs), rel=0.15)


def test_alike_runs_take_as_many_more(make_rules, history):
    rules = make_rules("completion", horizon_runs=10**6)
    plain = hunted(rules, history, "completion", 0.28, traffic=Traffic(10_000))
    worth = replace(worth_of(rules.guardrails[0], rules, history), design_effect=3.0)
    three = {"worth": {"completion": worth}, "traffic": Traffic(10_000)}
    alike = hunted(rules, history, "completion", 0.28, **three)
    assert np.median(alike.runs) == pytest.approx(3.0 * np.median(plain.runs), rel=0.15)
    lag = rules.look_interval_us
    assert np.median(alike.at_us) - lag == pytest.approx(3.0 * (np.median(plain.at_us) - lag), rel=0.15)


def test_the_same_seed_walks_the_same(make_rules, history):
    rules = make_rules("completion")
    both = [hunted(rules, history, "completion", 0.28).runs for _ in range(2)]
    assert np.array_equal(*both)


def test_the_class_of_maturity_that_sees_the_harm_says_when(make_rules, history):
    rules = make_rules("completion", "validation")
    slow = tuple(replace(g, maturity_us=(g.name == "completion") * 9 * HOUR) for g in rules.guardrails)
    found = hunted(replace(rules, guardrails=slow), history, "validation", 0.3, traffic=Traffic(24_000))
    assert np.median(found.at_us) < 2 * HOUR


def test_a_harm_is_not_caught_after_the_last_gate_has_promoted_it(make_rules, history):
    wide = replace(make_rules("completion").guardrails[0], margin_abs=0.10)
    rules, busy = make_rules(guardrails=(wide,)), Traffic(24_000)
    free = hunted(rules, history, "completion", 0.04, traffic=busy)
    found = hunted(rules, history, "completion", 0.04, traffic=busy, opens=np.zeros((300, 1)))
    assert np.isfinite(free.runs).mean() > 0.95
    assert 0.1 < np.isfinite(found.runs).mean() < 0.9
    assert np.median(found.at_us[np.isfinite(found.at_us)]) < np.median(free.at_us)


def test_a_gate_that_the_harm_itself_keeps_shut_is_not_passed_with_the_others(make_rules, history):
    steps = (Step(1_000, rule_out=2.0), Step(5_000))
    rules, busy = make_rules("completion", steps=steps, horizon_runs=20_000), Traffic(24_000)
    opens = np.tile([0.0, np.inf], (300, 1))
    first = hunted(make_rules("completion", horizon_runs=20_000), history, "completion", 0.08, traffic=busy)
    found = hunted(rules, history, "completion", 0.08, traffic=busy, opens=opens)
    # its odds are 2.2 times as large: it is caught at the first share, where a candidate run says most
    assert np.median(found.runs) == pytest.approx(np.median(first.runs), rel=0.15)
    past = hunted(replace(rules, steps=steps[1:]), history, "completion", 0.08, traffic=busy)
    assert np.median(past.runs) > 1.4 * np.median(first.runs)


def test_what_crosses_the_line_within_a_slice_is_caught_as_at_each_block(make_rules, history, monkeypatch):
    rules, never = make_rules("completion"), np.full((600, 1), np.inf)
    fine, coarse = (
        monkeypatch.setattr(planning_hunt, "FINER", part)
        or hunted(rules, history, "completion", 0.06, opens=never).runs
        for part in (0.0, 3.0)
    )
    assert np.median(coarse) == pytest.approx(np.median(fine), rel=0.1)
