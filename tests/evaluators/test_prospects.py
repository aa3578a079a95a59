"""Plans: what a policy sees and proves at a traffic."""

import json

import numpy as np
import pandas as pd
import pytest

from evaluators.history import History
from evaluators.planning import can_decide
from evaluators.planning_walk import Traffic
from evaluators.prospects import plan
from evaluators.rules import HOUR, Guardrail, Kind, Rules, Step, Undecided
from evaluators.simulation import prepare
from evaluators.streams import Population

LONG = History.from_counts({"completion": (20_000, 1_600), "lost": (20_000, 20)})


@pytest.fixture(scope="module")
def rules(make_rules):
    return make_rules("completion", "lost")


@pytest.fixture(scope="module")
def made(rules):
    return plan(rules, LONG, Traffic(5_000))


def until(found, name, words):
    (one,) = (c.until for c in found.caught if c.harm.guardrail == name and words in c.harm.name)
    return one


def test_a_plan_says_when_each_harm_is_caught_and_an_equal_candidate_promoted(made):
    assert made.problems == ()
    collapse, drop = until(made, "completion", "collapse"), until(made, "completion", "drop")
    assert collapse.chance == drop.chance == 1.0
    assert collapse.runs <= 5 < drop.runs < drop.runs_p90
    assert collapse.hours < drop.hours < drop.hours_p90
    assert made.promoted.chance > 0.9
    assert 1_000 < made.promoted.runs < 3_000
    assert made.promoted.hours == pytest.approx(made.promoted.runs / 0.1 / 5_000 * 24, rel=0.1)


def test_at_low_traffic_a_collapse_takes_hours_and_the_margin_is_out_of_reach(make_rules):
    rules = make_rules("completion", "lost", on_undecided=Undecided.ASK)
    found = plan(rules, LONG, Traffic(200))
    assert until(found, "completion", "collapse").hours < 12
    assert until(found, "completion", "twice").runs is None
    assert found.promoted.runs is None
    assert found.problems == ()
    reach = found.reach[0]
    assert float(reach.provable.split()[0]) > float(reach.margin.split()[0]) == 2.0
    assert 2.0 < float(reach.smallest.split()[0]) < 10.0


def test_a_guardrail_that_nobody_knows_is_a_problem_and_never_proven(make_rules):
    found = plan(make_rules("completion", "validation"), LONG, Traffic(5_000))
    assert [problem for problem in found.problems if "validation" in problem]
    assert (found.promoted.chance, found.promoted.runs) == (0.0, None)


def test_a_horizon_of_hours_sees_a_collapse_alone(make_rules):
    found = plan(make_rules("completion", horizon_us=12 * HOUR), LONG, Traffic(2_000))
    assert until(found, "completion", "collapse").chance > 0.9
    assert found.problems


def test_strongly_clustered_units_are_out_of_reach_and_it_is_said(make_rules):
    rng = np.random.default_rng(3)
    units = np.repeat(np.arange(2_000), 10)
    often_bad = rng.beta(0.08 * 7 / 3, 0.92 * 7 / 3, 2_000)  # ICC .3
    runs = pd.DataFrame({"unit": units, "completed": rng.random(20_000) >= often_bad[units]})
    history = History(runs)
    assert history.clusters["completed"] == pytest.approx(1 + 9 * 0.3, rel=0.15)
    # each unit counts once in a history's rates; the same rates without the clusters
    plain = History(None, overall=history.overall)
    rules = make_rules("completion", horizon_runs=3_000, references=(("completion", 0.08),))
    assert can_decide(rules, plain, Traffic(10_000)) == []
    (problem,) = can_decide(rules, history, Traffic(10_000))
    assert "runs of one unit are alike" in problem


def test_a_history_with_clusters_survives_json():
    runs = pd.DataFrame({"unit": ["a", "a", "b", "c"], "completed": [1, 1, 0, 1]})
    again = History.from_json(json.loads(json.dumps(History(runs).to_json())))
    assert again.clusters == History(runs).clusters
    assert History(runs.drop(columns="unit")).clusters == {}


def test_a_plan_is_plain_json_and_the_same_again(rules, made):
    assert json.loads(json.dumps(made.to_json())) == json.loads(
        json.dumps(plan(rules, LONG, Traffic(5_000)).to_json())
    )


KINDS = (
    Guardrail("completion", "completed", False, 0.2, 0.03, None, 0),
    Guardrail("latency", "latency_s", True, 0.2, 0.04, None, 0, kind=Kind.QUANTILE, unit="s"),
    Guardrail("cost", "cost_usd", True, 0.2, None, 0.2, 0, kind=Kind.RATIO, unit="USD"),
    Guardrail("edits", "operator_edits", True, 0.2, None, 0.5, 0, kind=Kind.COUNT, cap=10.0),
    Guardrail("judge", "mark", False, 0.2, 0.4, None, 0, kind=Kind.SCORE, lowest=1.0, highest=5.0),
)


def test_every_kind_has_its_place_in_a_plan_and_the_same_harms_in_a_simulation(measured):
    runs = measured(5_000, 2).assign(lost=np.arange(5_000) % 100 == 0)
    rules = Rules(KINDS, (Step(2_000),), horizon_us=60 * 24 * HOUR)
    setup = prepare(rules, Population.from_frame(runs), history_runs=5_000, runs_per_day=2_000, seed=1)
    made = plan(setup.rules, setup.history, Traffic(2_000))
    planned = [(c.harm.guardrail, c.harm.name) for c in made.caught]
    assert planned == [(s.guardrail, s.label) for s in setup.stories if s.kind == "harm"]
    assert {name for name, _ in planned} == {g.name for g in KINDS}
    assert all(c.until.chance > 0.9 and c.until.runs and c.until.runs_p90 for c in made.caught)
    assert [s.guardrail for s in setup.stories if s.kind == "margin"] == [g.name for g in KINDS]
    assert all(reach.proven > 0.5 and reach.margin and reach.smallest for reach in made.reach)
