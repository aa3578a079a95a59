"""Recovery: every action of a bad window is undone once, or listed; whoever starts it again goes on."""

import json
from dataclasses import dataclass

import pytest

from lastgood import acting, incidents, isolation, profile, recorder, releasing
from lastgood.acting import Effect
from lastgood.errors import Conflict, CorruptRow, InvalidInput, InvalidMove, NotFound
from lastgood.incidents import Recovery
from lastgood.ledger import Entry
from lastgood.outcome import Outcome
from lastgood.points import Expect, read
from lastgood.release import ReleaseState
from lastgood.releasing import Ending, Stage
from lastgood.suspending import Held, suspend
from tasks import aftermath, recovery, recovery_leave, recovery_report
from tests.tasks import crm
from tests.tasks.conftest import HOUR, MINUTE, ONE_STEP, SECOND, World

HERE = "tests.tasks.crm"
SAFE = {"refund": {"call": f"{HERE}:refund", "in_doubt": "undo"}}
FAST = "recovery: {{rate_per_minute: {rate}, timeout: 0.2 s, attempts: 4{more}}}\n"
UNDO = {"tool": "charge_again", "kind": "refund", "arguments": {"order": 1}}


@dataclass
class Bad:
    """A world with a release of a bad bundle that serves everybody."""

    world: World
    release_id: str

    @property
    def store(self):
        return self.world.store

    def profile(self, undo):
        body = {"agent": "support", "owner": "", "routes": [], "replay": "", "undo": undo, "signals": {}}
        with self.store.transaction() as txn:
            profile.store_body(txn, "support", json.dumps(body), actor="ann")

    def run(self):
        return self.world.assign().run_id

    def act(self, run_id, target="", *, kind="refund", undo=UNDO, state="done", key=None):
        self.world.clock.advance(1)
        gated = acting.reserve(self.store, run_id, Effect(kind, target, undo or {}, key=key))
        if state != "reserved":
            acting.settle(self.store, gated.id, state)
        return gated.id

    def end(self, run_id):
        recorder.record(self.store, run_id, "candidate", Outcome(completed=True), None, None)

    def revert(self, by="trigger"):
        releasing.revert(self.store, self.release_id, Ending("ann", "it is bad", by))
        return self.incident.id

    @property
    def incident(self):
        with self.store.reading() as txn:
            return incidents.listed(txn, "support", "production")[0]

    def recover(self, **given):
        def sleep(seconds):
            self.world.clock.advance(round(seconds * 1_000_000))

        return recovery.recover(self.store, self.incident.id, sleep=sleep, **given)

    def books(self):
        return {row["action_id"]: row for row in self.world.rows("SELECT * FROM compensation")}

    @property
    def residue(self):
        return {x.action_id: x.cause for x in recovery_report.build(self.store, self.incident.id).residue}


@pytest.fixture
def at_crm(monkeypatch):
    monkeypatch.setattr(crm, "CRM", crm.Crm())
    return crm.CRM


def served(world, more="", *, terms="", rate=1_000_000, policy=ONE_STEP):
    """A release of the candidate to everybody."""
    release_id = world.start(policy + terms + FAST.format(rate=rate, more=more))
    with world.store.reading() as txn:
        expect = Expect.of(read(txn, "support", "production"))
    stage = Stage("canary", ReleaseState.CANARY, 0)
    entry = Entry("share", "ann", "all", release_id)
    releasing.set_share(
        world.store, release_id, stage, share_bp=10_000, lease_us=10 * HOUR, entry=entry, expect=expect
    )
    return Bad(world, release_id)


@pytest.fixture
def bad(world, at_crm):
    made = served(world)
    made.profile(SAFE)
    return made


# -- undoing


def test_every_action_is_undone_in_reverse_order_once_by_its_key(bad, at_crm):
    runs = [bad.run() for _ in range(3)]
    actions = [bad.act(run_id, f"o-{n}") for n, run_id in enumerate(runs * 2)]
    bad.revert()
    done = bad.recover()
    assert at_crm.order == [f"undo-{action}" for action in reversed(actions)]
    assert set(at_crm.calls.values()) == {1}
    assert (done.planned, done.calls, done.undone, done.state) == (6, 6, 6, Recovery.DONE)
    assert bad.incident.recovery is Recovery.DONE


def test_a_recovery_that_has_ended_calls_nobody_again(bad, at_crm):
    bad.act(bad.run(), "o-1")
    bad.revert()
    bad.recover()
    done = bad.recover()
    assert (done.planned, done.calls, sum(at_crm.calls.values())) == (0, 0, 1)


def test_runs_of_the_baseline_are_left_alone(world, at_crm):
    before = world.assign().run_id
    acting.settle(world.store, acting.reserve(world.store, before, Effect("refund", "o", UNDO)).id, "done")
    bad = served(world)
    bad.profile(SAFE)
    bad.revert()
    assert bad.recover().planned == 0
    assert at_crm.undone == {}


def test_a_handler_that_fails_is_called_again_with_the_same_key(bad, at_crm):
    at_crm.fail, at_crm.twice = 0.2, 0.3
    actions = [bad.act(bad.run(), f"o-{n}") for n in range(20)]
    bad.revert()
    bad.recover()
    assert set(at_crm.undone.values()) == set(actions)
    assert max(at_crm.calls.values()) > 1
    assert bad.residue == {}


def test_a_handler_that_hangs_is_left_behind_and_called_again(bad, at_crm):
    at_crm.hang, at_crm.hang_s = 0.5, 0.25
    actions = [bad.act(bad.run(), f"o-{n}") for n in range(4)]
    bad.revert()
    assert bad.recover().calls > 4
    assert set(at_crm.undone.values()) == set(actions)


def test_an_earlier_action_of_a_run_or_on_a_target_waits_for_the_later_one(bad, at_crm, monkeypatch):
    first, second = bad.run(), bad.run()
    one = bad.act(first, "ticket-1")
    two = bad.act(second, "ticket-1")
    other = bad.act(bad.run(), "ticket-2")
    bad.revert()
    real, failed = crm.refund, []

    def refund(undo):
        if undo.action_id == two and not failed:
            failed.append(two)
            raise ConnectionError("not now")
        return real(undo)

    monkeypatch.setattr(crm, "refund", refund)
    bad.recover()
    assert [at_crm.undone[key] for key in at_crm.order] == [other, two, one]


def test_it_keeps_to_the_rate(world, at_crm):
    bad = served(world, rate=60)
    bad.profile(SAFE)
    for n in range(5):
        bad.act(bad.run(), f"o-{n}")
    bad.revert()
    slept = []
    recovery.recover(bad.store, bad.incident.id, sleep=slept.append)
    assert sum(slept) == pytest.approx(5, abs=0.5)


# -- what can't be undone


def test_what_can_not_be_undone_is_listed_with_whom_it_touched(bad, at_crm):
    at_crm.refuses, at_crm.gone = {"o-2"}, {"o-3"}
    run_id = bad.run()
    ok = bad.act(run_id, "o-1")
    undeclared = bad.act(run_id, "ana", kind="message", undo=None)
    unknown = bad.act(run_id, "t-1", kind="ticket", undo={"tool": "reopen"})
    refused, gone = bad.act(run_id, "o-2"), bad.act(run_id, "o-3")
    bad.revert()
    bad.recover()
    assert bad.residue == {
        undeclared: "irreversible", unknown: "no_handler", refused: "refused", gone: "refused",
    }  # fmt: skip
    assert list(at_crm.undone.values()) == [ok]
    report = recovery_report.build(bad.store, bad.incident.id)
    left = {x.action_id: x for x in report.residue}
    unit = bad.world.rows("SELECT unit FROM run WHERE id = :id", id=run_id)[0]["unit"]
    assert (left[undeclared].target, left[undeclared].unit, left[undeclared].run_id) == ("ana", unit, run_id)
    assert left[refused].why == "o-2 was paid out"
    assert "o-3 is gone" in report.markdown
    assert bad.incident.recovery is Recovery.RESIDUE


def test_a_handler_that_never_answers_is_given_up_and_listed(bad, at_crm):
    bad.profile({"refund": f"{HERE}:broken"})
    action = bad.act(bad.run(), "o-1")
    bad.revert()
    done = bad.recover()
    assert (done.calls, bad.residue) == (4, {action: "exhausted"})
    assert "gave up after 4 calls: ConnectionError: nobody is there" in bad.books()[action]["last_error"]


def test_people_are_paged_for_a_residue_and_told_of_an_end(bad, at_crm):
    bad.act(bad.run(), "ana", kind="message", undo=None)
    bad.revert()
    bad.recover()
    notices = bad.world.rows("SELECT * FROM notice WHERE kind IN ('residue', 'recovered')")
    assert [(row["kind"], row["level"]) for row in notices] == [("residue", "page")]
    assert "1 action of b-" in notices[0]["title"]


def test_a_handler_that_can_not_be_imported_is_named_before_anything_runs(bad, at_crm):
    bad.profile({"refund": "tests.nowhere:refund"})
    action = bad.act(bad.run(), "o-1")
    bad.revert()
    (line,) = [
        line
        for line in recovery_report.said_before(recovery.dry_run(bad.store, bad.incident.id))
        if "refund" in line
    ]
    assert "1 refund can't be undone (no_handler): the handler tests.nowhere:refund can't be imported" in line
    bad.recover()
    assert bad.residue == {action: "no_handler"}


def test_what_a_person_saw_to_is_tried_again_with_the_same_key(bad, at_crm):
    bad.profile({})
    action = bad.act(bad.run(), "o-1")
    bad.revert()
    bad.recover()
    assert bad.residue == {action: "no_handler"}
    bad.profile(SAFE)
    assert recovery_leave.retry(bad.store, bad.incident.id) == 1
    bad.recover()
    assert at_crm.undone == {f"undo-{action}": action}
    assert (bad.residue, bad.incident.recovery) == ({}, Recovery.DONE)


# -- actions in doubt, late ones


@pytest.mark.parametrize("state", ["reserved", "failed"])
def test_an_action_in_doubt_is_undone_where_its_handler_is_safe(bad, at_crm, state):
    action = bad.act(bad.run(), "o-1", state=state)
    bad.revert()
    bad.world.clock.advance(11 * MINUTE)
    bad.recover()
    assert at_crm.undone == {f"undo-{action}": action}


@pytest.mark.parametrize("state", ["reserved", "failed"])
def test_an_action_in_doubt_is_listed_where_its_handler_is_not(bad, at_crm, state):
    bad.profile({"refund": f"{HERE}:refund"})
    action = bad.act(bad.run(), "o-1", state=state)
    bad.revert()
    bad.world.clock.advance(11 * MINUTE)
    bad.recover()
    assert (bad.residue, at_crm.undone) == ({action: "in_doubt"}, {})


def test_an_action_under_way_is_waited_for(bad, at_crm):
    action = bad.act(bad.run(), "o-1", state="reserved")
    bad.revert()
    assert bad.recover().state is Recovery.WAITING
    assert at_crm.undone == {}
    acting.settle(bad.store, action, "done")
    bad.world.clock.advance(MINUTE)
    assert [each.parameters["incident"] for each in aftermath.due(bad.store)] == [bad.incident.id]
    assert bad.recover().state is Recovery.DONE
    assert at_crm.undone == {f"undo-{action}": action}


def test_an_action_that_settles_after_it_was_taken_for_dead_is_undone_again_under_another_key(bad, at_crm):
    action = bad.act(bad.run(), "o-1", state="reserved")
    bad.revert()
    bad.world.clock.advance(11 * MINUTE)
    bad.recover()
    bad.world.clock.advance(SECOND)
    acting.settle(bad.store, action, "done")
    assert bad.incident.recovery is Recovery.DUE
    bad.recover()
    assert at_crm.order == [f"undo-{action}", f"undo-{action}-2"]


@pytest.fixture
def finishing(world, at_crm):
    """A release whose runs may finish after its revert."""
    made = served(world, terms="on_revert: finish\n")
    made.profile(SAFE)
    return made


def test_a_late_action_reopens_a_recovery_that_has_ended(finishing, at_crm):
    run_id = finishing.run()
    first = finishing.act(run_id, "o-1")
    finishing.revert()
    assert finishing.recover().state is Recovery.DONE
    late = finishing.act(run_id, "o-2")
    assert finishing.incident.recovery is Recovery.DUE
    assert finishing.recover().state is Recovery.DONE
    assert list(at_crm.undone.values()) == [first, late]


def test_a_late_action_that_comes_while_it_is_recovered_is_not_missed(finishing, at_crm, monkeypatch):
    run_id = finishing.run()
    finishing.act(run_id, "o-1")
    finishing.revert()
    real, late = recovery.Job.end, []

    def end(self, next_us):
        late.append(finishing.act(run_id, "o-2"))
        real(self, next_us)

    monkeypatch.setattr(recovery.Job, "end", end)
    assert finishing.recover().state is Recovery.DUE
    monkeypatch.undo()
    monkeypatch.setattr(crm, "CRM", at_crm)
    assert finishing.recover().state is Recovery.DONE
    assert late[0] in at_crm.undone.values()


def test_a_keyed_action_that_is_made_again_after_it_was_undone_is_undone_again(finishing, at_crm):
    run_id = finishing.run()
    action = finishing.act(run_id, "o-1", state="failed", key="k")
    finishing.revert()
    finishing.recover()
    assert finishing.act(run_id, "o-1", key="k") == action
    finishing.recover()
    assert at_crm.order == [f"undo-{action}", f"undo-{action}-2"]


# -- a person's leave


def test_a_kind_that_the_policy_names_waits_for_a_person(world, at_crm):
    bad = served(world, ", approve: [refund]")
    bad.profile({**SAFE, "note": f"{HERE}:refund"})
    run_id = bad.run()
    asked = bad.act(run_id, "o-1")
    behind = bad.act(bad.run(), "o-1", kind="note", undo={"kind": "note"})
    bad.revert()
    assert bad.recover().state is Recovery.WAITING
    assert list(at_crm.undone.values()) == [behind]
    assert aftermath.due(bad.store) == []
    assert recovery_report.build(bad.store, bad.incident.id).asked == {"refund": 1}
    with pytest.raises(InvalidInput, match="has no 'message' to undo"):
        recovery_leave.approve(bad.store, bad.incident.id, "message", actor="ann")
    assert recovery_leave.approve(bad.store, bad.incident.id, "refund", actor="ann", reason="I looked") == 1
    assert len(aftermath.due(bad.store)) == 1
    assert bad.recover().state is Recovery.DONE
    assert asked in at_crm.undone.values()
    (row,) = bad.world.rows("SELECT * FROM recovery_approval")
    assert (row["actor"], row["reason"], row["actions"]) == ("ann", "I looked", 1)


# -- quarantine and waiting work


def test_outputs_and_memory_entries_are_quarantined(bad, at_crm):
    run_id, other = bad.run(), bad.run()
    bad.end(run_id)
    bad.act(run_id, "ana/likes", kind="memory_write", undo=None)
    bad.revert()
    good = bad.run()
    done = bad.recover()
    assert (done.outputs, done.memories) == (2, 1)
    with bad.store.reading() as txn:
        held = [isolation.is_quarantined(txn, key) for key in (run_id, other, "ana/likes", good)]
    assert held == [True, True, True, False]


def test_runs_that_wait_to_be_resumed_are_ended_and_reservations_come_back(world, at_crm):
    caps = "caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}"
    release = served(
        world, policy=ONE_STEP.replace(caps, "caps: {spend_usd_per_hour: 5, spend_usd_per_run: 0.5}")
    )
    run_id = release.run()
    suspend(release.store, run_id, Held(Outcome(), 0.1))
    open_ = release.run()
    assert len(world.rows("SELECT * FROM reservation")) == 2
    release.revert()
    done = release.recover()
    assert (done.cancelled, world.rows("SELECT * FROM reservation")) == (1, [])
    (row,) = world.rows("SELECT * FROM outcome WHERE run_id = :id", id=run_id)
    assert row["status"] == "disconnected"
    release.end(open_)  # which still may


# -- one process, and crashes


def test_only_one_process_recovers_an_incident(bad, at_crm):
    bad.act(bad.run(), "o-1")
    bad.revert()
    first = recovery.Job(recovery.Window.of(bad.store, bad.incident.id))
    first.take(forced=False)
    assert aftermath.due(bad.store) == []
    with pytest.raises(Conflict, match="wait, or if that process is dead"):
        bad.recover()
    assert bad.recover(take_over=True).state is Recovery.DONE
    with pytest.raises(Conflict, match="took the recovery"):
        first.end(0)


def test_a_dead_process_is_followed_by_the_next_once_its_time_is_over(bad, at_crm):
    bad.act(bad.run(), "o-1")
    bad.revert()
    recovery.Job(recovery.Window.of(bad.store, bad.incident.id)).take(forced=False)
    bad.world.clock.advance(MINUTE)
    assert len(aftermath.due(bad.store)) == 1
    assert bad.recover().state is Recovery.DONE


@pytest.mark.parametrize("when", ["die_before", "die_after"])
def test_a_crash_around_the_effect_loses_and_doubles_nothing(bad, at_crm, when, monkeypatch):
    actions = [bad.act(bad.run(), f"o-{n}") for n in range(6)]
    bad.revert()
    setattr(at_crm, when, 0.4)
    monkeypatch.setattr("tasks.undoing.Caller._within", lambda self, function, undo: undone(function, undo))
    deaths = 0
    for _ in range(40):
        try:
            bad.recover(take_over=True)
            break
        except crm.Died:
            deaths += 1
    assert deaths > 0
    assert set(at_crm.undone.values()) | set(bad.residue) == set(actions)
    assert len(at_crm.order) == len(set(at_crm.order))


def undone(function, undo):
    from tasks.undoing import of_result

    return of_result(function(undo))


def test_nothing_is_called_again_after_its_success_was_recorded(bad, at_crm):
    at_crm.fail, at_crm.twice = 0.3, 0.2
    for n in range(10):
        bad.act(bad.run(), f"o-{n}")
    bad.revert()
    bad.recover()
    called = at_crm.calls.copy()
    bad.store.close()
    bad.recover(take_over=True)
    assert at_crm.calls == called


# -- what starts by itself


@pytest.mark.parametrize(("by", "starts"), [("evidence", 1), ("hand", 1), ("undecided", 0), ("lapse", 0)])
def test_it_starts_by_itself_after_the_reverts_that_the_policy_names(bad, at_crm, by, starts):
    bad.revert(by)
    assert [(each.flow, each.parameters) for each in aftermath.due(bad.store)] == [
        ("recover_data", {"incident": bad.incident.id})
    ] * starts


def test_a_policy_that_a_hand_changed_holds_up_no_other_incident(bad):
    bad.revert()
    bad.world.tamper("UPDATE release SET policy = '{\"name\": 1}'")
    assert [each.parameters["incident"] for each in aftermath.due(bad.store)] == [bad.incident.id]
    with pytest.raises(CorruptRow):
        bad.recover()


def test_what_a_person_began_goes_on_by_itself(finishing, at_crm):
    run_id = finishing.run()
    finishing.act(run_id, "o-1")
    finishing.revert("undecided")
    finishing.recover()
    finishing.act(run_id, "o-2")
    assert len(aftermath.due(finishing.store)) == 1


# -- bad input


def test_an_unknown_incident_is_named(world):
    with pytest.raises(NotFound, match="inc_none"):
        recovery.recover(world.store, "inc_none")


def test_an_incident_without_runs_is_done_at_once(bad):
    bad.revert()
    assert list(recovery_report.said_before(recovery.dry_run(bad.store, bad.incident.id))) == [
        "0 outputs and 0 memory entries to quarantine",
        "no action to undo",
    ]
    assert bad.recover().state is Recovery.DONE


def test_a_dry_run_says_what_is_due_and_changes_nothing(bad, at_crm):
    run_id = bad.run()
    bad.act(run_id, "o-1")
    bad.act(run_id, "ana", kind="message", undo=None)
    bad.revert()
    before = bad.world.dump()
    said = list(recovery_report.said_before(recovery.dry_run(bad.store, bad.incident.id)))
    assert bad.world.dump() == before
    why = "nothing is declared that undoes a message: declare `undo` in the tools part"
    assert said == [
        "1 output and 0 memory entries to quarantine",
        f"1 refund to undo by {HERE}:refund",
        f"1 message can't be undone (irreversible): {why}",
    ]


def test_a_run_whose_bundle_is_damaged_is_recovered_all_the_same(bad, at_crm):
    action = bad.act(bad.run(), "o-1")
    bad.revert()
    bad.world.tamper("UPDATE bundle_part SET version = '9'")
    bad.recover()
    assert list(at_crm.undone.values()) == [action]


def test_a_cancelled_run_is_not_resumed(bad, at_crm, monkeypatch):
    import lastgood
    from lastgood import agent as agents

    run_id = bad.run()
    suspend(bad.store, run_id, Held(Outcome(), 0.1))
    bad.revert()
    bad.recover()
    monkeypatch.setattr(agents, "_stores", {bad.store.url: bad.store})
    monkeypatch.setattr(agents, "_configured", {"database": bad.store.url})
    with pytest.raises(InvalidMove, match="has ended"), lastgood.resume(run_id):
        pass
