import re

import pytest

from lastgood import control
from lastgood.errors import Conflict, InvalidBundle, InvalidMove, LastgoodError, NotFound, Quarantined


def readmit(desk, bundle_id):
    control.readmit(desk.store, "support", "production", bundle_id, actor="bob", reason="reviewed")


def spoil(desk, bundle_id):
    """Change a bundle's prompt behind lastgood's back."""
    desk.hand(
        "UPDATE part SET body = 'planted' WHERE digest ="
        " (SELECT digest FROM bundle_part WHERE kind = 'prompt' AND bundle_id = ?)",
        bundle_id,
    )


# -- adopt


def test_adopt_makes_a_vouched_baseline(desk):
    point = desk.point
    assert (point.baseline, point.standing, point.epoch) == (desk.baseline, "vouched", 1)
    assert (point.candidate, point.release_id, point.share_bp, point.killed) == (None, None, 0, False)


def test_an_agent_is_adopted_once(desk):
    with pytest.raises(
        InvalidMove, match=r"support in production has a baseline already.*lastgood rollback support --to"
    ):
        desk.adopt()


def test_environments_are_apart(desk):
    point = control.adopt(desk.store, "support", "staging", desk.candidate, actor="ann", reason="")
    assert point.baseline == desk.candidate
    assert desk.point.baseline == desk.baseline


def test_an_unknown_bundle_is_not_adopted(desk):
    with pytest.raises(NotFound, match="no bundle ffffffffffff; register it"):
        control.adopt(desk.store, "sales", "production", "f" * 64, actor="ann", reason="")


@pytest.mark.parametrize(
    ("agent", "environment"), [("", "production"), ("Sales Team", "production"), ("sales", "a/b")]
)
def test_a_name_that_is_none_is_not_adopted(agent, environment, desk):
    with pytest.raises(InvalidBundle, match="is no name"):
        control.adopt(desk.store, agent, environment, desk.baseline, actor="ann", reason="")
    assert len(desk.all("SELECT * FROM control_point")) == 1


def test_the_way_out_that_a_message_shows_acts_on_the_same_environment(desk):
    desk.environment = "staging"
    desk.adopt()
    said = []

    def refused(call):
        with pytest.raises(LastgoodError) as found:
            call()
        said.append(str(found.value))

    refused(desk.adopt)
    release_id = desk.live()
    refused(desk.start)
    refused(lambda: desk.rollback(to=desk.candidate))
    desk.revert(release_id, "evidence")
    refused(desk.start)
    desk.kill()
    refused(lambda: desk.start(desk.register("third")))
    desk.hand("UPDATE control_point SET share_bp = 1 WHERE environment = 'staging'")
    refused(lambda: desk.point)
    commands = re.findall(r"`lastgood (\w+ support[^`]*)`", " ".join(said))
    assert [each.split()[0] for each in commands] == [
        "rollback", "rollback", "promote", "readmit", "clear", "rollback",
    ]  # fmt: skip
    assert all(each.split()[1:4] == ["support", "-e", "staging"] for each in commands)


# -- the kill switch


def test_kill_and_clear_are_moves_of_their_own(desk):
    assert (desk.kill().killed, desk.point.epoch) == (True, 2)
    point = control.clear(desk.store, "support", "production", actor="ann", reason="")
    assert (point.killed, point.epoch) == (False, 3)


def test_a_second_kill_changes_nothing(desk):
    point = desk.kill()
    rows = desk.all("SELECT * FROM ledger")
    assert desk.kill() == point
    assert desk.all("SELECT * FROM ledger") == rows


def test_clearing_what_is_not_on_changes_nothing(desk):
    point, rows = desk.point, desk.all("SELECT * FROM ledger")
    assert control.clear(desk.store, "support", "production", actor="ann", reason="") == point
    assert desk.all("SELECT * FROM ledger") == rows


# -- stop


def test_a_stop_is_recorded_once_and_moves_no_epoch(desk):
    place, point = (desk.store, "support", "production"), desk.point
    assert control.stop(*place, actor="ann", reason="haunted")
    assert not control.stop(*place, actor="bob", reason="again")
    assert desk.point == point
    assert desk.all("SELECT actor, reason FROM ledger WHERE action = 'stop'") == [
        {"actor": "ann", "reason": "haunted"}
    ]


def test_a_stop_is_lifted_once(desk):
    place = (desk.store, "support", "production")
    control.stop(*place, actor="ann", reason="haunted")
    assert control.unstop(*place, actor="bob", reason="exorcised")
    assert not control.unstop(*place, actor="cid", reason="again")
    assert desk.all("SELECT actor, reason FROM ledger WHERE action = 'unstop'") == [
        {"actor": "bob", "reason": "exorcised"}
    ]


# -- rollback


def test_a_rollback_reverts_a_live_release(desk):
    desk.live(500)
    point = desk.rollback()
    assert (point.baseline, point.candidate, point.share_bp) == (desk.baseline, None, 0)
    assert desk.one("SELECT state FROM release")["state"] == "reverted"


def test_a_rollback_for_an_epoch_that_is_over_does_nothing(desk):
    desk.live()
    before = desk.point
    with pytest.raises(Conflict, match=f"moved to epoch {before.epoch} since epoch {before.epoch - 1}"):
        desk.rollback(epoch=before.epoch - 1)
    assert desk.point == before
    assert desk.rollback(epoch=before.epoch).candidate is None


def test_a_rollback_without_a_release_goes_to_the_newest_other_good_bundle(desk):
    third = desk.register("third")
    desk.promote(desk.live())
    desk.promote(desk.live(candidate=third))
    point = desk.rollback()
    assert (point.baseline, point.standing) == (desk.candidate, "proven")


def test_a_second_rollback_does_not_flip_back_to_what_was_withdrawn(desk):
    third = desk.register("third")
    desk.promote(desk.live())
    desk.promote(desk.live(candidate=third))
    assert [desk.rollback().baseline, desk.rollback().baseline] == [desk.candidate, desk.baseline]
    with pytest.raises(InvalidMove, match=r"no other last known good bundle.*--to BUNDLE"):
        desk.rollback()
    assert desk.point.baseline == desk.baseline


def test_a_withdrawn_bundle_is_good_again_once_it_was_promoted_again(desk):
    desk.promote(desk.live())
    desk.rollback()
    with pytest.raises(Quarantined, match="cools down"):
        desk.live()
    readmit(desk, desk.candidate)
    desk.promote(desk.live())
    third = desk.register("third")
    desk.promote(desk.live(candidate=third))
    assert desk.rollback().baseline == desk.candidate


def test_a_rollback_leaves_out_a_quarantined_bundle(desk):
    desk.promote(desk.live())
    third = desk.register("third")
    desk.promote(desk.live(candidate=third))
    desk.revert(desk.live(candidate=desk.candidate), "evidence")
    assert desk.rollback().baseline == desk.baseline


def delete(desk, bundle_id):
    """Delete a bundle behind lastgood's back."""
    desk.hand("DELETE FROM bundle WHERE id = ?", bundle_id)


@pytest.mark.parametrize("harm", [spoil, delete])
def test_a_rollback_leaves_out_a_bundle_that_was_changed(harm, desk):
    desk.promote(desk.live())
    third = desk.register("third")
    desk.promote(desk.live(candidate=third))
    harm(desk, desk.candidate)
    assert desk.rollback().baseline == desk.baseline


def test_a_rollback_to_a_named_bundle(desk):
    third = desk.register("third")
    before = desk.point
    with pytest.raises(InvalidMove, match=r"was never the last known good .*--vouch"):
        desk.rollback(to=third)
    assert desk.point == before
    assert desk.rollback(to=third, vouched=True).baseline == third
    assert desk.rollback(to=desk.baseline).baseline == desk.baseline


def test_a_rollback_to_a_named_bundle_reverts_the_live_release_first(desk):
    third = desk.register("third")
    desk.live(500)
    point = desk.rollback(to=third, vouched=True)
    assert (point.baseline, point.release_id) == (third, None)
    assert [row["action"] for row in desk.all("SELECT action FROM ledger ORDER BY seq")][-2:] == [
        "revert",
        "rollback",
    ]


def test_a_rollback_to_the_live_baseline_is_a_revert(desk):
    desk.live(500)
    assert desk.rollback(to=desk.baseline).epoch == 3


@pytest.mark.parametrize("live", [True, False])
def test_a_rollback_to_what_can_not_be_served_changes_nothing(live, desk):
    third = desk.register("third")
    desk.revert(desk.live(candidate=third), "evidence")
    if live:
        desk.live(500)
    before = desk.point
    with pytest.raises(Quarantined, match="is quarantined for support"):
        desk.rollback(to=third, vouched=True)
    with pytest.raises(NotFound):
        desk.rollback(to="f" * 64)
    assert desk.point == before


def test_a_rollback_to_the_live_candidate_is_no_rollback(desk):
    desk.live(500)
    before = desk.point
    with pytest.raises(InvalidMove, match=r"is the live candidate.*--vouch"):
        desk.rollback(to=desk.candidate)
    assert desk.point == before


def test_a_rollback_to_the_present_baseline_has_nothing_to_do(desk):
    with pytest.raises(InvalidMove, match="already serves that bundle"):
        desk.rollback(to=desk.baseline)


def test_a_rollback_of_an_unknown_agent(desk):
    with pytest.raises(NotFound, match="no agent 'sales'"):
        control.rollback(desk.store, "sales", "production", actor="ann", reason="")


def test_a_rollback_needs_no_sound_bundle_to_revert(desk):
    desk.live(500)
    spoil(desk, desk.baseline)
    spoil(desk, desk.candidate)
    assert desk.rollback().release_id is None


# -- re-admission


def test_a_readmitted_bundle_may_be_a_candidate_again(desk):
    desk.revert(desk.live(), "evidence")
    readmit(desk, desk.candidate)
    assert desk.live()
    said = desk.all("SELECT actor, reason FROM ledger WHERE action = 'readmit'")
    assert said == [{"actor": "bob", "reason": f"b-{desk.candidate[:8]}: reviewed"}]


def test_a_readmission_moves_nobody(desk):
    desk.revert(desk.live(), "evidence")
    before = desk.point
    readmit(desk, desk.candidate)
    assert desk.point == before


def test_a_bundle_that_is_not_quarantined_can_not_be_readmitted(desk):
    with pytest.raises(
        NotFound, match=f"b-{desk.candidate[:8]} is not quarantined for support in production"
    ):
        readmit(desk, desk.candidate)
