"""What runs are worth: waived slices, quiet slices and infrastructure failures, by walks beside the judge."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, History
from evaluators.drawing import closings
from evaluators.planning import can_decide
from evaluators.planning_harms import Harm, expected_rate, harms
from evaluators.planning_hunt import hunt
from evaluators.planning_sources import Source
from evaluators.planning_walk import Traffic, climb
from evaluators.planning_worth import slice_shares, worth_of
from evaluators.prospects import plan
from evaluators.rules import OnHarm, Undecided, Waiver
from evaluators.streams import Population, draw, draw_history

BUSY = Traffic(1e7)
MIXED = Population(strata={"act": 0.6, "rest": 0.4})
WAIVED = (Waiver("completion", "rest", "a known trade", "ann"),)
LISTED = (("act", 0.5), ("rest", 0.5))


@pytest.fixture(scope="module")
def history():
    return History(draw_history(np.random.default_rng(11), MIXED, 20_000))


@pytest.fixture
def rules(make_rules):
    return make_rules("completion", strata=LISTED)


def of(rules, history):
    return worth_of(rules.guardrails[0], rules, history)


def hunted(source, rules, worth):
    """Candidate runs until a harm is caught where no gate opens."""
    name, never = source.guardrail.name, np.full((300, 1), np.inf)
    return hunt({name: [source]}, rules, BUSY, {name: worth}, never, seed=3).runs


def scored(runs, looks):
    """Candidate runs assigned when the last of some closed blocks closed, whatever their slice."""
    codes = (runs["stratum"] == "rest").to_numpy().astype(np.int64)
    at, _, _ = closings(codes, np.full(len(runs), 1_000), 20, {})
    return int((runs["arm"].to_numpy() == "candidate")[: at[looks - 1] + 1].sum())


def test_without_slices_every_run_is_worth_one(make_rules, history):
    found = of(make_rules("completion"), history)
    assert (dict(found.parts), found.design_effect, found.price) == ({"all": 1.0}, 1.0, 0.0)


def test_a_waived_slice_takes_its_share_of_the_runs(rules, history):
    found = of(replace(rules, waivers=WAIVED), history)
    assert found.judged == pytest.approx(0.6, abs=0.02)
    assert found.proof == pytest.approx(1 / 0.6, rel=0.03)


@pytest.mark.parametrize("word", [OnHarm.HOLD, OnHarm.REPORT])
def test_a_quiet_slice_takes_nothing_of_the_proof_and_what_it_alone_shows_of_the_harm(rules, history, word):
    found = of(replace(rules, on_harm=(("rest", word),)), history)
    assert found.judged == pytest.approx(1.0)
    some, none = np.full((1, 24), 9.0), np.zeros((1, 24))
    assert found.log_e({"act": none, "rest": some, "other": none})[0] == pytest.approx(0.0)
    assert found.log_e({"act": some, "rest": none, "other": none})[0] == pytest.approx(9.0)


def test_slices_weigh_as_the_policy_says_where_history_tells_none_apart(rules):
    shares = slice_shares(rules, History.from_counts({"completion": (100, 8)}))
    assert shares == {**dict(LISTED), "other": 0.0}


def test_runs_of_no_listed_slice_are_judged_with_the_rest(make_rules, history):
    found = slice_shares(make_rules("completion", strata=(("act", 1.0),)), history)
    assert found == {"act": pytest.approx(0.6, abs=0.02), "other": pytest.approx(0.4, abs=0.02)}


def test_infrastructure_failures_are_left_out_where_a_guardrail_watches_them(make_rules):
    broken = History(draw_history(np.random.default_rng(1), replace(MIXED, infra_failure=0.1), 5_000))
    rules = make_rules("completion", "infra")
    assert of(rules, broken).judged == pytest.approx(0.9, abs=0.02)
    assert worth_of(rules.guardrails[1], rules, broken).judged == 1.0
    assert of(make_rules("completion"), broken).judged == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"waivers": WAIVED},
        {"on_harm": (("rest", OnHarm.HOLD),)},
        {"on_harm": (("rest", OnHarm.HOLD), ("act", OnHarm.REPORT))},
    ],
    ids=["listed", "waived", "hold", "quiet"],
)
def test_a_harm_in_every_slice_is_caught_when_the_comparison_catches_it(rules, history, changes):
    rules, ends = replace(rules, **changes), []
    fresh = Comparison(rules, history)
    for seed in range(60):
        comparison = fresh.copy()
        runs = draw(np.random.default_rng([5, seed]), MIXED, MIXED.at("completed", 0.64), 2_500, 0.1)
        comparison.observe(runs)
        ends.append(scored(runs, len(comparison.path())) if comparison.ended else np.inf)
    source = Source(rules.guardrails[0], rules, history, 1_000, Harm("completion", "", 0.28))
    found = hunted(source, rules, of(rules, history))
    # 15% and the standard error of a median of 60
    assert np.median(found) == pytest.approx(np.median(ends), rel=0.15 + 0.12, abs=1.0)


def test_an_equal_candidate_beside_a_waived_slice_is_proven_when_the_comparison_proves_it(rules, history):
    rules, ends = replace(rules, waivers=WAIVED), []
    fresh = Comparison(rules, history)
    for seed in range(60):
        comparison = fresh.copy()
        comparison.observe(draw(np.random.default_rng([6, seed]), MIXED, MIXED, 40_000, 0.1))
        path = comparison.path()
        over = np.flatnonzero(path["promote:completion"] >= np.log(20.0))
        ends.append(path["candidate"].to_numpy()[over[0]] if len(over) else np.inf)
    sources = {"completion": [Source(rules.guardrails[0], rules, history, 1_000)]}
    ramp = climb(sources, rules, BUSY, {"completion": of(rules, history)}, replicates=200, seed=1)
    assert np.median(ramp.runs[:, -1]) == pytest.approx(np.median(ends), rel=0.15 + 0.12)


def test_rates_are_those_of_the_runs_that_are_judged(rules):
    uneven = History.from_counts(
        {"completion": (1_000, 300)}, {"act": {"completion": (600, 20)}, "rest": {"completion": (400, 280)}}
    )
    waived = replace(rules, waivers=WAIVED)
    assert expected_rate(rules.guardrails[0], rules, uneven) == pytest.approx(0.3)
    assert expected_rate(rules.guardrails[0], waived, uneven) == pytest.approx(20 / 600)
    assert "96.7% to 10%" in harms(rules.guardrails[0], waived, uneven)[0].name


def test_a_guardrail_that_is_waived_in_all_that_comes_is_refused_and_never_promoted(rules, history):
    everywhere = tuple(Waiver("completion", name, "a known trade", "ann") for name, _ in LISTED)
    waived = replace(rules, waivers=everywhere)
    (problem,) = can_decide(waived, history, Traffic(2_000))
    assert problem.startswith("guardrail completion is waived in every slice that runs come in (act, rest)")
    made = plan(waived, history, Traffic(2_000))
    assert (made.promoted.chance, made.caught) == (0.0, ())
    assert can_decide(replace(waived, on_undecided=Undecided.ASK), history, Traffic(2_000)) == []


def test_a_policy_whose_every_slice_holds_is_no_problem_and_catches_nothing_by_itself(rules, history):
    held = replace(rules, strata=(("act", 1.0),), on_harm=(("act", OnHarm.HOLD),))
    alone = History(draw_history(np.random.default_rng(2), replace(MIXED, strata={"act": 1.0}), 20_000))
    assert not of(held, alone).reverts
    assert can_decide(held, alone, Traffic(2_000)) == []
    assert {found.until.chance for found in plan(held, alone, Traffic(2_000)).caught} == {0.0}


def test_a_few_infrastructure_failures_put_no_block_off(make_rules, history):
    rules = make_rules("completion", "infra")
    source = Source(rules.guardrails[0], rules, history, 1_000, Harm("completion", "", 0.82))
    plain = of(rules, history)
    some = hunted(source, rules, replace(plain, counted=0.995))
    none = hunted(source, rules, plain)
    assert np.median(some) == np.median(none)
