"""What a run had reported is there when another process goes on with it, as often as it is suspended."""

import pytest

from lastgood.assigning import Request, assign
from lastgood.errors import NotFound
from lastgood.outcome import Outcome
from lastgood.records import Ref
from lastgood.snapshot import Serving
from lastgood.suspending import Held, suspend, suspended


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


def test_a_reference_stays_a_reference(desk, run_id):
    suspend(desk.store, run_id, Held(Outcome(), 0.0, Ref("s3://bucket/input"), {"ref": "x", "more": 1}))
    found = held(desk, run_id)
    assert found.input == Ref("s3://bucket/input")
    assert found.output == {"ref": "x", "more": 1}


def test_an_unknown_run_can_not_be_suspended(desk):
    with pytest.raises(NotFound):
        suspend(desk.store, "run_none", Held(Outcome(), 0.0))
