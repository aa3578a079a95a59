"""What people are told of each move, in its own transaction."""

import pytest

from lastgood import control, notices
from lastgood.ledger import Entry
from lastgood.notices import KINDS, Level, Notice
from lastgood.release import Terms

KEY = ("support", "production")
PLAIN = Notice(*KEY, "residue", "inc_1:residue", "title", "text", Level.PAGE)


def told(desk):
    rows = desk.all("SELECT * FROM notice ORDER BY seq")
    return [(row["kind"], row["level"]) for row in rows]


def last(desk):
    return desk.all("SELECT * FROM notice ORDER BY seq DESC LIMIT 1")[0]


def test_adopting_an_agent_informs(desk):
    assert told(desk) == [("adopted", "inform")]
    assert "was adopted as the first baseline" in last(desk)["title"]


def test_a_release_that_is_promoted_informs_at_each_switch(desk):
    desk.promote(desk.live(2_500))
    kinds = [("started", "inform"), ("share", "inform"), ("promoted", "inform")]
    assert told(desk)[1:] == kinds
    assert last(desk)["title"] == f"support in production: b-{desk.candidate[:8]} was promoted (proven)"


def test_a_revert_pages_with_who_and_why(desk):
    release_id = desk.live()
    desk.revert(release_id)
    row = last(desk)
    assert (row["kind"], row["level"], row["state"]) == ("reverted", "page", "new")
    assert row["title"] == (
        f"support in production: b-{desk.candidate[:8]} was reverted: b-{desk.baseline[:8]} serves everybody"
    )
    assert row["text"] == f"it is bad\nby ann, at epoch 3\nrelease {release_id}"


def test_a_rollback_without_a_release_pages(desk):
    desk.promote(desk.live())
    desk.rollback()
    row = last(desk)
    assert (row["kind"], row["level"]) == ("reverted", "page")
    assert f"b-{desk.candidate[:8]} was rolled back: b-{desk.baseline[:8]} serves" in row["title"]


def test_routine_moves_tell_nobody(desk):
    from lastgood import releasing
    from lastgood.points import Expect

    release_id = desk.live()
    before = len(told(desk))
    releasing.take_over(desk.store, release_id, driver="d", reason="r")
    expect = Expect.of(desk.point)
    releasing.renew(desk.store, release_id, lease_us=1_000, driver="d", reason="r", expect=expect)
    assert len(told(desk)) == before


@pytest.mark.parametrize(
    ("move", "kind"),
    [
        (lambda desk: desk.kill(), "killed"),
        (lambda desk: control.stop(desk.store, *KEY, actor="ann", reason="r"), "stopped"),
    ],
)
def test_switches_inform(desk, move, kind):
    move(desk)
    assert told(desk)[-1] == (kind, "inform")


def test_a_control_point_that_a_hand_edited_pages(desk):
    desk.hand("UPDATE control_point SET share_bp = 5")
    desk.rollback()
    assert told(desk)[-1] == ("restored", "page")


def test_a_move_that_is_refused_tells_nobody(desk):
    before = told(desk)
    with pytest.raises(Exception, match="no other last known good"):
        desk.rollback()
    assert told(desk) == before


def test_a_transaction_that_fails_leaves_no_notice(desk):
    def half():
        with desk.store.transaction(at=KEY) as txn:
            notices.put(txn, PLAIN)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        half()
    assert ("residue", "page") not in told(desk)


def test_the_same_key_is_the_same_notice(desk):
    with desk.store.transaction(at=KEY) as txn:
        assert notices.put(txn, PLAIN)
        assert not notices.put(txn, PLAIN)
    assert told(desk).count(("residue", "page")) == 1


def test_a_kind_that_no_route_could_name_is_refused(desk):
    with desk.store.transaction(at=KEY) as txn, pytest.raises(ValueError, match="no kind of notice 'x'"):
        notices.put(txn, Notice(*KEY, "x", "k", "t", "t", Level.PAGE))


def test_long_texts_are_cut_and_titles_have_one_line(desk):
    with desk.store.transaction(at=KEY) as txn:
        notices.put(txn, Notice(*KEY, "drift", "k", "a\nb" + "x" * 999, "y" * 9_999, Level.INFORM))
    row = last(desk)
    assert (row["title"][:4], len(row["title"]), len(row["text"])) == ("a bx", 200, 2_000)


def test_every_kind_that_a_move_tells_can_be_routed():
    assert {kind for kind, _, _ in notices._TOLD.values()} <= set(KINDS)


def test_what_needs_a_person_pages_and_nothing_else():
    paging = {kind for kind, level, _ in notices._TOLD.values() if level is Level.PAGE}
    assert paging == {"reverted", "restored", "asking", "alarm"}


def test_a_waiting_approval_pages(desk):
    point = desk.point
    found = notices.said(point, point, Entry("ask", "d", "undecided", "rel_1"), 7)
    assert (found.kind, found.level, found.key) == ("asking", "page", "support/production/7")
    assert "lastgood approve support -e production --decision" in found.text


def test_a_trigger_in_an_agent_tells_people(lab):
    """The process that saw the breach is the agent's own: the row is in the trigger's transaction."""
    import lastgood
    from lastgood.triggers import Triggers

    lab.live(terms=Terms(caps=lab_caps(), triggers=Triggers(zero_tolerance=("data_leak",))))
    with lastgood.run("support", "u") as run:
        run.event("data_leak")
    assert told(lab)[-1] == ("reverted", "page")


def lab_caps():
    from lastgood.caps import Caps

    return Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None)
