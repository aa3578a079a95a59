"""The seven questions, and the share that they allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.readiness import Answer, Bounds, Question, Readiness, judged
from evaluators.rules import Guardrail, Rules, Step

RULES = Rules(
    (Guardrail("completion", "completed", False, 1.0, 0.02, None, 60),),
    (Step(500, rule_out=3.0), Step(2_500, rule_out=2.0), Step(5_000)),
)


def answers(yes):
    return [Answer(q, place < yes, "seen") for place, q in enumerate(Question)]


@pytest.mark.parametrize(
    ("yes", "share"), [(7, None), (6, 2_500), (5, 2_500), (4, 1_000), (3, 1_000), (2, 500)]
)
def test_the_number_of_yes_answers_bounds_the_share(yes, share):
    assert judged(answers(yes), Bounds()).share_bp == share


def test_a_question_that_nobody_answered_counts_as_no():
    found = judged(answers(7)[1:], Bounds())
    assert (found.yes, found.answers[0].evidence) == (6, "it was not checked")


@given(st.integers(0, 7), st.integers(0, 7))
def test_more_yes_never_allow_less(few, many):
    low, high = (judged(answers(n), Bounds()).share_bp for n in sorted((few, many)))
    assert high is None or (low is not None and low <= high)


def test_no_step_serves_more_than_the_bound():
    assert [step.share_bp for step in RULES.bounded(1_000).steps] == [500, 1_000, 1_000]
    assert RULES.bounded(None) == RULES


def test_it_survives_json():
    found = judged(answers(4), Bounds())
    assert Readiness.from_json(found.to_json()) == found
    assert found.said == "4 of 7 answered with yes: a share of 10% at most"
    assert "no release" in judged(answers(1), Bounds(fewer=0)).said
