"""The nearest rules that can decide."""

from dataclasses import replace

import pytest

from evaluators.history import History
from evaluators.outlook import Outlook
from evaluators.planning import can_decide
from evaluators.planning_nearest import Lever, nearest
from evaluators.planning_walk import DAY, Traffic
from evaluators.rules import Step, Undecided

LONG = History.from_counts({"completion": (20_000, 1_600), "lost": (20_000, 0)})


@pytest.fixture
def short(make_rules):
    return make_rules("completion", "lost", horizon_runs=700)


def test_each_lever_alone_is_proposed_and_can_decide(short):
    found = {p.lever: p for p in nearest(short, LONG, None)}
    assert set(found) == {Lever.MARGINS, Lever.HORIZON, Lever.ASK}
    for lever, proposal in found.items():
        assert can_decide(proposal.rules, LONG) == []
        likely = Outlook(proposal.rules, LONG).in_time(*proposal.rules.guardrails)
        assert likely or lever is Lever.ASK
    assert found[Lever.MARGINS].rules.guardrails[1] == short.guardrails[1]
    assert found[Lever.MARGINS].rules.guardrails[0].margin_abs > 0.02
    assert found[Lever.HORIZON].rules == replace(short, horizon_runs=found[Lever.HORIZON].rules.horizon_runs)


def test_the_nearest_comes_first_and_asking_last(short):
    found = nearest(short, LONG, None)
    assert [p.distance for p in found] == sorted(p.distance for p in found)
    assert found[-1].lever is Lever.ASK


def test_a_larger_share_is_proposed_where_time_is_short(make_rules):
    rules = make_rules("completion", steps=(Step(500),), horizon_us=14 * DAY)
    found = {p.lever: p for p in nearest(rules, LONG, Traffic(3_000))}
    assert found[Lever.STEPS].rules.steps[-1].share_bp > 500
    assert can_decide(found[Lever.STEPS].rules, LONG, Traffic(3_000)) == []


def test_everything_is_changed_together_where_nothing_suffices_alone(make_rules):
    steps = (Step(500, 20, 0, 3.0), Step(1000, 50))
    rules = make_rules("completion", "lost", steps=steps, horizon_us=3 * DAY)
    found = nearest(rules, LONG, Traffic(60))
    assert [p.lever for p in found] == [Lever.TOGETHER, Lever.ASK]
    assert can_decide(found[0].rules, LONG, Traffic(60)) == []


def test_a_collapse_that_cant_be_seen_has_no_nearest_policy(make_rules):
    bad = History.from_counts({"completion": (20_000, 19_990)})
    rules = make_rules("completion", on_undecided=Undecided.ASK)
    assert can_decide(rules, bad) != []
    assert nearest(rules, bad, None) == ()
