"""What a run had reported is there when another process goes on with it, as often as it is suspended."""

import pytest

from lastgood.assigning import Request, assign
from lastgood.errors import BadToken, InvalidMove, NotFound, Refused
from lastgood.outcome import Outcome
from lastgood.recorder import record, record_event
from lastgood.records import Ref
from lastgood.snapshot import Serving
from lastgood.store import aftermath
from lastgood.suspending import Held, check_runtime, reopened, suspend, suspended


@pytest.fixture
def run_id(desk):
    served = Serving(desk.store, desk.agent, desk.environment)
    return assign(served, Request("u", "faq", None, None)).run_id


def held(desk, run_id):
    with desk.store.reading() as txn:
        return suspended(txn, run_id)


def test_a_run_that_was_never_suspended_holds_nothing(desk, run_id):
    assert held(desk, run_id) is None


def test_what_a_run_had_comes_back_as_it_was(desk, run_id):
    outcome = Outcome(validated=True, cost_usd=0.25, usage=[{"cost_usd": 0.25}], metrics={"tone": 0.5})
    kept = Held(outcome, 1.5, {"question": "why"}, ["because"])
    suspend(desk.store, run_id, kept)
    assert held(desk, run_id) == kept


def test_the_last_time_counts(desk, run_id):
    for worked_s in (1.0, 2.0):
        suspend(desk.store, run_id, Held(Outcome(), worked_s))
    assert held(desk, run_id) == Held(Outcome(), 2.0)


def waiting(desk):
    window = {"agent": desk.agent, "environment": desk.environment, "bad_bundle": desk.baseline}
    rows = desk.all(aftermath.SUSPENDED, **window, from_us=0, to_us=desk.clock.now_us(), most=9)
    return [row["id"] for row in rows]


def test_an_event_of_the_agent_s_own_that_is_called_suspended_suspends_nothing(desk, run_id):
    record_event(desk.store, run_id, "suspended", {"why": "a person has to approve"})
    assert (held(desk, run_id), waiting(desk)) == (None, [])
    suspend(desk.store, run_id, Held(Outcome(), 2.0))
    record_event(desk.store, run_id, "suspended", {})
    assert (held(desk, run_id), waiting(desk)) == (Held(Outcome(), 2.0), [run_id])


def test_a_reference_stays_a_reference(desk, run_id):
    suspend(desk.store, run_id, Held(Outcome(), 0.0, Ref("s3://bucket/input"), {"ref": "x", "more": 1}))
    found = held(desk, run_id)
    assert found.input == Ref("s3://bucket/input")
    assert found.output == {"ref": "x", "more": 1}


def test_an_unknown_run_can_not_be_suspended(desk):
    with pytest.raises(NotFound):
        suspend(desk.store, "run_none", Held(Outcome(), 0.0))


def gone_on(desk, run_id, token=None):
    with desk.store.reading() as txn:
        return reopened(txn, desk.store, run_id, token)


def test_a_run_is_gone_on_with_as_it_was_left(desk, run_id):
    kept = Held(Outcome(validated=True), 1.5)
    suspend(desk.store, run_id, kept)
    row, before = gone_on(desk, run_id)
    assert (row["id"], before) == (run_id, kept)


def test_a_run_that_has_ended_is_not_gone_on_with(desk, run_id):
    record(desk.store, run_id, "baseline", Outcome(completed=True), None, None)
    with pytest.raises(InvalidMove, match=f"run {run_id} has ended; report what comes later"):
        gone_on(desk, run_id)


def test_only_a_runs_own_token_goes_on_with_it(desk, run_id, monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUN_KEY", "k:" + "k" * 32)
    with pytest.raises(BadToken, match=run_id):
        gone_on(desk, run_id, "v1.k.run_other.b.1.9.signature")
    with pytest.raises(BadToken, match=run_id):
        gone_on(desk, run_id, "")


def test_a_process_that_is_not_the_runtime_a_bundle_needs_does_not_go_on(build):
    image = frozenset({"image:2"})
    bundle = build("answer kindly", "image:2")
    check_runtime("run_1", bundle, image)
    with pytest.raises(Refused, match=f"run run_1 is on {bundle.short}, which needs image:2; resume it in"):
        check_runtime("run_1", bundle, frozenset({"image:1"}))
