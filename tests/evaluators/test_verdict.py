import pytest

from evaluators.verdict import Decision, GuardrailVerdict, Verdict, Word


def test_a_verdict_knows_its_guardrails_by_name():
    verdict = Verdict(Decision.HOLD, (), (), 0.0, 3.0, (False,), True, "", 0, 0)
    with pytest.raises(KeyError, match="completion"):
        verdict.guardrail("completion")
    assert verdict.to_json()["gates"] == [False]


@pytest.mark.parametrize(
    ("margin", "runs", "proven"),
    [(2.0, 100, 7.5), (-0.1, 100, -1.5), (None, 100, None), (2.0, 0, None)],
    ids=["more-is-worse", "less-is-worse", "no-margin", "no-run"],
)
def test_the_widest_margin_proven_is_the_bad_end_of_the_confidence_sequence(margin, runs, proven):
    found = GuardrailVerdict(
        "g", Word.UNDECIDED, 0.0, 0.0, False, 3.0, -1.5, 7.5, 0.1, 0.1, runs, 9, 900, 90, margin, "", ()
    )
    assert found.proven == proven
