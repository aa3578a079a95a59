"""The copy of a real store holds what was told, and what is spoilt in the store is found by it."""

import random
import shutil
import sqlite3

import pytest

from lastgood import control, recorder, retention
from lastgood.assigning import Request, assign
from lastgood.outcome import Outcome
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tests.faults import common
from tests.soak import archive as archives
from tests.soak import checks
from tests.soak.archive import Archive
from tests.soak.checks import History
from tests.soak.diary import Diaries, Told
from tests.soak.faults import KILLED_UNTIL, KINDS, Faults


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A release that served thirty runs and was put back: its store's file, and what was told."""
    path = tmp_path_factory.mktemp("soak") / "lastgood.db"
    url = f"sqlite:///{path}"
    upgrade(url)
    store, diaries = Store(url), Diaries()
    _, candidate = common.adopted(store)
    common.opened(store, candidate)
    serving = Serving(store, common.AGENT, common.ENVIRONMENT)
    for number in range(30):
        made = assign(serving, Request(f"u{number}", "faq", None, None))
        decision = made.decision
        outcome = Outcome(completed=number % 3 > 0, cost_usd=0.01 * number)
        recorder.record(store, made.run_id, decision.arm, outcome, None, None)
        diaries.tried[f"u{number}"] = common.AGENT
        diaries.sure[made.run_id] = (number % 3 > 0, number)
        diaries.told.append(
            Told(
                "process 0", 0, f"u{number}", made.run_id, common.AGENT, made.bundle.id, decision.arm,
                decision.epoch, True, number, number,
            )
        )  # fmt: skip
    recorder.record_late(store, made.run_id, {"edits": 2}, key="k")
    control.rollback(store, common.AGENT, common.ENVIRONMENT, actor="ann", reason="by hand")
    store.close()
    with sqlite3.connect(path) as held:
        held.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    held.close()
    return path, diaries


@pytest.fixture
def served(template, tmp_path):
    """The archive of a store of this test's own, and what was told."""
    path, diaries = template
    archive = Archive(Store(f"sqlite:///{shutil.copy(path, tmp_path)}"))
    yield archive, diaries
    archive.store.close()


def spoil(archive, statement):
    with sqlite3.connect(archive.store.path) as held:
        held.execute(statement)
    held.close()


def test_a_store_is_copied_as_it_is(served):
    archive, diaries = served
    archive.snapshot()
    history = History(archive.states.values())
    ahead_us = archive.store.clock.boot_us() - archive.store.clock.now_us()
    assert {run.arm for run in archive.runs.values()} == {"baseline", "candidate"}
    assert checks.disallowed(history, archive.runs.values(), ahead_us) == []
    assert checks.lost(diaries, archive.runs) == []
    assert (archive.miscounted, list(history.gaps())) == ([], [])
    assert archive.cells > 2
    assert archive.verified((common.AGENT,), common.ENVIRONMENT) == []


def test_what_retention_deletes_was_copied(served, monkeypatch):
    archive, diaries = served
    monkeypatch.setattr(retention, "HISTORY_RUNS", 0)  # put back after what `prune` sets
    monkeypatch.setattr(archives, "HISTORY_RUNS", 0)
    archive.snapshot()
    spoil(archive, "UPDATE incident SET state = 'closed', close_reason = 'a test', closed_us = 1")
    archive.prune(retention.Limits(1, 1, 1))
    archive.snapshot()
    assert archive.pruned["runs"] == 30
    assert checks.lost(diaries, archive.runs) == []
    assert list(History(archive.states.values()).gaps()) == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM outcome WHERE run_id = (SELECT max(id) FROM run)", "lost"),
        ("UPDATE outcome SET completed = NOT completed WHERE run_id = (SELECT max(id) FROM run)", "lost"),
        ("UPDATE run SET arm = 'baseline' WHERE arm = 'candidate'", "lost"),
        ("UPDATE tally SET completed = completed + 1 WHERE arm = 'candidate'", "sums"),
        ("UPDATE run SET epoch = epoch + 1 WHERE arm = 'candidate'", "control"),
        ("UPDATE run SET assigned_us = assigned_us + 5000000 WHERE arm = 'candidate'", "control"),
    ],
)
def test_what_is_spoilt_in_the_store_is_found(served, statement, found):
    archive, diaries = served
    spoil(archive, statement)
    archive.snapshot()
    ahead_us = archive.store.clock.boot_us() - archive.store.clock.now_us()
    wrong = {
        "lost": checks.lost(diaries, archive.runs),
        "sums": archive.miscounted,
        "control": checks.disallowed(History(archive.states.values()), archive.runs.values(), ahead_us),
    }
    assert wrong[found] != []


def test_every_fault_comes_before_one_comes_again_and_long_lives_are_left_alone_later():
    faults = Faults(None, random.Random(7))
    assert {faults._drawn(0.1) for _ in KINDS} == set(KINDS)
    late = {faults._drawn(KILLED_UNTIL) for _ in range(3 * len(KINDS))}
    assert late == set(KINDS) - {"kill -9 of the service", "Prefect's server killed"}
