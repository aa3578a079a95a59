"""A person's word for the live candidate: what it does, and what it can't go round."""

import json
from dataclasses import replace

import pytest

from lastgood import approving, releasing, standing, vouching
from lastgood.errors import Conflict, InvalidInput, NotFound, Quarantined, Refused
from lastgood.vouching import Vouched

HOUR = 3_600_000_000
ALWAYS = {"zone": "UTC", "from": "2000-01-01", "to": "2100-01-01"}


@pytest.fixture
def live(desk):
    """`live(level="verified")`: a release under a policy with this approval."""

    def start(freeze=(), **approval):
        policy = json.dumps({"approval": approval, "freeze": list(freeze)})
        release_id = releasing.start(desk.store, replace(desk.wanted(), policy=policy))
        desk.serve(release_id, 2_500)
        return release_id

    return start


def vouch(desk, who="bob", reason="I read it", **given):
    return vouching.promote(desk.store, "support", "production", Vouched(who, reason, **given))


def code(desk, person="bob"):
    key = (desk.store, "support", "production")
    return approving.issue_code(*key, person=person, actor="root", lasts_us=HOUR)


def test_the_candidate_serves_as_vouched_and_the_ledger_says_by_whom(desk, live):
    release_id = live()
    point = vouch(desk, candidate=f"b-{desk.candidate[:8]}")
    assert (point.baseline, point.standing, point.release_id) == (desk.candidate, "vouched", None)
    row = desk.one("SELECT * FROM release WHERE id = :id", id=release_id)
    assert (row["state"], row["reason"]) == ("promoted", "vouched for (claimed): I read it")
    entry = desk.one("SELECT * FROM ledger ORDER BY seq DESC LIMIT 1")
    assert (entry["action"], entry["actor"]) == ("promote", "bob")


@pytest.mark.parametrize(
    ("approval", "said"),
    [
        ({"before": ["promote"]}, "wants an approval"),
        ({"level": "verified"}, "give a one-time code"),
        ({"not_author": True}, "give a one-time code"),
    ],
)
def test_it_goes_round_no_approval(desk, live, approval, said):
    live(**approval)
    with pytest.raises(Refused, match=said):
        vouch(desk)
    assert desk.point.baseline == desk.baseline


def test_a_code_shows_who_vouches_and_counts_once(desk, live):
    live(level="verified")
    mine, others = code(desk), code(desk, "eve")
    for wrong in (others, "AAAA-BBBB-CCCC"):
        with pytest.raises(Refused, match="that code is not bob's"):
            vouch(desk, code=wrong)
    assert vouch(desk, code=mine).standing == "vouched"
    assert desk.one("SELECT reason FROM release")["reason"] == "vouched for (verified): I read it"
    assert desk.one("SELECT count(*) AS n FROM approval_code WHERE used_us IS NOT NULL")["n"] == 1


def test_a_refused_vouch_uses_no_code_up(desk, live):
    live(level="verified")
    mine = code(desk)
    with pytest.raises(Conflict, match="the live candidate of support"):
        vouch(desk, code=mine, candidate="0" * 12)
    assert vouch(desk, code=mine).baseline == desk.candidate


def test_an_author_vouches_for_nothing_of_theirs_where_the_policy_says_so(desk, live):
    live(not_author=True)
    with pytest.raises(Refused, match="ann wrote b-"):
        vouch(desk, who="ann", code=code(desk, "ann"))
    assert vouch(desk, code=code(desk)).baseline == desk.candidate


def test_in_a_freeze_nothing_is_promoted(desk, live):
    live(freeze=[ALWAYS])
    with pytest.raises(Refused, match="nothing is promoted before"):
        vouch(desk)


def test_what_can_not_be(desk, live):
    with pytest.raises(NotFound, match="no live release"):
        vouch(desk)
    release_id = live()
    for given in ({"who": " "}, {"reason": ""}):
        with pytest.raises(InvalidInput, match="a name and a reason"):
            vouch(desk, **given)
    point = desk.point
    with desk.store.transaction() as txn:
        standing.keep_out(txn, point, desk.candidate, "bad", cooling=False, release_id=release_id)
    with pytest.raises(Quarantined):
        vouch(desk)
