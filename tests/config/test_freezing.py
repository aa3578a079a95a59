"""Freeze windows and approvals of a policy, as people write them."""

import pytest

from config.policy import Policy
from evaluators.rules import Gate
from lastgood.errors import InvalidPolicy

TEXT = """
name: careful
approval: {before: [start, promote], level: verified, not_author: true, expires: 2 h}
freeze:
  - {days: [sun, sat], zone: Europe/Berlin}
  - {from: "22:00", to: "06:00"}
  - {from: 2026-12-24, to: 2026-12-26}
agent_cooldown: 2 h
"""


def test_windows_and_approvals_are_frozen_as_text_and_read_back():
    policy = Policy.load(TEXT)
    again = Policy.from_json(policy.to_json(), digest=policy.digest)
    assert again.freeze == policy.freeze
    assert [spec.model_dump(mode="json", by_alias=True) for spec in again.freeze] == [
        {"days": ["sat", "sun"], "from": None, "to": None, "zone": "Europe/Berlin"},
        {"days": [], "from": "22:00", "to": "06:00", "zone": "UTC"},
        {"days": [], "from": "2026-12-24", "to": "2026-12-26", "zone": "UTC"},
    ]
    assert again.approval == policy.approval
    assert again.rules().approve == {Gate.START, Gate.PROMOTE}


def test_a_policy_says_which_freeze_holds():
    policy = Policy.load(TEXT)
    assert policy.frozen(1_766_700_000_000_000) == "a freeze until Fri 2025-12-26 06:00 UTC"
    assert policy.frozen(1_766_750_400_000_000) == ""


def test_by_default_nobody_is_asked_and_nothing_is_frozen():
    policy = Policy.load("name: plain")
    assert (policy.rules().approve, policy.frozen(0), policy.approval.before) == (frozenset(), "", ())


def test_one_gate_needs_no_list():
    assert Policy.load("name: x\napproval: {before: promote}").approval.before == (Gate.PROMOTE,)


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("[start, promote]", "[never]", "approval.before"),
        ("level: verified", "level: sworn", "approval.level"),
        ("expires: 2 h", "expires: 1 s", "approval.expires"),
        ("Europe/Berlin", "Europe/Berln", "no time zone"),
        ("[sun, sat]", "[sunday]", "freeze[0].days"),
        ("{days: [sun, sat], zone: Europe/Berlin}", "{zone: UTC}", "needs days, or from and to"),
        ('to: "06:00"', "days: [mon]", "from and to go together"),
        ('to: "06:00"', "to: 2026-01-01", "two times or two dates"),
        ('to: "06:00"', 'to: "22:00"', "is as long as a day"),
        ('to: "06:00"', 'to: "6 am"', "should be a time such as"),
        ("to: 2026-12-26", "to: 2026-12-23", "is before its beginning"),
        ("to: 2026-12-26", "to: 2026-12-26, days: [mon]", "days do not go with dates"),
    ],
)
def test_what_cant_be_used_is_named(was, becomes, said):
    assert was in TEXT
    with pytest.raises(InvalidPolicy) as error:
        Policy.load(TEXT.replace(was, becomes, 1))
    assert said in str(error.value)
