"""A policy with what other rules changed."""

from dataclasses import replace

import pytest

from config.amended import amended
from config.policy import Policy
from evaluators.rules import HOUR, Undecided

MINE = """
name: mine
steps: [{share: 5%, min_runs: 20, rule_out: 3}, {share: 25%}]
guardrails:
  completion: {margin: 2 points}
  incidents: {margin: 0.5 points}
  cost: {}
  judge: {column: mark, kind: score, better: higher, scale: [1, 5], margin_own: 0.1}
"""


@pytest.fixture
def policy():
    return Policy.load(MINE)


def test_the_same_rules_change_nothing(policy):
    assert amended(policy, policy.rules()) == policy


def test_margins_steps_and_horizon_are_those_of_the_rules(policy):
    rules = policy.rules()
    wide = {"completion": (0.045, None), "cost": (None, 0.25), "judge": (0.3, None)}
    guardrails = tuple(
        replace(g, margin_abs=wide[g.name][0], margin_rel=wide[g.name][1]) if g.name in wide else g
        for g in rules.guardrails
    )
    wanted = replace(
        rules,
        guardrails=guardrails,
        steps=(replace(rules.steps[1], share_bp=5000),),
        horizon_runs=12_300,
        horizon_us=50 * 24 * HOUR,
        on_undecided=Undecided.ASK,
    )
    found = amended(policy, wanted)
    assert found.rules() == wanted
    assert found.name == "mine"
    assert Policy.from_json(found.to_json()) == found


def test_a_guardrail_that_the_rules_lack_stays_with_all_weights(policy):
    rules = policy.rules()
    kept = tuple(replace(g, weight=g.weight / 0.7) for g in rules.guardrails if g.name != "cost")
    assert amended(policy, replace(rules, guardrails=kept)) == policy


def test_a_built_in_policy_gets_a_name_that_can_be_stored():
    default = Policy.builtin()
    assert amended(default, default.rules()).name == "default-planned"
