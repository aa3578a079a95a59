"""The referee of a policy, as people write it."""

import pytest

from config.policy import Policy
from lastgood.errors import InvalidPolicy

TEXT = """
name: judged
guardrails:
  completion: {margin: 2 points}
  judge: {column: mark, kind: score, better: higher, margin_own: 0.1}
referee: {column: mark, call: "a.b:judge"}
"""


def test_a_referee_is_read_and_frozen():
    policy = Policy.load(TEXT)
    again = Policy.from_json(policy.to_json(), digest=policy.digest)
    assert again.referee == policy.referee
    assert (policy.refereed, policy.sampler("rel_1").share_bp) == ({"mark"}, 1_000)


def test_without_a_referee_nothing_is_refereed():
    policy = Policy.load("name: plain")
    assert (policy.refereed, policy.sampler("rel_1")) == (frozenset(), None)


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("{column: mark, call", "{column: remark, call", "no guardrail watches 'remark': add one"),
        ("{column: mark, call", "{column: completed, call", "'completed' is what the run itself tells"),
        ("a.b:judge", "a.b", "referee.call"),
        ('call: "a.b:judge"', "usd_each: 2", "more than the 1 of an hour"),
        ('call: "a.b:judge"', "sampel: 2%", "unknown key; did you mean 'sample'"),
        (
            "kind: score, better: higher, margin_own: 0.1",
            "kind: count, better: lower, margin_own: 1",
            "not as a count",
        ),
        ("name: judged", "name: judged\nrecords: {keep: none}", "`keep: none` keeps none"),
    ],
)  # fmt: skip
def test_a_referee_that_can_not_work_is_refused_with_the_way_out(was, becomes, said):
    with pytest.raises(InvalidPolicy, match="(?s)" + said.replace("(", r"\(")):
        Policy.load(TEXT.replace(was, becomes))


def test_a_referee_may_judge_in_place_of_the_validator():
    text = (
        "{name: j, guardrails: {validation: {}}, referee: {column: validated}, reference: {validation: 0.9}}"
    )
    assert Policy.load(text).refereed == {"validated"}


def test_a_column_has_one_unit():
    text = """
name: units
guardrails:
  cost: {}
  cents: {column: cost_usd, kind: count, better: lower, unit: cents, margin_own: 1}
"""
    with pytest.raises(InvalidPolicy, match="cost_usd is in 'cents' here and in 'USD' in cost"):
        Policy.load(text)


@pytest.mark.parametrize(
    "column",
    ["block", "seq", "task_type", "status", "assigned_us", "received_us", "share_bp", "metrics", "matured"],
)
def test_a_column_of_the_run_record_itself_is_no_free_one(column):
    with pytest.raises(InvalidPolicy, match=f"'{column}' is not a free flag"):
        Policy.load(f"{{name: own, guardrails: {{mine: {{column: {column}, bad: true, margin: 2 points}}}}}}")


def test_the_default_policy_watches_amounts_where_they_are_reported():
    guardrails = Policy.builtin().guardrails
    aside = [name for name, spec in guardrails.items() if spec.when_absent == "set_aside"]
    assert aside == ["cost", "cost_tail", "edits"]
    weights = {name: round(spec.weight, 12) for name, spec in guardrails.items()}
    assert weights == {
        "completion": 0.22, "validation": 0.22, "escalation": 0.08, "incidents": 0.15, "lost": 0.05,
        "infra": 0.05, "cost": 0.12, "cost_tail": 0.03, "edits": 0.08,
    }  # fmt: skip
