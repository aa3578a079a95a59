"""Walks against the comparison itself on drawn runs: a short version, wide enough for its few replicates."""

import numpy as np
import pytest

from evaluators import Comparison, History
from evaluators.planning_sources import Source
from evaluators.planning_walk import DAY, Traffic, climb, touched
from evaluators.planning_worth import worth_of
from evaluators.rules import HOUR, Step
from evaluators.streams import Population, draw, draw_history

BUSY = Traffic(1e7)
HEALTHY = Population()


@pytest.fixture(scope="module")
def history():
    return History(draw_history(np.random.default_rng(11), HEALTHY, 20_000))


def sources(rules, history, name):
    (guardrail,) = (g for g in rules.guardrails if g.name == name)
    return [Source(guardrail, rules, history, step.share_bp) for step in rules.steps]


def climbed(rules, history, *names, traffic=BUSY):
    known = {name: sources(rules, history, name) for name in names}
    worth = {name: worth_of(own[0].guardrail, rules, history) for name, own in known.items()}
    return climb(known, rules, traffic, worth, replicates=200, seed=1)


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


def test_a_ceiling_on_candidate_runs_slows_a_release_down():
    assert Traffic(24_000, 50).rate(0.1) == pytest.approx(500 / HOUR)
    assert Traffic(2_400, 50).rate(0.1) == pytest.approx(100 / HOUR)


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


def test_a_path_touches_a_line_between_looks_as_often_as_a_brownian_one():
    rng = np.random.default_rng(2)
    steps = rng.normal(0.0, 1.0 / 40.0, (4_000, 1_600)).cumsum(axis=1)
    truth = (steps.max(axis=1) >= 0.8).mean()
    found = touched(np.zeros((4_000, 1)), steps[:, -1:], 0.8, rng).mean()
    assert found == pytest.approx(truth, abs=0.03)
