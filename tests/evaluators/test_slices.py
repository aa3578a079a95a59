"""Harm in one slice: what the policy says about it, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, Decision, History, Word
from evaluators.rules import OnHarm, Waiver
from lastgood.errors import InvalidPolicy

LONG = History.from_counts(
    {"completion": (20_000, 11_000)},
    {"act": {"completion": (18_000, 10_900)}, "rest": {"completion": (2_000, 40)}},
)


@pytest.fixture
def rules(make_rules):
    return make_rules("completion", strata=(("act", 0.8), ("rest", 0.2)))


@pytest.fixture
def parser_fix(draw):
    """The real case: success .41 -> .73 overall, and .98 -> .62 in the slice that should not act."""

    def make(n=1_500, seed=4):
        runs, rng = draw(n, seed, share=0.5), np.random.default_rng(seed)
        rest, ours = rng.random(n) < 0.1, (runs["arm"] == "candidate").to_numpy()
        good = np.where(rest, np.where(ours, 0.62, 0.98), np.where(ours, 0.74, 0.35))
        return runs.assign(completed=rng.random(n) < good, stratum=np.where(rest, "rest", "act"))

    return make


def judged(rules, runs):
    comparison = Comparison(rules, LONG)
    comparison.observe(runs)
    return comparison.verdict()


def test_harm_in_one_slice_reverts_and_is_said_to_be_in_it_alone(rules, parser_fix):
    verdict = judged(rules, parser_fix())
    found = verdict.guardrail("completion")
    assert (verdict.decision, found.harmed, found.harmed_alone) == (Decision.REVERT, ("rest",), True)
    assert "proven worse in slice rest (reverts) alone" in found.reason


def test_a_slice_that_holds_keeps_a_better_candidate_from_promotion(rules, parser_fix):
    verdict = judged(replace(rules, on_harm=(("rest", OnHarm.HOLD),)), parser_fix())
    found = verdict.guardrail("completion")
    assert (verdict.decision, verdict.held_by_slice, found.word) == (Decision.HOLD, True, Word.PASS)
    assert "rest (holds the release)" in found.reason


def test_a_slice_that_is_only_reported_is_said_and_does_nothing(rules, parser_fix):
    verdict = judged(replace(rules, on_harm=(("rest", OnHarm.REPORT),)), parser_fix())
    assert verdict.decision is Decision.PROMOTE
    assert "rest (is only reported)" in verdict.guardrail("completion").reason


def test_a_waived_trade_is_promoted_with_its_approver_named(rules, parser_fix):
    waiver = Waiver("completion", "rest", "the old parser guessed", "ann")
    verdict = judged(replace(rules, waivers=(waiver,)), parser_fix())
    assert verdict.decision is Decision.PROMOTE
    assert "accepted beforehand by ann: the old parser guessed" in verdict.guardrail("completion").reason


def test_a_waiver_covers_its_guardrail_alone(make_rules, parser_fix):
    rules = make_rules("completion", "validation", strata=(("act", 0.8), ("rest", 0.2)))
    waived = replace(rules, waivers=(Waiver("validation", "rest", "r", "ann"),))
    assert judged(waived, parser_fix()).decision is Decision.REVERT


def test_harm_to_the_whole_reverts_whatever_its_slices_do(rules, draw):
    runs = draw(3_000, 6, share=0.5, harm={"completed": 0.5}).assign(stratum="act")
    quiet = replace(rules, on_harm=(("act", OnHarm.REPORT), ("rest", OnHarm.REPORT)))
    assert judged(quiet, runs).decision is Decision.REVERT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"on_harm": (("nowhere", OnHarm.HOLD),)}, "on_harm names slice 'nowhere'"),
        ({"waivers": (Waiver("completion", "nowhere", "r", "a"),)}, "waiver of completion in nowhere"),
    ],
)
def test_slices_that_are_not_listed_are_refused(rules, change, message):
    with pytest.raises(InvalidPolicy, match=message):
        Comparison(replace(rules, **change), LONG)
