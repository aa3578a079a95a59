import multiprocessing
import os
import signal
import sqlite3

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood import agent as agents
from lastgood import control, incidents, isolation, ledger, recorder, retention
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.cli import main
from lastgood.errors import CorruptRow, InvalidInput
from lastgood.isolation import Held
from lastgood.outcome import Outcome
from lastgood.release import Terms
from lastgood.retention import DAY_US, Limits
from lastgood.snapshot import Serving
from lastgood.store import tables
from lastgood.store.connection import Store
from lastgood.triggers import RateTrigger, SpendTrigger, Triggers

fork = multiprocessing.get_context("fork")
#: tables that pruning never touches, each for a reason
KEPT = {
    *("bundle", "bundle_part", "part", "policy"),  # what a digest stands for
    *("control_point", "served", "quarantine", "release", "stop", "refusal"),  # who serves, and the story
    "reservation",  # goes when it is settled or expires
    "ledger_anchor",
    "agent_profile",  # as long as the agent
    "access_token",  # who was let in, ended ones too
    *("watch", "drift", "regression_case"),  # the story of a release: a row each, not a row a run
    "suite_part",  # goes when its suite is joined
    *("span", "unmapped"),  # of telemetry: a span goes within a day, or with its run; a row a kind
    *("beat", "drift_watch"),  # one row a process' name, a serving bundle
    *("approval", "approval_code", "cooldown"),  # who decided what, and what still holds
    *("incident", "recovery_approval"),  # what was learnt, and who let something be undone
}


def run(desk, unit, *, report=True, conversation=None):
    """One run with everything that hangs on it."""
    served = Serving(desk.store, desk.agent, desk.environment)
    made = assign(served, Request(unit, "faq", None, conversation))
    recorder.record_event(desk.store, made.run_id, "note", {})
    if report:
        recorder.record(desk.store, made.run_id, made.decision.arm, Outcome(completed=True), None, None)
        recorder.record_late(desk.store, made.run_id, {"edits": 1})
    return made.run_id


def count(desk, table):
    return desk.one(f"SELECT count(*) AS n FROM {table}")["n"]


def clear(desk):
    control.clear(desk.store, "support", "production", actor="ann", reason="")


def prune(desk, **limits):
    return retention.prune(desk.store, Limits(**limits), actor="ann")


@pytest.fixture
def old(desk, monkeypatch):
    """A release that ended a hundred days ago, with runs from before, in and after it; no history is kept."""
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)
    run(desk, "before", conversation="c")
    release_id = desk.live(10_000)
    run(desk, "in")
    desk.revert(release_id)
    (incident,) = desk.incidents
    incidents.close(desk.store, incident.id, actor="ann", reason="a test")
    desk.clock.advance(100 * DAY_US)
    run(desk, "after")
    return desk


def test_every_table_has_a_limit_or_a_reason_to_stay():
    pruned = {"run", "conversation", "ledger", *retention.OF_RUN, *retention.COUNTERS, *retention.EVIDENCE}
    pruned |= set(retention.TOLD)
    assert pruned | KEPT == set(tables.SQLModel.metadata.tables)
    assert not pruned & KEPT


def test_every_table_that_hangs_on_a_run_goes_before_it():
    hanging = {
        name
        for name, table in tables.SQLModel.metadata.tables.items()
        if any(key.target_fullname == "run.id" for key in table.foreign_keys)
    }
    assert hanging - KEPT == set(retention.OF_RUN)


def test_runs_go_with_all_that_they_reported_once_they_are_too_old(old):
    assert prune(old).runs == 2
    assert [row["unit"] for row in old.all("SELECT unit FROM run")] == ["after"]
    assert [count(old, table) for table in ("outcome", "event", "late_report")] == [1, 1, 1]
    assert count(old, "unit_seen") == 0
    assert count(old, "conversation") == 0


def test_what_people_were_told_goes_and_what_they_are_still_to_be_told_stays(old):
    from lastgood import outbox

    outbox.route_new(old.store)  # no profile: nobody is told
    old.kill()  # young, and not routed yet
    values = "id, 'r', 'slack', agent, environment, level, seq, ?, 0, 0, 0, '', 0, NULL, ''"
    delivery = f"INSERT INTO delivery SELECT {values}"
    old.hand(f"{delivery} FROM notice WHERE kind = 'adopted'", "waiting")
    old.hand(f"{delivery} FROM notice WHERE kind = 'started'", "sent")
    prune(old)
    assert [row["kind"] for row in old.all("SELECT kind FROM notice ORDER BY seq")] == ["adopted", "killed"]
    assert [row["state"] for row in old.all("SELECT state FROM delivery")] == ["waiting"]


def test_a_dry_run_counts_what_goes_and_changes_nothing(old):
    limits = Limits(evidence_us=95 * DAY_US, ledger_us=95 * DAY_US)
    before = [count(old, table) for table in tables.SQLModel.metadata.tables]
    planned = retention.prune(old.store, limits, actor="ann", dry_run=True)
    assert [count(old, table) for table in tables.SQLModel.metadata.tables] == before
    assert retention.prune(old.store, limits, actor="ann") == planned
    assert (planned.runs, planned.conversations, planned.releases, planned.ledger) == (2, 1, 1, 4)


def test_pruning_again_finds_nothing(old):
    prune(old, evidence_us=95 * DAY_US, ledger_us=95 * DAY_US)
    assert prune(old, evidence_us=95 * DAY_US, ledger_us=95 * DAY_US) == retention.Pruned()


def test_nothing_goes_that_is_younger_than_its_limit(old):
    assert prune(old, runs_us=101 * DAY_US) == retention.Pruned()
    assert count(old, "run") == 3


@pytest.mark.parametrize(("state", "kept"), [(Held.RECALLED, 1), (Held.CLEARED, 0), (None, 0)])
def test_what_was_recalled_stays_out_of_use_whatever_its_age(state, kept, old):
    (incident,) = old.incidents
    with old.store.transaction() as txn:
        assert isolation.outputs_in(txn, incident, after=0, last=9) == 1
        (item,) = txn.all("SELECT key FROM quarantine_item")
    if state is not None:
        isolation.move(old.store, item["key"], state, actor="ann", reason="I read it")
    assert prune(old).runs == 2 - kept
    with old.store.reading() as txn:
        assert isolation.is_quarantined(txn, item["key"]) == bool(kept)


def test_what_triggers_count_of_a_promoted_bundle_stays_as_long_as_it_serves(desk):
    triggers = Triggers((), rates=(RateTrigger("completion", 0.5),), spend=SpendTrigger(1.0))
    desk.promote(desk.live(terms=Terms(caps=Caps(None, None, None), triggers=triggers)))
    run(desk, "u")
    desk.clock.advance(100 * DAY_US)
    prune(desk)
    assert (count(desk, "trigger_count"), count(desk, "trigger_state")) == (1, 1)
    desk.promote(desk.live(candidate=desk.register("third")))
    prune(desk)
    assert (count(desk, "trigger_count"), count(desk, "trigger_state")) == (0, 0)


def test_the_runs_of_a_live_release_stay_whatever_their_age(desk, monkeypatch):
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)
    desk.live(5_000)
    for number in range(6):
        run(desk, f"unit-{number}")
    desk.clock.advance(1_000 * DAY_US)
    done = prune(desk)
    assert (done.runs, count(desk, "run"), count(desk, "unit_seen")) == (0, 6, 6)
    assert desk.point.release_id is not None


def test_the_newest_runs_of_a_bundle_in_service_stay_as_its_history(desk, monkeypatch):
    monkeypatch.setattr(retention, "HISTORY_RUNS", 2)
    for number in range(5):
        run(desk, f"unit-{number}")
    desk.clock.advance(100 * DAY_US)
    assert prune(desk).runs == 3
    assert [row["unit"] for row in desk.all("SELECT unit FROM run ORDER BY seq")] == ["unit-3", "unit-4"]


def test_a_run_with_an_open_reservation_stays(desk, monkeypatch):
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)
    release_id = desk.live(10_000, Terms(caps=Caps()))
    run(desk, "silent", report=False)
    desk.revert(release_id)
    desk.clock.advance(100 * DAY_US)
    assert count(desk, "reservation") == 1
    assert prune(desk).runs == 0
    assert count(desk, "cap_use") > 0


def test_a_run_with_an_action_that_was_never_settled_stays(desk, hand, monkeypatch):
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)
    run_id = run(desk, "acting")
    hand(
        desk.store,
        "INSERT INTO action (id, run_id, kind, target, state, undo, reserved_us)"
        " VALUES ('act_1', ?, 'message', '', 'reserved', '{}', 1)",
        run_id,
    )
    desk.clock.advance(100 * DAY_US)
    assert prune(desk).runs == 0
    hand(desk.store, "UPDATE action SET state = 'done'")
    assert prune(desk).runs == 1
    assert count(desk, "action") == 0


def test_runs_of_another_agent_are_pruned_by_what_that_agent_needs(old, build):
    from lastgood import registry

    other = registry.register(old.store, "sales", build("sales"), author="ann")[0].bundle.id
    control.adopt(old.store, "sales", "production", other, actor="ann", reason="")
    assert prune(old).runs == 2


# -- evidence


def judge(desk, release_id):
    """Rows as a look leaves them."""
    with desk.store.transaction() as txn:
        key = {"release_id": release_id}
        txn.insert("evidence", {**key, "state": "{}", "sealed": "{}", "looks": 1})
        verdict = {"at_us": txn.now_us, "decision": "hold", "verdict": "{}"}
        txn.insert("look", {**key, "seq": 1, **verdict})


def test_the_evidence_of_ended_releases_goes_and_the_release_says_when(desk):
    release_id = desk.live(500)
    judge(desk, release_id)
    desk.revert(release_id)
    desk.clock.advance(731 * DAY_US)
    assert prune(desk).releases == 1
    assert [count(desk, table) for table in ("evidence", "look", "stage")] == [0, 0, 0]
    assert desk.one("SELECT pruned_us FROM release")["pruned_us"] == desk.clock.now_us()


def test_the_evidence_that_proves_the_bundle_in_service_stays(desk):
    proof = desk.live(500)
    judge(desk, proof)
    desk.promote(proof)
    desk.clock.advance(2_000 * DAY_US)
    assert prune(desk).releases == 0
    assert count(desk, "evidence") == 1
    successor = desk.live(500, candidate=desk.register("third"))
    desk.promote(successor)
    assert prune(desk).releases == 1
    assert count(desk, "evidence") == 0


def test_the_evidence_of_a_live_release_stays(desk):
    judge(desk, desk.live(500))
    desk.clock.advance(2_000 * DAY_US)
    assert prune(desk).releases == 0
    assert count(desk, "evidence") == 1


def test_a_pruning_does_no_more_for_all_the_releases_that_were_pruned_before(desk, monkeypatch):
    writes, begin = [], Store.transaction

    def counted(self, **given):
        writes.append(given)
        return begin(self, **given)

    monkeypatch.setattr(Store, "transaction", counted)
    prune(desk)
    before = len(writes)
    for text in ("second", "third", "fourth"):
        release_id = desk.live(500, candidate=desk.register(text))
        judge(desk, release_id)
        desk.revert(release_id)
    desk.clock.advance(731 * DAY_US)
    assert prune(desk).releases == 3
    writes.clear()
    prune(desk)
    assert len(writes) == before


# -- the ledger


def test_a_pruned_ledger_verifies_from_its_anchor_and_says_so_itself(old):
    before, _ = ledger.verify(old.store, "support", "production")
    old.kill()
    assert prune(old, ledger_us=95 * DAY_US, evidence_us=95 * DAY_US).ledger == before
    last, head = ledger.verify(old.store, "support", "production")
    assert last == before + 2
    rows = old.all("SELECT * FROM ledger ORDER BY seq")
    assert [row["action"] for row in rows] == ["kill", "prune"]
    assert (rows[-1]["actor"], rows[-1]["hash"]) == ("ann", head)
    assert f"rows up to {before} were pruned" in rows[-1]["reason"]
    assert old.point.killed


def test_pruning_again_and_again_keeps_the_chain(old):
    for _ in range(3):
        old.kill()
        old.clock.advance(100 * DAY_US)
        clear(old)
        assert prune(old, ledger_us=95 * DAY_US, evidence_us=95 * DAY_US).ledger > 0
        ledger.verify(old.store, "support", "production")


def test_a_ledger_that_is_pruned_whole_still_restores_its_control_point(desk, hand):
    desk.clock.advance(3_000 * DAY_US)
    before = desk.point
    assert prune(desk).ledger == 1
    assert ledger.verify(desk.store, "support", "production")[0] == 2
    hand(desk.store, "UPDATE control_point SET share_bp = 9000")
    assert desk.rollback() == before


def test_the_ledger_of_a_live_release_stays(desk):
    desk.kill()
    clear(desk)
    desk.live(500)
    desk.clock.advance(3_000 * DAY_US)
    assert prune(desk).ledger == 3
    actions = [row["action"] for row in desk.all("SELECT action FROM ledger ORDER BY seq")]
    assert actions == ["start", "share", "prune"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger_anchor",
        "UPDATE ledger_anchor SET hash = 'x'",
        "UPDATE ledger_anchor SET seq = seq + 1",
        "UPDATE ledger SET reason = 'edited' WHERE action = 'prune'",
        "DELETE FROM ledger WHERE action = 'prune'",
    ],
)
def test_tampering_with_a_pruned_ledger_is_found(statement, old, hand):
    old.kill()
    prune(old, ledger_us=95 * DAY_US, evidence_us=95 * DAY_US)
    hand(old.store, statement)
    with pytest.raises(CorruptRow, match="is broken at row"):
        ledger.verify(old.store, "support", "production")


def test_a_forged_anchor_does_not_hide_a_cut_beginning(old, hand):
    row = old.one("SELECT * FROM ledger WHERE seq = 2")
    hand(old.store, "DELETE FROM ledger WHERE seq <= 2")
    hand(old.store, "INSERT INTO ledger_anchor VALUES ('support', 'production', 2, ?)", row["hash"])
    with pytest.raises(CorruptRow, match="is broken at row 2"):
        ledger.verify(old.store, "support", "production")


def test_a_ledger_that_does_not_verify_is_not_pruned(old, hand):
    hand(old.store, "UPDATE ledger SET actor = 'mallory' WHERE seq = 1")
    before = count(old, "run")
    with pytest.raises(CorruptRow):
        prune(old)
    assert count(old, "run") == before


def test_ledger_rows_that_no_anchor_covers_can_not_be_deleted(old):
    broken = (sqlite3.IntegrityError, psycopg.IntegrityError)
    old.kill()
    prune(old, ledger_us=95 * DAY_US, evidence_us=95 * DAY_US)
    with pytest.raises(broken, match="ledger rows are immutable"), old.store.transaction() as txn:
        txn.run("DELETE FROM ledger WHERE action = 'kill'")


def test_a_rollback_after_pruning_finds_what_it_needs(old):
    old.promote(old.live(500, candidate=old.register("third")))
    old.clock.advance(1_000 * DAY_US)
    prune(old)
    assert old.rollback().baseline == old.baseline


# -- short transactions, crashes


def test_no_transaction_of_a_large_pruning_holds_the_store_up_for_long(desk, monkeypatch):
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)
    first = desk.store
    row = {
        **dict.fromkeys(("unit", "task_type", "risk", "reason"), "x"),
        "agent": "support",
        "environment": "production",
        "bundle_id": desk.baseline,
        "arm": "baseline",
        "epoch": 1,
        "eligible": False,
        "share_bp": 0,
        "assigned_us": desk.clock.now_us(),
    }
    from lastgood.store import statements as sql

    with first.transaction() as txn:
        statement = sql.insert("run", (*row, "id"))
        txn.many(statement, [{**row, "id": f"run_{number}"} for number in range(600)])
    desk.clock.advance(100 * DAY_US)
    sizes = []
    real = retention.Pace.after

    def after(self, seconds):
        sizes.append(self.size)
        real(self, seconds)

    monkeypatch.setattr(retention.Pace, "after", after)
    assert prune(desk).runs == 600
    assert max(sizes) <= 2_000
    assert len(sizes) > 2


@pytest.mark.parametrize(("took", "grows"), [(0.001, 1), (0.007, 0), (0.05, -1)])
def test_a_batch_grows_or_shrinks_by_how_long_the_last_one_took(took, grows):
    pace = retention.Pace()
    before = pace.size
    pace.after(took)
    assert (pace.size > before) - (pace.size < before) == grows


def test_a_batch_never_shrinks_to_nothing_nor_grows_without_end():
    slow, quick = retention.Pace(), retention.Pace()
    for _ in range(50):
        slow.after(1)
        quick.after(0)
    assert (slow.size, quick.size) == (50, 2_000)


def _prune_and_die(desk, commits):
    """Prune in a child that is killed after some of its commits."""
    seen = 0
    real = retention._Work._batch

    def batch(self, work):
        nonlocal seen
        count = real(self, work)
        seen += 1
        if seen == commits:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    retention._Work._batch = batch
    prune(desk, ledger_us=95 * DAY_US, evidence_us=95 * DAY_US)


@pytest.mark.parametrize("commits", [1, 4, 7, 9])
def test_a_crash_leaves_nothing_that_pruning_again_does_not_finish(commits, old):
    old.kill()
    child = fork.Process(target=_prune_and_die, args=(old, commits))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    ledger.verify(old.store, "support", "production")
    prune(old, ledger_us=95 * DAY_US, evidence_us=95 * DAY_US)
    assert [row["unit"] for row in old.all("SELECT unit FROM run")] == ["after"]
    rows = old.all("SELECT action FROM ledger ORDER BY seq")
    assert rows[0]["action"] == "kill"
    assert count(old, "stage") == 0
    ledger.verify(old.store, "support", "production")


def test_a_revert_is_not_starved_by_a_pruning(desk, monkeypatch):
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)
    for number in range(40):
        run(desk, f"unit-{number}")
    desk.clock.advance(100 * DAY_US)
    release_id = desk.live(500)
    desk.store.close()
    child = fork.Process(target=prune, args=(desk,))
    child.start()
    desk.revert(release_id)
    child.join(30)
    assert child.exitcode == 0
    assert desk.point.release_id is None


# -- small parts


@pytest.mark.parametrize(("text", "days"), [("1d", 1), ("2w", 14), ("1y", 365), (" 48 h ", 2)])
def test_an_age_is_read(text, days):
    assert retention.age(text) == days * DAY_US


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "1 month"])
def test_an_age_that_is_none_says_how_one_is_written(text):
    with pytest.raises(InvalidInput, match="for example 90d"):
        retention.age(text)


@pytest.mark.parametrize(
    "limits", [{"runs_us": 0}, {"evidence_us": DAY_US}, {"ledger_us": DAY_US}, {"runs_us": 800 * DAY_US}]
)
def test_evidence_and_ledger_outlive_run_records(limits):
    with pytest.raises(InvalidInput, match="no shorter"):
        Limits(**limits)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(gaps=st.lists(st.integers(0, 3), max_size=8), before=st.integers(0, 20))
def test_the_last_run_before_a_time_is_found(gaps, before, tmp_path_factory, migrated):
    import shutil

    from lastgood.store.connection import Store

    path = shutil.copy(migrated, tmp_path_factory.mktemp("runs") / "lastgood.db")
    held = sqlite3.connect(path, isolation_level=None)
    held.execute("PRAGMA foreign_keys=OFF")
    times, now = [], 0
    for number, gap in enumerate(gaps):
        now += gap
        times.append(now)
        held.execute(
            "INSERT INTO run (seq, id, agent, environment, unit, task_type, risk, bundle_id, arm, epoch,"
            " eligible, reason, share_bp, assigned_us)"
            " VALUES (?, ?, '', '', '', '', '', '', '', 1, 0, '', 0, ?)",
            [number * 7 + 1, str(number), now],
        )
    held.close()
    store = Store(f"sqlite:///{path}")
    with store.reading() as txn:
        found = retention.last_before(txn, before)
    store.close()
    assert found == max((n * 7 + 1 for n, at in enumerate(times) if at < before), default=found)
    assert all(at < before for n, at in enumerate(times) if n * 7 + 1 <= found)


def test_the_commands_count_first_then_prune_then_verify(old, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", old.store.url)
    monkeypatch.setenv("LASTGOOD_KEEP_LEDGER", "95d")
    monkeypatch.setattr(agents, "_stores", {old.store.url: old.store})
    words = ["db", "prune", "--evidence", "95d", "--actor", "ann"]
    said = [CliRunner().invoke(main, [*words, *more]).output for more in (["--dry-run"], [], [])]
    assert said[0] == "would prune 2 runs, 1 conversation, the evidence of 1 release, 4 ledger rows\n"
    assert said[1] == "pruned 2 runs, 1 conversation, the evidence of 1 release, 4 ledger rows\n"
    assert said[2].startswith("pruned 0 runs")
    told = CliRunner().invoke(main, ["ledger", "verify"]).output
    assert "sound from row 5 on (rows up to 4 were pruned)" in told
