"""Walks against the comparison itself on drawn runs: a short version, wide enough for its few replicates."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, History
from evaluators.planning_harms import Harm
from evaluators.planning_sources import Source
from evaluators.planning_walk import DAY, Traffic, climb, hunt, touched
from evaluators.planning_worth import worth_of
from evaluators.rules import HOUR, Guardrail, Kind, Step
from evaluators.streams import Population, draw, draw_history

BUSY = Traffic(1e7)
HEALTHY = Population()


@pytest.fixture(scope="module")
def history():
    return History(draw_history(np.random.default_rng(11), HEALTHY, 20_000))


def sources(rules, history, name, size=0.0):
    (guardrail,) = (g for g in rules.guardrails if g.name == name)
    harm = Harm(name, "", size) if size else None
    return [Source(guardrail, rules, history, step.share_bp, harm) for step in rules.steps]


def hunted(rules, history, name, size, **changes):
    never = np.full((300, len(rules.steps)), np.inf)
    found = sources(rules, history, name, size)
    given = {"traffic": BUSY, "worth": worth_of(found[0].guardrail, rules, history), **changes}
    return hunt(found, rules, opens_us=never, seed=3, **given)


def climbed(rules, history, *names, traffic=BUSY):
    known = {name: sources(rules, history, name) for name in names}
    worth = {name: worth_of(own[0].guardrail, rules, history) for name, own in known.items()}
    return climb(known, rules, traffic, worth, replicates=200, seed=1)


@pytest.mark.parametrize(
    ("name", "size", "column", "level", "runs"),
    [
        ("completion", 0.82, "completed", 0.10, 150),
        ("completion", 0.28, "completed", 0.64, 900),
        ("validation", 0.10, "validated", 0.87, 2_500),
    ],
    ids=["collapse", "drop", "validation"],
)
def test_a_harm_is_caught_when_the_comparison_catches_it(
    make_rules, history, name, size, column, level, runs
):
    rules, ends = make_rules(), []
    fresh = Comparison(rules, history)
    for seed in range(60):
        comparison = fresh.copy()
        rng = np.random.default_rng([8, seed])
        comparison.observe(draw(rng, HEALTHY, HEALTHY.at(column, level), runs, 0.1))
        ends.append(comparison.path()["candidate"].iloc[-1] if comparison.ended else np.inf)
    found, _ = hunted(rules, history, name, size)
    # 15% and the standard error of a median of 60
    assert np.median(found) == pytest.approx(np.median(ends), rel=0.15 + 0.12, abs=1.0)


def test_edits_are_caught_when_the_comparison_catches_them_where_runs_are_lost(make_rules):
    lossy = replace(HEALTHY, lost=0.02)
    edits = Guardrail("edits", "operator_edits", True, 1.0, None, 0.3, 0, kind=Kind.RATIO, cap=10.0)
    known = History(draw_history(np.random.default_rng(12), lossy, 20_000))
    rules, ends = make_rules(guardrails=(edits,)), []
    fresh = Comparison(rules, known)
    for seed in range(60):
        comparison = fresh.copy()
        rng = np.random.default_rng([9, seed])
        comparison.observe(draw(rng, lossy, lossy.at("operator_edits", 1.0), 8_000, 0.1))
        ends.append(comparison.path()["candidate"].iloc[-1] if comparison.ended else np.inf)
    found, _ = hunted(rules, known, "edits", 1.5)
    # without the lost runs, which count as the cap on both arms, it would be a half of it
    assert np.median(found) == pytest.approx(np.median(ends), rel=0.15 + 0.12)


def test_an_equal_candidate_is_proven_when_the_comparison_proves_it(make_rules, history):
    rules, ends = make_rules("validation"), []
    fresh = Comparison(rules, history)
    for seed in range(60):
        comparison = fresh.copy()
        comparison.observe(draw(np.random.default_rng([7, seed]), HEALTHY, HEALTHY, 16_000, 0.1))
        path = comparison.path()
        over = np.flatnonzero(path["promote:validation"] >= np.log(20.0))
        ends.append(path["candidate"].to_numpy()[over[0]] if len(over) else np.inf)
    found = climbed(rules, history, "validation").runs[:, -1]
    assert np.median(found) == pytest.approx(np.median(ends), rel=0.15 + 0.12)


def test_hours_are_runs_at_the_traffic_plus_maturity_and_a_look(make_rules, history):
    rules = make_rules("completion")
    slow = replace(rules, guardrails=(replace(rules.guardrails[0], maturity_us=3 * HOUR),))
    for each, wait in ((rules, 0), (slow, 3 * HOUR)):
        runs, at = hunted(each, history, "completion", 0.28, traffic=Traffic(2_400))
        served = (at - wait - each.look_interval_us) / HOUR * 10.0
        assert np.median(served) == pytest.approx(np.median(runs), rel=0.15)


def test_a_ceiling_on_candidate_runs_slows_a_release_down():
    assert Traffic(24_000, 50).rate(0.1) == pytest.approx(500 / HOUR)
    assert Traffic(2_400, 50).rate(0.1) == pytest.approx(100 / HOUR)


def test_alike_runs_take_as_many_more(make_rules, history):
    rules = make_rules("completion", horizon_runs=10**6)
    plain = hunted(rules, history, "completion", 0.28, traffic=Traffic(10_000))
    worth = replace(worth_of(rules.guardrails[0], rules, history), design_effect=3.0)
    three = {"worth": worth, "traffic": Traffic(10_000)}
    alike = hunted(rules, history, "completion", 0.28, **three)
    assert np.median(alike[0]) == pytest.approx(3.0 * np.median(plain[0]), rel=0.15)
    lag = rules.look_interval_us
    assert np.median(alike[1]) - lag == pytest.approx(3.0 * (np.median(plain[1]) - lag), rel=0.15)


def test_a_step_lasts_its_least_time_and_runs(make_rules, history):
    steps = (Step(1000, 40, 12 * HOUR, 4.0), Step(5000, 100))
    rules = make_rules("validation", steps=steps, horizon_us=60 * DAY, horizon_runs=50_000)
    ramp = climbed(rules, history, "validation", traffic=Traffic(20_000))
    assert (ramp.at_us[:, 0] >= 12 * HOUR).all()
    assert (ramp.runs[:, 0] >= 40).all()
    assert (ramp.runs[:, 1] - ramp.runs[:, 0] >= 100).all()
    assert (np.diff(ramp.at_us, axis=1) > 0).all()


def test_a_horizon_of_hours_ends_walks_undecided(make_rules, history):
    ramp = climbed(make_rules("validation", horizon_us=5 * HOUR), history, "validation", traffic=Traffic(200))
    assert np.isinf(ramp.at_us).all()
    assert ramp.proven["validation"] == 0.0


def test_the_same_seed_walks_the_same(make_rules, history):
    rules = make_rules("completion")
    assert np.array_equal(
        hunted(rules, history, "completion", 0.28), hunted(rules, history, "completion", 0.28)
    )


def test_a_path_touches_a_line_between_looks_as_often_as_a_brownian_one():
    rng = np.random.default_rng(2)
    steps = rng.normal(0.0, 1.0 / 40.0, (4_000, 1_600)).cumsum(axis=1)
    truth = (steps.max(axis=1) >= 0.8).mean()
    found = touched(np.zeros((4_000, 1)), steps[:, -1:], 0.8, rng).mean()
    assert found == pytest.approx(truth, abs=0.03)


def test_a_harm_is_not_caught_after_the_last_gate_has_promoted_it(make_rules, history):
    rules = make_rules("completion")
    free, _ = hunted(rules, history, "completion", 0.04)
    found = sources(rules, history, "completion", 0.04)
    soon = np.full((300, 1), 2.0 * HOUR)
    worth = worth_of(found[0].guardrail, rules, history)
    _, at = hunt(found, rules, Traffic(24_000), worth, soon, seed=3)
    assert np.isfinite(free).mean() > 0.95
    assert np.isfinite(at).mean() < 0.5  # 200 candidate runs by then
    assert at[np.isfinite(at)].max() <= 2.0 * HOUR
