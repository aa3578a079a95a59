import pytest

from evaluators.verdict import Decision, Verdict


def test_a_verdict_knows_its_guardrails_by_name():
    verdict = Verdict(Decision.HOLD, (), (), 0.0, 3.0, (False,), True, "", 0, 0)
    with pytest.raises(KeyError, match="completion"):
        verdict.guardrail("completion")
    assert verdict.to_json()["gates"] == [False]
