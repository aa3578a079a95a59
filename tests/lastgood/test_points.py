import pytest

from lastgood import control, ledger, moves, points, releasing
from lastgood.errors import CorruptRow, InvalidMove, NotFound, StaleDriver
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Stage


@pytest.fixture
def edit(desk):
    """A hand that writes into the store behind the pipeline's back."""
    return desk.hand


def share(desk, release_id, expect, key="canary:0", share_bp=100):
    stage, entry = Stage(key, ReleaseState.CANARY, 0), Entry("share", "driver", "", release_id)
    return releasing.set_share(
        desk.store, release_id, stage, share_bp=share_bp, lease_us=1_000_000, entry=entry, expect=expect
    )


def test_an_agent_that_was_never_adopted_has_no_point(desk):
    with desk.store.reading() as txn:
        assert points.find(txn, "sales", "production") is None
        with pytest.raises(
            NotFound, match=r"no agent 'sales' in production: it has no baseline yet.*lastgood adopt"
        ):
            points.read(txn, "sales", "production")


def test_a_point_is_read_as_it_was_written(desk):
    release_id = desk.start()
    assert desk.serve(release_id, 500) == desk.point


# -- compare-and-set


def test_a_stale_epoch_is_refused_and_changes_nothing(desk):
    release_id = desk.start()
    stale = Expect.of(desk.point)
    before = desk.serve(release_id, 100)
    with pytest.raises(StaleDriver, match=r"moved on to epoch 2, driver term 1 .*commit is refused"):
        share(desk, release_id, stale, key="other", share_bp=9_000)
    assert desk.point == before


def test_a_stale_driver_term_is_refused_and_changes_nothing(desk):
    release_id = desk.start()
    stale = Expect.of(desk.point)
    taken = releasing.take_over(desk.store, release_id, driver="another", reason="the first is silent")
    with pytest.raises(StaleDriver, match="driver term 2"):
        share(desk, release_id, stale)
    assert desk.point == taken


def test_of_two_who_move_what_they_both_read_the_second_changes_nothing(desk):
    """Whoever reads outside of its transaction is held to the row itself."""
    read = desk.point
    killed = desk.kill()
    with (
        pytest.raises(StaleDriver, match="was moved by somebody else at the same moment; read it again"),
        desk.store.transaction(durable=True) as txn,
    ):
        points.move(txn, read, moves.kill(read), Entry("kill", "bob", "late"))
    assert desk.point == killed


@pytest.mark.parametrize("move", ["enter", "renew", "promote", "revert", "take_over"])
def test_every_move_of_a_driver_is_fenced(move, desk):
    release_id = desk.live(100)
    stale = Expect(desk.point.epoch, desk.point.driver_term)
    releasing.take_over(desk.store, release_id, driver="another", reason="")
    before, ending = desk.point, releasing.Ending("driver", "", "evidence")
    stage, entry = Stage("cap:0", ReleaseState.CAP, 0), Entry("cap", "driver", "", release_id)
    calls = {
        "enter": lambda: releasing.enter(desk.store, release_id, stage, entry=entry, expect=stale),
        "renew": lambda: releasing.renew(
            desk.store, release_id, lease_us=9, driver="driver", reason="", expect=stale
        ),
        "promote": lambda: releasing.promote(
            desk.store, release_id, proven=True, ending=ending, expect=stale
        ),
        "revert": lambda: releasing.revert(desk.store, release_id, ending, stale),
        "take_over": lambda: releasing.take_over(desk.store, release_id, driver="d", reason="", expect=stale),
    }
    with pytest.raises(StaleDriver):
        calls[move]()
    assert desk.point == before
    assert desk.one("SELECT driver FROM release")["driver"] == "another"


def test_a_driver_that_was_taken_over_finds_no_stage_done(desk):
    """Or it would take what the other driver did for its own, and go on with the other's term."""
    release_id = desk.start()
    stale = Expect.of(desk.point)
    releasing.take_over(desk.store, release_id, driver="another", reason="")
    share(desk, release_id, Expect.of(desk.point))
    with pytest.raises(StaleDriver, match="taken over"):
        share(desk, release_id, stale)


# -- rows that a hand changed


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("baseline", None),
        ("standing", "proven"),
        ("share_bp", 9_000),
        ("epoch", 77),
        ("lease_until_us", 9 * 10**18),
        ("lease_boot_until_us", 9 * 10**18),
        ("lease_boot_id", ""),
        ("driver_term", 0),
        ("killed", True),
        ("release_id", "rel_other"),
        ("candidate", None),
        ("terms", "{}"),
        ("terms", "7"),
        ("seal", "0"),
    ],
)
def test_a_changed_column_is_found_when_it_is_read(column, value, desk, edit):
    desk.live(500)
    if column in {"baseline", "candidate"}:
        value = desk.register("planted")
    edit(f"UPDATE control_point SET {column} = ?", value)
    with pytest.raises(CorruptRow, match="lastgood rollback"):
        _ = desk.point


@pytest.mark.only("sqlite")  # Postgres takes no value of another type
@pytest.mark.parametrize(("column", "value"), [("standing", b"bytes"), ("epoch", "many")])
def test_a_value_of_another_type_is_found_when_it_is_read(column, value, desk, edit):
    edit(f"UPDATE control_point SET {column} = ?", value)
    with pytest.raises(CorruptRow, match="lastgood rollback"):
        _ = desk.point


def test_a_row_that_is_gone_is_found_and_not_adopted_over(desk, edit):
    edit("DELETE FROM control_point")
    with pytest.raises(CorruptRow, match=r"its row is gone.*lastgood rollback support"):
        _ = desk.point
    with pytest.raises(CorruptRow, match="its row is gone"):
        desk.adopt()


@pytest.mark.parametrize(
    "statement", ["UPDATE control_point SET share_bp = 9000, epoch = 77", "DELETE FROM control_point"]
)
def test_a_rollback_restores_what_the_ledger_says(statement, desk, edit):
    before = desk.point
    edit(statement)
    assert desk.rollback() == before
    assert desk.point == before
    restored = desk.all("SELECT action, actor, reason FROM ledger ORDER BY seq")[-1]
    assert restored["action"] == "restore"
    assert "changed behind the pipeline's back" in restored["reason"]
    assert ledger.verify(desk.store, "support", "production")[0] == 2


def test_a_rollback_of_a_changed_point_goes_no_further_back_than_the_ledger(desk, edit):
    desk.promote(desk.live())
    edit("UPDATE control_point SET standing = 'vouched'")
    assert desk.rollback().baseline == desk.candidate


def test_a_rollback_of_a_changed_point_reverts_its_live_release(desk, edit):
    release_id = desk.live(500)
    edit("UPDATE control_point SET share_bp = 10000")
    point = desk.rollback()
    assert (point.baseline, point.candidate, point.release_id) == (desk.baseline, None, None)
    assert desk.one("SELECT state FROM release")["state"] == ReleaseState.REVERTED
    assert desk.one("SELECT count(*) AS n FROM ledger WHERE action = 'revert'")["n"] == 1
    assert release_id


def test_a_kill_works_on_a_changed_point_too(desk, edit):
    edit("UPDATE control_point SET share_bp = 10000")
    assert desk.kill().killed
    assert desk.point.share_bp == 0


def test_where_the_ledger_was_changed_too_only_a_backup_helps(desk, edit):
    edit("UPDATE control_point SET share_bp = 10000")
    edit("UPDATE ledger SET reason = 'edited'")
    with pytest.raises(
        CorruptRow, match="ledger's last row was changed too: restore the store from a backup"
    ):
        desk.rollback()


def test_other_moves_do_not_build_on_a_changed_point(desk, edit):
    edit("UPDATE control_point SET share_bp = 10000")
    before = desk.all("SELECT * FROM control_point")
    with pytest.raises(CorruptRow):
        desk.start()
    with pytest.raises(CorruptRow):
        control.clear(desk.store, "support", "production", actor="ann", reason="")
    assert desk.all("SELECT * FROM control_point") == before
    assert desk.all("SELECT * FROM release") == []


def test_an_illegal_move_writes_no_ledger_row(desk):
    before = ledger.verify(desk.store, "support", "production")
    with pytest.raises(InvalidMove):
        control.adopt(desk.store, "support", "production", desk.candidate, actor="ann", reason="")
    assert ledger.verify(desk.store, "support", "production") == before
