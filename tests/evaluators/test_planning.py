from dataclasses import replace

import pytest

from evaluators.history import History
from evaluators.planning import can_decide, floor_nats, runs_to_promote, runs_to_revert
from evaluators.rules import HOUR, Guardrail, Kind, Step

LONG = History.from_counts({"completion": (20_000, 1_600), "validation": (20_000, 600), "lost": (20_000, 0)})


@pytest.fixture
def rules(make_rules):
    return make_rules("completion", "validation", "lost")


def test_the_information_floor_is_the_published_one(published):
    for fixture in published("floor_nats_per_canary_run"):
        row = fixture["input"]
        assert floor_nats(row["p_base"], row["p_cand"], row["r"]) == pytest.approx(
            fixture["expected"], abs=1e-9
        )


def test_a_default_like_policy_can_decide(rules):
    assert can_decide(rules, LONG) == []


def test_more_margin_needs_fewer_runs_and_a_smaller_share_fewer_candidates(rules):
    wide = replace(rules, guardrails=tuple(replace(g, margin_abs=0.04) for g in rules.guardrails))
    need = runs_to_promote(rules, LONG, "completion", 0.1)
    assert runs_to_promote(wide, LONG, "completion", 0.1) < need / 2
    assert runs_to_promote(rules, LONG, "completion", 0.5) == pytest.approx(need * 0.9 / 0.5, rel=0.15)


def test_a_clean_metric_is_proven_by_clean_runs(rules):
    assert 150 < runs_to_promote(rules, LONG, "lost", 0.1) < 200


def test_a_collapse_takes_a_handful_of_runs_and_a_drop_of_thirty_points_about_twenty(rules):
    assert runs_to_revert(rules, LONG, "completion", 1.0, 0.1) <= 5
    assert 15 < runs_to_revert(rules, LONG, "completion", 0.36, 0.1) < 30
    assert runs_to_revert(rules, LONG, "completion", 0.08, 0.1) == float("inf")


def test_a_horizon_that_is_too_short_names_guardrail_figure_and_ways_out(rules):
    (problem, *rest) = can_decide(replace(rules, horizon_runs=500), LONG)
    assert rest == []
    assert problem.startswith("guardrail completion: an equal candidate needs about ")
    assert "+2 points" in problem
    assert "the horizon is 500" in problem
    assert "a margin of +" in problem
    assert "points or a horizon of 1," in problem


def test_the_proposed_margin_and_horizon_do(rules):
    need = runs_to_promote(rules, LONG, "completion", 0.1)
    assert can_decide(replace(rules, horizon_runs=int(need)), LONG) == []
    short = replace(rules, horizon_runs=500)
    proposed = float(can_decide(short, LONG)[0].split("a margin of +")[1].split(" points")[0]) / 100.0
    wide = replace(short.guardrails[0], margin_abs=proposed * 1.001)
    assert runs_to_promote(replace(short, guardrails=(wide,)), LONG, "completion", 0.1) <= 500


def test_a_smaller_share_is_proposed_where_it_does(rules):
    half = replace(rules, steps=(Step(5000),), horizon_runs=1_000)
    (problem,) = [p for p in can_decide(half, LONG) if "completion" in p]
    assert "a share of " in problem


def test_a_horizon_of_two_runs_cant_even_see_a_collapse(rules):
    found = [p for p in can_decide(replace(rules, horizon_runs=2), LONG) if "bad in every run" in p]
    assert len(found) == 3
    assert "a horizon of 3 candidate runs would do" in found[0]


def test_unknown_rates_ask_for_a_reference(rules):
    problems = can_decide(rules, History())
    assert len(problems) == 3
    assert "reference" in problems[0]


def test_a_score_needs_no_history_since_its_scale_and_margin_are_known(rules):
    judge = Guardrail("judge", "mark", False, 0.5, 0.1, None, 0, kind=Kind.SCORE, lowest=1.0, highest=5.0)
    half = replace(rules, guardrails=(replace(rules.guardrails[0], weight=0.5), judge))
    assert can_decide(half, History.from_counts({"completion": (20_000, 1_600)})) == []


def test_steps_longer_than_the_horizon_are_named(rules):
    long = replace(rules, steps=(Step(1000, min_time_us=30 * HOUR),), horizon_us=24 * HOUR)
    assert "at least 30 h together and the horizon is 24 h" in can_decide(long, LONG)[0]
    many = replace(rules, steps=(Step(1000, min_runs=4_000), Step(5000, min_runs=2_000)))
    assert "at least 6000 candidate runs together and the horizon is 5000" in can_decide(many, LONG)[0]


def test_an_unknown_guardrail_is_a_key_error(rules):
    with pytest.raises(KeyError, match="cost"):
        runs_to_promote(rules, LONG, "cost", 0.1)
