import multiprocessing
import sqlite3

import psycopg
import pytest

from lastgood import control, releasing
from lastgood.errors import CorruptRow, InvalidMove, LiveRelease, NotFound, Quarantined
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Ending, Stage
from lastgood.store.connection import Store
from lastgood.triggers import Triggers

fork = multiprocessing.get_context("fork")
MINUTE = 60_000_000


def release(desk):
    return desk.one("SELECT * FROM release ORDER BY started_us DESC, id DESC LIMIT 1")


def enter(desk, release_id, key, state, step=0):
    entry = Entry("cap", "ann", "the ceilings are armed", release_id)
    stage = Stage(key, state, step)
    releasing.enter(desk.store, release_id, stage, entry=entry, expect=Expect.of(desk.point))


# -- start


def test_a_start_holds_the_point_and_serves_nobody_differently(desk):
    release_id = desk.start()
    point = desk.point
    assert (point.release_id, point.candidate, point.share_bp, point.epoch) == (
        release_id,
        desk.candidate,
        0,
        1,
    )
    assert release(desk)["state"] == ReleaseState.OPENED


def test_a_start_freezes_the_terms(desk):
    terms = Terms(strata=("faq",), cooldown_us=5)
    desk.start(terms=terms)
    assert desk.point.terms == terms


def test_a_second_release_names_the_live_one(desk):
    first = desk.start()
    before = desk.point
    with pytest.raises(LiveRelease, match=f"{first} .*opened.*lastgood rollback support"):
        desk.start(desk.register("third"))
    assert desk.point == before
    assert len(desk.all("SELECT * FROM release")) == 1


def test_the_candidate_may_not_be_the_baseline(desk):
    with pytest.raises(InvalidMove, match="the candidate is the baseline of support in production already"):
        desk.start(desk.baseline)
    assert desk.all("SELECT * FROM release") == []


def test_an_unknown_candidate(desk):
    with pytest.raises(NotFound, match="no bundle"):
        desk.start("f" * 64)


def test_an_agent_without_a_baseline(desk, store, tools, clock):
    fresh = tools.Desk(store, clock)
    with pytest.raises(
        NotFound, match="it has no baseline yet; register a bundle and `lastgood adopt support BUNDLE`"
    ):
        fresh.start()
    assert fresh.all("SELECT * FROM release") == []


def test_no_release_starts_while_the_kill_switch_is_on(desk):
    desk.kill()
    with pytest.raises(InvalidMove, match="lastgood clear support"):
        desk.start()
    assert desk.all("SELECT * FROM release") == []


@pytest.mark.parametrize("which", ["baseline", "candidate"])
def test_no_release_starts_with_a_bundle_that_was_changed(which, desk):
    desk.hand("UPDATE bundle SET author = 'mallory' WHERE id = ?", getattr(desk, which))
    with pytest.raises(CorruptRow, match="changed behind lastgood's back"):
        desk.start()
    assert desk.all("SELECT * FROM release") == []


def _race(url, gate, wanted, rounds, answers):
    store = Store(url)
    for _ in range(rounds):
        gate.wait()
        try:
            answers.put(("won", releasing.start(store, wanted)))
        except LiveRelease as error:
            answers.put(("lost", str(error)))
        gate.wait()
        gate.wait()  # the referee has ended the round


def test_of_eight_processes_at_a_barrier_exactly_one_starts_a_release(desk):
    racers, rounds = 8, 25
    gate, answers = fork.Barrier(racers + 1), fork.Queue()
    terms = Terms(cooldown_us=0)
    arguments = (desk.store.url, gate, desk.wanted(terms=terms), rounds, answers)
    children = [fork.Process(target=_race, args=arguments) for _ in range(racers)]
    [child.start() for child in children]
    for _ in range(rounds):
        gate.wait(20)
        gate.wait(20)
        said = [answers.get(timeout=20) for _ in range(racers)]
        won = [text for what, text in said if what == "won"]
        assert len(won) == 1
        assert all(won[0] in text for what, text in said if what == "lost")
        live = desk.all("SELECT id FROM release WHERE ended_us IS NULL")
        assert [row["id"] for row in live] == won == [desk.point.release_id]
        desk.revert(won[0])
        gate.wait(20)
    [child.join(20) for child in children]
    assert [child.exitcode for child in children] == [0] * racers


# -- stages


def test_a_stage_key_makes_a_retry_a_no_op(desk):
    release_id = desk.start()
    point = desk.serve(release_id, 500, key="canary:0")
    assert desk.serve(release_id, 500, key="canary:0") == point
    assert desk.point == point
    assert len(desk.all("SELECT * FROM stage")) == 1
    assert len(desk.all("SELECT * FROM ledger WHERE action = 'share'")) == 1


def test_a_retry_by_the_same_driver_with_the_epoch_it_had_is_a_no_op_too(desk):
    """Its first try committed, but the answer was lost."""
    release_id = desk.start()
    expect = Expect.of(desk.point)
    entry, stage = Entry("share", "ann", "", release_id), Stage("canary:0", ReleaseState.CANARY, 0)
    how = {"share_bp": 500, "lease_us": MINUTE, "entry": entry, "expect": expect}
    first = releasing.set_share(desk.store, release_id, stage, **how)
    assert releasing.set_share(desk.store, release_id, stage, **how) == first


def test_entering_a_stage_serves_nobody_differently(desk):
    release_id = desk.live(500)
    before = desk.point
    enter(desk, release_id, "cap:0", ReleaseState.CAP)
    enter(desk, release_id, "cap:0", ReleaseState.CAP)
    assert desk.point == before
    assert release(desk)["state"] == ReleaseState.CAP
    assert len(desk.all("SELECT * FROM stage WHERE key = 'cap:0'")) == 1


def test_the_time_of_a_step_starts_anew_with_the_step_alone(desk):
    release_id = desk.start()
    desk.clock.advance(5)
    desk.serve(release_id, 500)
    first = release(desk)["step_since_us"]
    desk.clock.advance(5)
    enter(desk, release_id, "cap:0", ReleaseState.CAP)
    assert release(desk)["step_since_us"] == first == desk.clock.now_us() - 5
    enter(desk, release_id, "the next step", ReleaseState.CANARY, step=1)
    assert release(desk)["step_since_us"] == desk.clock.now_us()


def test_a_renewal_moves_the_lease_and_not_the_epoch(desk):
    release_id = desk.live(500)
    before = desk.point
    desk.clock.advance(MINUTE)
    how = {"lease_us": 60 * MINUTE, "driver": "flow", "reason": "a look", "expect": Expect.of(before)}
    after = releasing.renew(desk.store, release_id, **how)
    assert (after.epoch, after.lease_seq) == (before.epoch, before.lease_seq + 1)
    assert after.lease.boot_until_us == before.lease.boot_until_us + MINUTE
    assert after.lease.until_us == before.lease.until_us + MINUTE
    assert release(desk)["driver"] == "flow"


def test_a_renewal_does_not_bring_back_what_has_lapsed(desk):
    """A lapsed release comes back by a share at a new epoch."""
    release_id = desk.live(500)
    desk.clock.advance(61 * MINUTE)
    before = desk.point
    how = {"lease_us": 60 * MINUTE, "driver": "flow", "reason": "a look", "expect": Expect.of(before)}
    assert releasing.renew(desk.store, release_id, **how).lease == before.lease
    assert desk.serve(release_id, 500).epoch == before.epoch + 1


def test_a_takeover_raises_the_term_and_names_the_driver(desk):
    release_id = desk.start()
    before = desk.point
    after = releasing.take_over(desk.store, release_id, driver="flow 2", reason="flow 1 is gone")
    assert (after.driver_term, after.epoch) == (before.driver_term + 1, before.epoch)
    assert release(desk)["driver"] == "flow 2"


# -- ends


@pytest.mark.parametrize("state", [state for state in ReleaseState if state.live])
def test_a_revert_from_every_live_state_is_one_transaction(state, desk):
    release_id = desk.live(500)
    if state is not ReleaseState.CANARY:
        enter(desk, release_id, "the stage", state)
    before = desk.point
    after = desk.revert(release_id)
    assert (after.epoch, after.baseline, after.candidate) == (before.epoch + 1, before.baseline, None)
    assert desk.point == after
    row = release(desk)
    assert (row["state"], row["reason"], row["ended_us"]) == ("reverted", "it is bad", desk.clock.now_us())
    assert desk.one("SELECT epoch FROM stage WHERE key = 'revert'")["epoch"] == after.epoch
    assert desk.one("SELECT action FROM ledger ORDER BY seq DESC LIMIT 1")["action"] == "revert"


def test_a_revert_works_while_the_kill_switch_is_on(desk):
    release_id = desk.live(500)
    desk.kill()
    assert desk.revert(release_id).release_id is None


FULL = {
    "sqlite": (
        "CREATE TRIGGER full_disk BEFORE INSERT ON quarantine BEGIN SELECT RAISE(ABORT, 'full_disk'); END",
        "SELECT 1",  # the hand has dropped every trigger
    ),
    "postgres": (
        "ALTER TABLE quarantine ADD CONSTRAINT full_disk CHECK (false) NOT VALID",
        "ALTER TABLE quarantine DROP CONSTRAINT full_disk",
    ),
}


def test_a_revert_that_can_not_be_written_whole_is_not_written_at_all(desk, store_kind):
    release_id = desk.live(500)
    before, (fill, free) = desk.point, FULL[store_kind]
    desk.hand(fill)
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError), match="full_disk"):
        desk.revert(release_id)
    assert desk.point == before
    assert release(desk)["state"] == "canary"
    desk.hand(free)
    assert desk.revert(release_id).release_id is None


def test_where_no_release_is_live_there_is_none_to_revert(desk):
    point = desk.point
    with (
        pytest.raises(InvalidMove, match="support in production has no live release to revert"),
        desk.store.transaction(durable=True) as txn,
    ):
        releasing.revert_in(txn, point, Ending("ann", "it is bad", "hand"))
    assert len(desk.all("SELECT * FROM ledger")) == 1


@pytest.mark.parametrize(
    ("killed", "culprits", "on_revert", "fence"),
    [
        (False, (), "finish", "finish"),
        (False, (), "abort", "abort"),
        (False, ("completion",), "finish", "finish"),
        (False, ("completion", "data_leak"), "finish", "abort"),
        (True, (), "finish", "abort"),
    ],
)
def test_a_kill_and_what_is_not_tolerated_abort_whatever_the_policy_says(killed, culprits, on_revert, fence):
    terms = Terms(on_revert=on_revert, triggers=Triggers(("data_leak",)))
    point = ControlPoint("support", "production", "a" * 64, "proven", killed=killed, terms=terms)
    assert releasing.fence_of(point, culprits) == fence


def test_a_release_ends_without_culprits_unless_they_are_named():
    assert Ending("ann", "it is bad", "hand").culprits == ()


def test_a_reverted_release_can_not_be_promoted(desk):
    release_id = desk.live(500)
    after = desk.revert(release_id)
    with pytest.raises(InvalidMove, match=rf"can't promote {release_id}: it ended as reverted \(it is bad\)"):
        desk.promote(release_id)
    assert desk.point == after


@pytest.mark.parametrize("again", ["revert", "promote", "serve"])
def test_a_promoted_release_is_over(again, desk):
    release_id = desk.live(500)
    after = desk.promote(release_id)
    with pytest.raises(InvalidMove, match="it ended as promoted"):
        desk.serve(release_id, 100) if again == "serve" else getattr(desk, again)(release_id)
    assert desk.point == after


def test_a_promotion_makes_the_candidate_the_proven_baseline(desk):
    release_id = desk.live(500)
    point = desk.promote(release_id)
    assert (point.baseline, point.standing, point.candidate) == (desk.candidate, "proven", None)
    served = desk.one("SELECT * FROM served ORDER BY epoch DESC LIMIT 1")
    assert (served["bundle_id"], served["release_id"], served["epoch"]) == (
        desk.candidate,
        release_id,
        point.epoch,
    )


def test_nothing_is_promoted_while_the_kill_switch_is_on(desk):
    release_id = desk.live(500)
    before = desk.kill()
    with pytest.raises(InvalidMove, match="lastgood clear support"):
        desk.promote(release_id)
    assert desk.point == before


def test_a_candidate_that_was_changed_is_not_promoted(desk):
    release_id = desk.live(500)
    desk.hand("UPDATE bundle_part SET version = '9' WHERE bundle_id = ?", desk.candidate)
    with pytest.raises(CorruptRow):
        desk.promote(release_id)
    assert desk.point.release_id == release_id


def test_an_unknown_release(desk):
    with pytest.raises(NotFound, match="no release 'rel_none'; see `lastgood status`"):
        desk.revert("rel_none")


# -- what a revert leaves behind


@pytest.mark.parametrize("by", ["evidence", "trigger"])
def test_a_revert_by_proof_quarantines_until_a_readmission(by, desk):
    desk.revert(desk.live(), by)
    desk.clock.advance(1_000 * 24 * 60 * MINUTE)
    with pytest.raises(
        Quarantined, match=f"quarantined.*reverted by {by}: it is bad.*lastgood readmit support"
    ):
        desk.start()
    assert len(desk.all("SELECT * FROM release")) == 1


@pytest.mark.parametrize("by", ["hand", "lapse", "undecided"])
def test_a_revert_without_proof_only_cools_down(by, desk, tools):
    desk.revert(desk.live(terms=Terms(caps=tools.OPEN.caps, cooldown_us=10 * MINUTE)), by)
    desk.clock.advance(3 * MINUTE)
    with pytest.raises(Quarantined, match=r"cools down .* for another 7 min"):
        desk.start()
    desk.clock.advance(7 * MINUTE)
    assert desk.start()


def test_a_bundle_that_is_left_again_under_shorter_terms_rests_as_long_as_it_had_to(desk, tools):
    long, short = (Terms(caps=tools.OPEN.caps, cooldown_us=rest * MINUTE) for rest in (60, 5))
    desk.promote(desk.live(terms=long))
    desk.rollback()
    desk.revert(desk.live(terms=short, candidate=desk.register("third")))
    desk.rollback(to=desk.candidate)
    desk.rollback(to=desk.baseline)
    with pytest.raises(Quarantined, match=r"cools down .* for another 60 min"):
        desk.start()


def test_a_cool_down_never_shortens_a_quarantine(desk):
    desk.revert(desk.live(), "evidence")
    with desk.store.transaction() as txn:
        from lastgood.store import statements as sql

        values = {"agent": "support", "environment": "production", "bundle_id": desk.candidate, "since_us": 1}
        txn.run(sql.SET_QUARANTINE, **values, until_us=2, reason="later", release_id=None)
    with pytest.raises(Quarantined, match="is quarantined"):
        desk.start()


def test_quarantine_is_of_one_environment(desk):
    desk.revert(desk.live(), "evidence")
    control.adopt(desk.store, "support", "staging", desk.candidate, actor="ann", reason="")
    with desk.store.reading() as txn:
        assert txn.one("SELECT count(*) AS n FROM quarantine WHERE environment = 'staging'")["n"] == 0


def test_culprits_are_kept(desk):
    release_id = desk.live()
    releasing.revert(desk.store, release_id, Ending("flow", "worse", "evidence", ("completion", "incidents")))
    assert release(desk)["culprits"] == '["completion", "incidents"]'


def test_what_is_done_with_a_share_is_done_in_its_transaction_or_not_at_all(desk):
    release_id, seen = desk.start(), []

    def set_share(key, also):
        point = desk.point
        entry = Entry("share", "ann", "a tenth", release_id)
        stage = Stage(key, ReleaseState.CANARY, 0)
        given = {"share_bp": 1_000, "lease_us": 60_000_000, "entry": entry, "expect": Expect.of(point)}
        return releasing.set_share(desk.store, release_id, stage, **given, also=also)

    def broken(txn, row, point):
        raise RuntimeError("it can't be done")

    with pytest.raises(RuntimeError):
        set_share("canary:0", broken)
    assert desk.point.share_bp == 0
    set_share("canary:0", lambda txn, row, point: seen.append((row["id"], point.share_bp)))
    assert seen == [(release_id, 1_000)]
    assert desk.point.share_bp == 1_000
