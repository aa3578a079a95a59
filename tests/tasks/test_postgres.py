"""Whole releases on Postgres: to promote, to revert, and through a kill of the driver at a commit."""

import multiprocessing
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from sqlalchemy import Boolean
from sqlmodel import SQLModel

from lastgood import ledger, releasing
from lastgood.errors import LiveRelease
from lastgood.store import statements as sql
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tasks import comparison, driving, watching

fork = multiprocessing.get_context("fork")
MINUTE, SECOND = 60_000_000, 1_000_000
POLICY = """
name: small
lost_after: 1 min
guardrails: {completion: {margin: 30 points}}
alpha: {promote: 0.2, revert: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: 5000}
steps: [{share: 40%, min_runs: 5, rule_out: 10}, {share: 60%, min_runs: 5}]
"""


def copy(source, target):
    """Bring every row of one store into another that is empty."""
    with source.reading() as held, target.transaction() as txn:
        for table in SQLModel.metadata.sorted_tables:
            rows = [dict(row) for row in held.all(f"SELECT * FROM {table.name}")]
            for name in (column.name for column in table.columns if isinstance(column.type, Boolean)):
                rows = [{**row, name: None if row[name] is None else bool(row[name])} for row in rows]
            if rows:
                txn.many(sql.insert(table.name, tuple(rows[0])), rows)
        for name in ("run", "late_report", "event", "notice"):
            txn.one(f"SELECT setval(pg_get_serial_sequence('{name}', 'seq'), 10000)")


@pytest.fixture(scope="session")
def seasoned_postgres(postgres, stores):
    """The world whose baseline has served 300 runs, in a database."""
    seasoned = stores["seasoned"]
    url = postgres.make()
    upgrade(url)
    store = Store(url, seasoned.clock)
    copy(seasoned.store, store)
    store.close()
    seasoned.store.close()
    return replace(seasoned, store=store)


@pytest.fixture
def world(postgres, seasoned_postgres):
    url, clock = postgres.make(seasoned_postgres.store.url), replace(seasoned_postgres.clock)
    made = replace(seasoned_postgres, store=Store(url, clock), clock=clock)
    yield made
    made.store.close()
    postgres.drop(url)


def sound(world):
    """One move a row, no epoch left out, the point as the ledger says."""
    ledger.verify(world.store, world.agent, world.environment)
    epochs = [row["epoch"] for row in world.rows("SELECT epoch FROM ledger ORDER BY seq")]
    assert all(later - earlier in {0, 1} for earlier, later in pairwise(epochs))
    assert world.point()["epoch"] == epochs[-1]


def test_a_good_candidate_is_promoted_and_every_verdict_is_recomputed(world):
    release_id = world.start(POLICY)
    moves = world.drive(release_id, runs=80, good=0.9, candidate=1.0)
    assert moves == ["open", "arm", "compare", "ramp", "arm", "compare", "promote"]
    row, point = world.row(release_id), world.point()
    assert (row["state"], point["baseline"], point["standing"]) == ("promoted", world.candidate, "proven")
    looks = world.rows("SELECT decision FROM look ORDER BY seq")
    assert [str(v.decision) for v in comparison.replay(world.store, release_id)] == [
        look["decision"] for look in looks
    ]
    sound(world)


def test_a_harmful_candidate_is_reverted_and_quarantined(world):
    release_id = world.start(POLICY)
    moves = world.drive(release_id, runs=80, good=0.9, candidate=0.0)
    assert moves[-1] == "revert"
    assert world.point()["baseline"] == world.baseline
    assert world.rows("SELECT bundle_id FROM quarantine") == [{"bundle_id": world.candidate}]
    sound(world)


def test_a_second_release_is_told_of_the_first(world):
    first = world.start(POLICY)
    with pytest.raises(LiveRelease, match=first):
        world.start()


def _committing(name):
    """Whether the function of this name commits just now."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == name and "releasing" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _drive_and_die(world, release_id, name, when):
    """Drive a release in this process until it dies at a commit."""
    real = Store.transaction

    @contextmanager
    def transaction(self, **given):
        with real(self, **given) as txn:
            yield txn
            if when == "before" and _committing(name):
                os.kill(os.getpid(), signal.SIGKILL)
        if _committing(name):
            os.kill(os.getpid(), signal.SIGKILL)

    Store.transaction = transaction
    world.drive(release_id, runs=80, good=0.9, candidate=1.0)


@pytest.mark.parametrize(("name", "when"), [("set_share", "after"), ("promote", "before")])
def test_a_release_killed_at_a_commit_is_finished_by_the_next_driver(name, when, world):
    release_id = world.start(POLICY)
    world.store.close()
    child = fork.Process(target=_drive_and_die, args=(world, release_id, name, when))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    newest = world.rows("SELECT max(assigned_us) AS us FROM run")[0]["us"]
    world.clock.wall_us, world.served = max(newest, world.clock.wall_us) + 3 * MINUTE, 20_000
    sound(world)
    for _ in range(30):
        if not driving.live_releases(world.store):
            break
        driving.evaluate(world.store, release_id, "the schedule")
        sound(world)
        world.work(80, candidate=1.0, every=2 * SECOND)
    assert world.row(release_id)["state"] == "promoted"
    assert world.ledger().count("promote") == 1


def test_a_watch_answers_as_on_sqlite(world):
    release_id = world.start(POLICY.replace("lost_after: 1 min", "lost_after: 1 min\nwatch: {time: 30 min}"))
    world.until(driving.begin(world.store, release_id, "me"), "compare")
    world.work(120, every=SECOND, candidate=0.2)
    ending = releasing.Ending("ann", "it looks worse", by="hand")
    releasing.revert(world.store, release_id, ending)
    world.work(181, every=10 * SECOND)
    found = watching.keep_up(world.store)
    assert [(str(each.verdict.answer), each.stage) for each in found] == [("fixed", "fast")]
    world.clock.advance(2 * MINUTE)
    assert [each.stage for each in watching.keep_up(world.store)] == ["final"]
    assert world.rows("SELECT watch FROM incident") == [{"watch": "fixed"}]


def test_a_recovery_undoes_what_was_done_even_again_after_it_had_ended(world, monkeypatch):
    from lastgood import acting
    from lastgood.incidents import Recovery
    from tests.tasks import crm
    from tests.tasks.test_recovery import SAFE, served

    monkeypatch.setattr(crm, "CRM", crm.Crm(fail=0.3))
    bad = served(world, terms="on_revert: finish\n")
    bad.profile(SAFE)
    run_id = bad.run()
    done, doubtful = bad.act(run_id, "o-1"), bad.act(run_id, "o-2", state="reserved")
    listed = bad.act(run_id, "ana", kind="message", undo=None)
    bad.revert()
    bad.world.clock.advance(11 * MINUTE)
    assert bad.recover().state is Recovery.RESIDUE
    bad.world.clock.advance(SECOND)
    acting.settle(bad.store, doubtful, "done")
    late = bad.act(run_id, "o-3")
    assert bad.recover().state is Recovery.RESIDUE
    assert set(crm.CRM.undone) == {
        f"undo-{done}", f"undo-{doubtful}", f"undo-{doubtful}-2", f"undo-{late}",
    }  # fmt: skip
    assert bad.residue == {listed: "irreversible"}
