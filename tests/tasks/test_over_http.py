"""What the service takes from the pipeline: starting a release, accepting a trade."""

import pytest

from lastgood.errors import InvalidPolicy, NotFound
from tasks import over_http, preflight

POLICY = """
name: sliced
guardrails: {completion: {margin: 20 points}}
strata: {faq: 0.5, billing: 0.5}
"""


def waive(world, **changes):
    given = {"policy": "sliced", "guardrail": "completion", "stratum": "faq", "reason": "known"}
    return over_http.waive(world.store, **given, approver="ben", actor="ben (approver, token t)", **changes)


def test_a_trade_makes_a_version_of_the_policy_under_its_name(world):
    before = world.policy(POLICY).digest
    world.clock.advance(1)
    name, digest = waive(world)
    assert (name, digest != before) == ("sliced", True)
    with world.store.reading() as txn:
        found = preflight.find_policy(txn, "sliced")
        row = txn.one("SELECT author FROM policy WHERE digest = :digest", digest=digest)
    assert [(w.guardrail, w.slice, w.approver) for w in found.waivers] == [("completion", "faq", "ben")]
    assert row["author"] == "ben (approver, token t)"


def test_a_trade_of_what_is_not_there_is_refused(world):
    with pytest.raises(NotFound):
        waive(world)
    world.policy(POLICY)
    with pytest.raises(InvalidPolicy, match="no slice of this policy"):
        over_http.waive(
            world.store, policy="sliced", guardrail="completion", stratum="news", reason="x",
            approver="ben", actor="ben",
        )  # fmt: skip


def test_a_release_is_recorded_after_its_checks(world):
    world.policy()
    given = {"agent": "support", "environment": "production", "actor": "ann", "note": ""}
    release_id = over_http.start(world.store, candidate=world.candidate, policy="small", **given)
    assert release_id.startswith("rel_")
