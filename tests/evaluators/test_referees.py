"""Who judged is part of the evidence: it may hold a promotion and never masks a revert."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.referees import Judges, Refereed, applied, sampler, unfit
from evaluators.rules import Guardrail, Kind, Rules, Step
from evaluators.verdict import Decision, GuardrailVerdict, Verdict, Word

POLITE = Guardrail("polite", "polite", False, 0.4, 0.02, None, 600)
VALID = Guardrail("validation", "validated", False, 0.4, 0.02, None, 600)
PRICE = Guardrail("price", "cost_usd", True, 0.2, None, 0.1, 600, kind=Kind.RATIO, per="validated")
RULES = Rules((POLITE, VALID, PRICE), (Step(1000), Step(5000)))
ONE = Refereed("polite", ("a" * 64,), 100, 100)
TWO = ONE.add(["b" * 64], 10, 10)


def said(name, word):
    return GuardrailVerdict(
        name, word, 0.0, 5.0, True, 0.0, -1.0, 1.0, 0.1, 0.1, 10, 1, 10, 1, 2.0, "as it was", ()
    )


def verdict(decision=Decision.PROMOTE, word=Word.PASS):
    guardrails = tuple(said(g.name, word) for g in RULES.guardrails)
    return Verdict(decision, (), guardrails, 0.0, 3.0, (True, True), True, "", 100, 50)


def test_one_referee_changes_nothing():
    assert applied(verdict(), RULES, Judges((ONE,))) == verdict()


def test_two_referees_hold_a_promotion_and_make_the_evidence_invalid():
    found = applied(verdict(), RULES, Judges((TWO,)))
    assert (found.decision, found.gates, found.valid) == (Decision.HOLD, (False, False), False)
    assert [g.word for g in found.guardrails] == [Word.INVALID, Word.PASS, Word.PASS]
    assert "2 different referees judged polite" in found.invalid_reason


@pytest.mark.parametrize("judges", [Judges((TWO,)), Judges((), validators_differ=True)])
def test_a_revert_stands_whoever_judged(judges):
    found = applied(verdict(Decision.REVERT, Word.FAIL), RULES, judges)
    assert found.decision is Decision.REVERT
    assert {g.word for g in found.guardrails} == {Word.FAIL}


def test_different_validators_spoil_what_they_judge_unless_a_referee_judges_both():
    assert unfit(RULES, Judges((), validators_differ=True)) == ("validation", "price")
    assert unfit(RULES, Judges((replace(ONE, column="validated"),), validators_differ=True)) == ()
    found = applied(verdict(), RULES, Judges((ONE,), validators_differ=True))
    assert [g.word for g in found.guardrails] == [Word.PASS, Word.INVALID, Word.INVALID]
    assert not found.valid


def test_a_referee_that_is_behind_holds_and_the_evidence_stays_valid():
    found = applied(verdict(), RULES, Judges((replace(ONE, judged=90),)))
    assert (found.decision, found.valid, found.guardrails[0].word) == (Decision.HOLD, True, Word.INVALID)


@given(st.text(max_size=30), st.integers(1, 9_999))
def test_a_larger_sample_holds_every_run_of_a_smaller_one(run_id, share_bp):
    small, large = sampler("rel_1", "polite", share_bp), sampler("rel_1", "polite", share_bp + 1)
    assert large.draws(run_id) or not small.draws(run_id)


def test_a_sample_is_its_share_and_another_one_in_another_release():
    ids = [f"run_{i}" for i in range(4_000)]
    one, other = (sampler(release, "polite", 2_500) for release in ("rel_1", "rel_2"))
    drawn = [set(filter(s.draws, ids)) for s in (one, other)]
    assert all(0.22 < len(found) / 4_000 < 0.28 for found in drawn)
    assert 0.04 < len(drawn[0] & drawn[1]) / 4_000 < 0.085
