"""Policies in the store, and trades that were accepted before a release."""

import pytest

from config.policy import Policy
from lastgood import releasing
from lastgood.errors import InvalidPolicy, NotFound
from tasks import policies, preflight
from tasks.policies import Trade

SLICED = """
name: sliced
guardrails: {completion: {margin: 15 points}}
strata: [faq, refund]
"""
TRADE = Trade("completion", "refund", "refunds move to people", "bea")


def test_a_trade_makes_a_new_version_that_the_name_means(world):
    before = policies.keep(world.store, Policy.load(SLICED), "ann")
    world.clock.advance(1)
    kept = policies.waive(world.store, "sliced", TRADE, actor="ann")
    assert (kept.name, kept.new, kept.meant) == ("sliced", True, kept.digest)
    with world.store.reading() as txn:
        found = preflight.find_policy(txn, "sliced")
        old = preflight.find_policy(txn, before.digest)
    assert [(w.guardrail, w.slice, w.reason, w.approver) for w in found.waivers] == [
        ("completion", "refund", "refunds move to people", "bea")
    ]
    assert old.waivers == ()
    assert found.rules().waivers[0].stratum == "refund"


def test_a_live_release_keeps_the_policy_that_it_started_with(world):
    release_id = world.start("name: small\nlost_after: 1 min\nguardrails: {completion: {margin: 15 points}}\n"
                             "strata: [faq, refund]\non_undecided: ask\n")  # fmt: skip
    digest = world.row(release_id)["policy_digest"]
    world.clock.advance(1)
    policies.waive(world.store, "small", TRADE, actor="ann")
    with world.store.reading() as txn:
        assert releasing.read(txn, release_id)["policy_digest"] == digest


def test_a_copy_of_a_built_in_policy_gets_a_name_of_its_own(world, monkeypatch):
    monkeypatch.setattr(
        policies.preflight,
        "find_policy",
        lambda _txn, _name: Policy.load(SLICED.replace("sliced", "default")),
    )
    kept = policies.waive(world.store, "default", TRADE, actor="ann")
    assert kept.name == "default-waived"


@pytest.mark.parametrize(
    ("trade", "said"),
    [
        (Trade("completeness", "refund", "why", "bea"), "completion"),
        (Trade("completion", "returns", "why", "bea"), "no slice of this policy"),
        (Trade("completion", "refund", "", "bea"), "reason"),
    ],
)
def test_a_trade_that_the_policy_has_no_place_for_is_refused_and_nothing_is_stored(world, trade, said):
    policies.keep(world.store, Policy.load(SLICED), "ann")
    with pytest.raises(InvalidPolicy, match=said):
        policies.waive(world.store, "sliced", trade, actor="ann")
    assert len(world.rows("SELECT * FROM policy")) == 1


def test_the_same_trade_twice_and_an_unknown_policy_are_refused(world):
    policies.keep(world.store, Policy.load(SLICED), "ann")
    world.clock.advance(1)
    policies.waive(world.store, "sliced", TRADE, actor="ann")
    with pytest.raises(InvalidPolicy, match="is waived twice"):
        policies.waive(world.store, "sliced", TRADE, actor="ann")
    with pytest.raises(NotFound, match="no policy 'nope'"):
        policies.waive(world.store, "nope", TRADE, actor="ann")
