import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import lastgood
from lastgood import agent as agents
from lastgood import batching, recorder
from lastgood.assigning import Request, assign
from lastgood.batching import Recorder
from lastgood.errors import CorruptRow, InvalidInput, NotFound, StoreUnavailable
from lastgood.outcome import Outcome
from lastgood.recorder import Report
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

SLOW = 60.0
fork = multiprocessing.get_context("fork")
#: nothing here depends on the kind of store, but for what says so itself
pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def take(desk):
    served, numbers = Serving(desk.store, desk.agent, desk.environment), iter(range(10_000))
    return lambda: assign(served, Request(f"unit-{next(numbers)}", "faq", None, None))


def report(run):
    return Report(run.run_id, Outcome(completed=True), origin=run.origin)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """What waits in another test is its own."""
    monkeypatch.setattr(batching, "_recorders", set())


def outcomes(desk):
    return desk.one("SELECT count(*) AS n FROM outcome")["n"]


def until(desk, number):
    for _ in range(200):
        if outcomes(desk) >= number:
            return
        time.sleep(0.02)
    pytest.fail(f"{outcomes(desk)} of {number} outcomes were written")


def test_without_an_interval_an_outcome_is_written_at_once(desk, take):
    run, writer = take(), Recorder(desk.store)
    assert writer.record(report(run), urgent=False)
    assert outcomes(desk) == 1
    assert not writer.record(report(run), urgent=False)


def test_with_an_interval_outcomes_wait_until_they_are_flushed(desk, take):
    writer = Recorder(desk.store, SLOW)
    for run in [take() for _ in range(3)]:
        writer.record(report(run), urgent=False)
    assert outcomes(desk) == 0
    assert writer.flush() == 3
    assert (outcomes(desk), writer.flush()) == (3, 0)


def test_the_flusher_writes_after_the_interval(desk, take):
    writer = Recorder(desk.store, 0.05)
    writer.record(report(take()), urgent=False)
    until(desk, 1)
    writer.record(report(take()), urgent=False)
    until(desk, 2)


def test_a_full_batch_does_not_wait_for_the_interval(desk, take):
    writer = Recorder(desk.store, SLOW, most=2)
    for _ in range(2):
        writer.record(report(take()), urgent=False)
    until(desk, 2)


def test_what_a_trigger_may_need_never_waits(desk, take):
    desk.live()
    assert Recorder(desk.store, SLOW).record(report(take()), urgent=True)
    assert outcomes(desk) == 1


def test_who_finds_the_queue_full_writes_it(desk, take):
    writer = Recorder(desk.store, SLOW, room=2)
    for run in [take() for _ in range(5)]:
        writer.record(report(run), urgent=False)
    assert outcomes(desk) == 4


def test_nothing_is_dropped_while_the_store_is_away(desk, take, monkeypatch):
    writer, runs = Recorder(desk.store, SLOW, room=2), [take() for _ in range(3)]
    real = recorder.record_batch

    def away(*_args, **_named):
        raise StoreUnavailable("away")

    monkeypatch.setattr(recorder, "record_batch", away)
    for run in runs[:2]:
        writer.record(report(run), urgent=False)
    with pytest.raises(StoreUnavailable):
        writer.record(report(runs[2]), urgent=False)
    monkeypatch.setattr(recorder, "record_batch", real)
    assert writer.flush() == 2
    assert {row["run_id"] for row in desk.all("SELECT run_id FROM outcome")} == {r.run_id for r in runs[:2]}


def test_the_flusher_outlives_a_store_that_is_away(desk, take, monkeypatch, caplog):
    real, failed = recorder.record_batch, threading.Event()

    def away(*_args, **_named):
        failed.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(recorder, "record_batch", away)
    Recorder(desk.store, 0.02).record(report(take()), urgent=False)
    assert failed.wait(5)
    monkeypatch.setattr(recorder, "record_batch", real)
    until(desk, 1)
    assert "1 outcomes wait for the store" in caplog.text


def test_one_that_can_not_be_written_does_not_hold_the_others_up(desk, take, monkeypatch, caplog):
    good, bad, real = take(), take(), recorder.record_batch

    def picky(store, reports, **named):
        if any(each.run_id == bad.run_id for each in reports):
            raise CorruptRow("its control point was edited")
        return real(store, reports, **named)

    monkeypatch.setattr(recorder, "record_batch", picky)
    writer = Recorder(desk.store, SLOW)
    for run in (bad, good):
        writer.record(report(run), urgent=False)
    assert writer.flush() == 1
    assert f"{bad.run_id} could not be recorded and counts as lost" in caplog.text


@pytest.mark.parametrize("interval_s", [-1, 61, float("nan")])
def test_an_interval_that_can_not_be(interval_s, desk):
    with pytest.raises(InvalidInput, match="LASTGOOD_FLUSH_MS"):
        Recorder(desk.store, interval_s)


def test_runs_of_an_agent_wait_for_one_another(lab):
    lastgood.configure(flush_ms=60_000)
    for unit in ("a", "b"):
        with lastgood.run("support", unit) as run:
            pass
    assert outcomes(lab) == 0
    lastgood.flush()
    assert outcomes(lab) == 2
    lastgood.report(run.id, edits=1)


def test_a_late_report_finds_the_outcome_that_waited(lab):
    lastgood.configure(flush_ms=60_000)
    with lastgood.run("support", "u") as run:
        pass
    lastgood.report(run.id, edits=1)
    assert outcomes(lab) == 1
    with pytest.raises(NotFound):
        lastgood.report("run_none", edits=1)


@pytest.mark.parametrize("text", ["soon", "200ms"])
def test_a_flush_interval_that_is_no_number(text, lab, monkeypatch):
    monkeypatch.setenv("LASTGOOD_FLUSH_MS", text)
    with pytest.raises(InvalidInput, match="is no number of milliseconds"), lastgood.run("support", "u"):
        pass


SCRIPT = """
import sys, lastgood
lastgood.configure(database=sys.argv[1], flush_ms=60_000)
for number in range(20):
    with lastgood.run("support", f"unit-{number}") as run:
        pass
print("ended", flush=True)
if len(sys.argv) > 2:
    sys.stdin.readline()
"""


def test_a_script_that_ends_loses_nothing(desk):
    subprocess.run([sys.executable, "-c", SCRIPT, desk.store.url], check=True, timeout=60)
    assert outcomes(desk) == 20


def test_a_kill_loses_what_waited_and_no_assignment(desk):
    """The runs whose outcomes it lost have rows, so that they count as lost."""
    command = [sys.executable, "-c", SCRIPT, desk.store.url, "wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ended\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert desk.one("SELECT count(*) AS n FROM run")["n"] == 20
    assert outcomes(desk) == 0


def _child(url, before):
    store = Store(url)
    assert before() == 0  # what the parent's queue holds is the parent's
    served = Serving(store, "support", "production")
    writer = next(iter(batching._recorders))
    writer.record(report(assign(served, Request("child", "faq", None, None))), urgent=False)


def test_a_fork_leaves_the_queue_to_the_parent_and_the_child_flushes_its_own(desk, take):
    writer = Recorder(desk.store, SLOW)
    writer.record(report(take()), urgent=False)
    child = fork.Process(target=_child, args=(desk.store.url, writer.flush))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert outcomes(desk) == 1
    assert writer.flush() == 1


def test_threads_share_a_recorder(desk, take):
    writer, runs = Recorder(desk.store, 0.01, most=5), [take() for _ in range(60)]
    threads = [
        threading.Thread(
            target=lambda part: [writer.record(report(run), urgent=False) for run in part], args=(part,)
        )
        for part in (runs[:20], runs[20:40], runs[40:])
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    until(desk, 60)
    assert outcomes(desk) == 60


def test_the_last_flush_says_what_it_could_not_write(desk, take, monkeypatch, caplog):
    writer = Recorder(desk.store, SLOW)
    writer.record(report(take()), urgent=False)
    monkeypatch.setattr(Recorder, "flush", lambda _self: (_ for _ in ()).throw(StoreUnavailable("gone")))
    batching._last_flush()
    assert "outcomes that waited when the process ended are not recorded: gone" in caplog.text


def test_a_process_registers_its_last_flush_once(desk):
    batching._at_exit()
    batching._at_exit()
    assert os.getpid() in batching._registered
    assert agents.flush_interval_s() == 0
