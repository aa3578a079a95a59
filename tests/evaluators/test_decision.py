from dataclasses import replace

import numpy as np
import pytest

from evaluators.decision import INVALID_LINE, Looks, culprits, families, invalid_reason, judge, revert_line
from evaluators.verdict import Decision

LINE = np.log(20.0)


@pytest.fixture
def rules(make_rules):
    return make_rules("completion", "validation", "infra")


def one_look(
    harm=(0, 0, 0), gates=(4, 4, 4), crossed=(True, True, True), scored=(True,) * 3, mismatch=0.0, held=False
):
    return Looks(
        np.array([harm], dtype=float),
        np.array([gates], dtype=float)[:, :, None],
        np.array([crossed])[:, :, None],
        np.array([scored]),
        np.array([mismatch]),
        np.array([held]),
    )


def word(rules, **look):
    return judge(rules, one_look(**look)).words[0]


def test_proof_on_every_guardrail_promotes(rules):
    assert word(rules) is Decision.PROMOTE


@pytest.mark.parametrize(
    "look",
    [
        {"crossed": (True, False, True)},
        {"gates": (4, -0.01, 4)},
        {"scored": (True, False, True)},
        {"mismatch": INVALID_LINE},
        {"harm": (-9, -9, INVALID_LINE)},
    ],
)
def test_one_thing_missing_holds(rules, look):
    rules = replace(rules, alpha_revert=1e-4)
    assert word(rules, **look) is Decision.HOLD


def test_proven_harm_reverts_even_on_invalid_evidence(rules):
    assert word(rules, harm=(9, 0, 0), mismatch=20.0) is Decision.REVERT


def test_the_family_reverts_where_no_guardrail_alone_does(rules):
    shared = LINE + 0.01
    assert word(rules, harm=(shared,) * 3) is Decision.REVERT
    assert word(rules, harm=(shared, -9, -9)) is not Decision.REVERT
    assert len(culprits(rules, np.array([shared] * 3))) == 1


def test_classes_of_maturity_do_not_lend_each_other_evidence(rules):
    late = replace(rules.guardrails[1], maturity_us=60)
    split = replace(rules, guardrails=(rules.guardrails[0], late, rules.guardrails[2]))
    harm = np.array([[LINE + 0.01] * 3])
    assert families(rules, harm).shape == (1, 1)
    assert families(split, harm).shape == (1, 2)
    assert families(split, harm).max() < LINE


def test_culprits_are_all_that_decide_alone_the_strongest_first(rules):
    alone = revert_line(rules) - np.log([g.weight for g in rules.guardrails])
    assert culprits(rules, alone + np.array([0.1, 0.5, -0.1])) == ("validation", "completion")


def test_the_reason_names_what_makes_evidence_invalid(rules):
    assert invalid_reason(rules, one_look()) == ""
    assert "shares" in invalid_reason(rules, one_look(mismatch=8.0))
    assert "infrastructure" in invalid_reason(rules, one_look(harm=(0, 0, 8)))


def test_harm_in_a_slice_that_holds_keeps_every_gate_shut_and_reverts_nothing(rules):
    assert word(rules, held=True) is Decision.HOLD
    assert word(rules, harm=(9, 0, 0), held=True) is Decision.REVERT
