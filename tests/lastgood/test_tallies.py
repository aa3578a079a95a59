"""The sums equal a recount of the rows, whatever came in whatever order."""

import json
import multiprocessing
import os
import signal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import recorder, tallies
from lastgood.assigning import Request, assign
from lastgood.clock import SystemClock
from lastgood.outcome import Outcome
from lastgood.recorder import Report, record_batch
from lastgood.release import Terms
from lastgood.snapshot import Serving
from lastgood.store import statements as sql
from lastgood.store.connection import Store
from lastgood.tallies import Tallies, merged, micro, values_of

_FLAGS = st.none() | st.booleans()
_COUNTS = st.none() | st.integers(0, 5)
_AMOUNTS = st.none() | st.floats(0, 1e6)
OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(["ended", "failed", "disconnected"]),
    completed=_FLAGS,
    validated=_FLAGS,
    escalated=_FLAGS,
    incidents=_COUNTS,
    cost_usd=_AMOUNTS,
    operator_edits=_COUNTS,
    latency_s=_AMOUNTS,
    infra_failure=_FLAGS,
    metrics=st.dictionaries(st.sampled_from(["score", "liked"]), st.floats(-1e6, 1e6) | st.booleans()),
)
fork = multiprocessing.get_context("fork")
CELL = ("rel_1", "faq", 0, "candidate")


@pytest.fixture
def take(desk):
    served, numbers = Serving(desk.store, desk.agent, desk.environment), iter(range(10_000))

    def run(task_type="faq"):
        return assign(served, Request(f"unit-{next(numbers)}", task_type, None, None))

    return run


def report(run, **fields):
    return Report(run.run_id, Outcome(**fields), origin=run.origin)


def recount(desk):
    """Sums by cell and name, computed anew from outcomes and late reports, one run at a time."""
    late = {}
    for row in desk.all("SELECT run_id, fields FROM late_report ORDER BY seq"):
        late.setdefault(row["run_id"], []).append(json.loads(row["fields"]))
    found = {}
    for row in desk.all(
        "SELECT run.*, outcome.* FROM run JOIN outcome ON run_id = id WHERE release_id IS NOT NULL"
    ):
        known = merged(recorder.outcome_of(row), late.get(row["id"], ()))
        block = -1 if row["block"] is None else row["block"]
        sums = found.setdefault(
            (row["release_id"], row["task_type"], block, row["arm"]), dict.fromkeys(sql.SUMS, 0)
        )
        sums["runs"] += 1
        if known.status in {"failed", "disconnected"}:
            sums[known.status] += 1
        for name in ("completed", "validated", "escalated", "infra_failure", "incidents", "operator_edits"):
            if getattr(known, name) is not None:
                sums[f"{name}_n"] += 1
                sums[name] += int(getattr(known, name))
        if known.cost_usd is not None:
            sums["cost_n"] += 1
            sums["cost_micro"] += int(known.cost_usd * 1e6 + 0.5)
        if known.latency_s is not None:
            sums["latency_n"] += 1
            sums["latency_us"] += int(known.latency_s * 1e6 + 0.5)
    return found


def live(desk, table="tally"):
    names = ("release_id", "task_type", "block", "arm")
    return {
        tuple(row[name] for name in names): {name: row[name] for name in sql.SUMS}
        for row in desk.all(f"SELECT * FROM {table}")
        if any(row[name] for name in sql.SUMS)
    }


@given(st.lists(OUTCOMES, max_size=8), st.randoms())
def test_the_order_of_outcomes_does_not_matter(outcomes, random):
    one, other = Tallies(), Tallies()
    for outcome in outcomes:
        one.add(CELL, outcome)
    shuffled = list(outcomes)
    random.shuffle(shuffled)
    for outcome in shuffled:
        other.add(CELL, outcome)
    assert (one.cells(), one._metrics) == (other.cells(), other._metrics)


@given(st.lists(OUTCOMES, min_size=1, max_size=8), st.data())
def test_what_is_taken_out_again_leaves_nothing(outcomes, data):
    out = data.draw(st.sampled_from(outcomes))
    one, other = Tallies(), Tallies()
    for outcome in [*outcomes, out]:
        one.add(CELL, outcome)
    one.add(CELL, out, -1)
    for outcome in outcomes:
        other.add(CELL, outcome)
    assert one.cells() == other.cells()
    assert {key: value for key, value in one._metrics.items() if value[0]} == other._metrics


@given(st.lists(OUTCOMES, min_size=1, max_size=8), st.data())
def test_outcomes_added_together_are_the_sum_of_each(outcomes, data):
    cut = data.draw(st.integers(1, len(outcomes)))
    one, other = Tallies(), Tallies()
    for outcome in outcomes:
        one.add(CELL, outcome)
    for part in (outcomes[:cut], outcomes[cut:]):
        if part:
            told = zip(*((*values_of(outcome), "and more") for outcome in part), strict=True)
            other.add_all([CELL] * len(part), list(told))
    assert one.cells() == other.cells()


@given(st.floats(0, 1e9))
def test_millionths_are_the_same_number_with_the_other_sign(amount):
    assert micro(-amount) == -micro(amount)


def test_a_metric_that_is_too_large_is_not_summed():
    found = Tallies()
    found.add(CELL, Outcome(metrics={"bytes": 2e9, "score": 0.5}))
    assert found._metrics == {(CELL, "score"): [1, 500_000]}


def test_the_sums_equal_a_recount_after_batches_duplicates_and_late_reports(desk, take):
    desk.live(5_000)
    runs = [take("faq" if number % 3 else "billing") for number in range(40)]
    reports = [
        report(
            run,
            completed=number % 4 != 0,
            cost_usd=0.1 * number,
            latency_s=number / 7,
            metrics={"score": 0.1},
        )
        for number, run in enumerate(runs)
    ]
    batches = [record_batch(desk.store, reports[:25]), record_batch(desk.store, [*reports[15:], reports[39]])]
    assert [batch.new for batch in batches] == [25, 15]
    assert set(batches[1].duplicates) == {run.run_id for run in [*runs[15:25], runs[39]]}
    for run in runs[::5]:
        recorder.record_late(desk.store, run.run_id, {"edits": 3, "completed": False, "score": 1.0})
        recorder.record_late(desk.store, run.run_id, {"edits": 1})
    assert live(desk) == recount(desk)
    metric = desk.one("SELECT sum(n) AS n, sum(total_micro) AS total FROM metric_tally")
    assert dict(metric) == {"n": 40, "total": 32 * 100_000 + 8 * 1_000_000}


def test_a_run_of_no_release_has_no_cell(desk, take):
    record_batch(desk.store, [report(take())])
    assert desk.one("SELECT count(*) AS n FROM outcome")["n"] == 1
    assert live(desk) == {}


def test_a_late_report_that_comes_before_the_outcome_is_in_the_sums(desk, take):
    desk.live()
    early, other = take(), take()
    recorder.record_late(desk.store, early.run_id, {"incidents": 2})
    assert live(desk) == {}
    record_batch(desk.store, [report(early, completed=True, incidents=0), report(other, incidents=1)])
    assert live(desk) == recount(desk)
    assert desk.one("SELECT incidents FROM tally")["incidents"] == 3


def test_what_is_sealed_follows_no_late_report(desk, take):
    release_id = desk.live()
    runs = [take() for _ in range(3)]
    record_batch(desk.store, [report(run, completed=True) for run in runs])
    for _ in range(2):
        with desk.store.transaction() as txn:
            tallies.seal(txn, release_id, (), [("all", 0)])
        recorder.record_late(desk.store, runs[0].run_id, {"completed": False})
    assert desk.one("SELECT completed FROM tally")["completed"] == 2
    assert desk.one("SELECT completed FROM sealed_tally")["completed"] == 3


def test_only_the_named_blocks_of_a_slice_are_sealed(desk, take):
    release_id = desk.live(terms=Terms(strata=("faq",), block_size=2))
    runs = [take(task_type) for task_type in ("faq", "faq", "faq", "billing", "travel")]
    record_batch(desk.store, [report(run) for run in runs])
    with desk.store.transaction() as txn:
        assert tallies.seal(txn, release_id, ("faq",), []) == 0
        assert tallies.seal(txn, release_id, ("faq",), [("faq", 1), ("other", 0)]) == 3
    assert [key[1:3] for key in sorted(live(desk, "sealed_tally"))] == [
        ("billing", 0),
        ("faq", 1),
        ("travel", 0),
    ]


@pytest.mark.parametrize("statement", ["UPDATE sealed_tally SET runs = 9", "DELETE FROM sealed_tally"])
def test_a_sealed_row_refuses_a_change(statement, desk, take):
    release_id = desk.live()
    record_batch(desk.store, [report(take())])
    with desk.store.transaction() as txn:
        tallies.seal(txn, release_id, (), [("all", 0)])
    with pytest.raises(Exception, match="immutable"), desk.store.transaction() as txn:
        txn.run(statement)
    assert desk.one("SELECT runs FROM sealed_tally")["runs"] == 1


def test_two_batches_write_their_cells_in_one_order():
    found = Tallies()
    for task_type in ("z", "a", "m"):
        found.add(("rel_1", task_type, 0, "candidate"), Outcome())
    cells = list(found.cells())
    assert all(one < other for one, other in pairwise(cells))


def _work(url, number):
    store = Store(url)
    served = Serving(store, "support", "production")
    for batch in range(1_000):
        runs = [assign(served, Request(f"u-{number}-{batch}-{n}", "faq", None, None)) for n in range(5)]
        reports = [report(run, completed=run.run_id[-1] < "H", cost_usd=0.01 * batch) for run in runs]
        record_batch(store, reports, durable=False)
        record_batch(store, reports[:2], durable=False)
        recorder.record_late(store, runs[0].run_id, {"edits": 2})


def test_the_sums_equal_a_recount_after_kills(store, tools):
    live_store = Store(store.url)
    desk = tools.Desk(live_store, SystemClock())
    desk.adopt()
    desk.live(5_000)
    live_store.close()
    for number in range(3):
        before = desk.one("SELECT count(*) AS n FROM outcome")["n"]
        live_store.close()
        child = fork.Process(target=_work, args=(store.url, number))
        child.start()
        while desk.one("SELECT count(*) AS n FROM outcome")["n"] < before + 15:
            assert child.is_alive()
        os.kill(child.pid, signal.SIGKILL)
        child.join(30)
        assert live(desk) == recount(desk)
    assert desk.one("SELECT count(*) AS n FROM outcome")["n"] >= 45
    live_store.close()
