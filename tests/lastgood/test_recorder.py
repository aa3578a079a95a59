import json
from types import SimpleNamespace

import pytest

from lastgood import recorder, releasing
from lastgood.assigning import Request, assign
from lastgood.errors import InvalidInput, NotFound, StoreUnavailable
from lastgood.outcome import Outcome, checked
from lastgood.pricing import price_usd
from lastgood.recorder import Report
from lastgood.records import Records, Ref, kept
from lastgood.release import Terms
from lastgood.snapshot import Serving
from lastgood.store.connection import Transaction
from lastgood.triggers import RateTrigger, Triggers

HARD = Triggers(zero_tolerance=("data_leak",), rates=(RateTrigger("completion", 0.2),))


@pytest.fixture
def take(desk):
    served, numbers = Serving(desk.store, desk.agent, desk.environment), iter(range(10_000))

    def run(unit=None):
        return assign(served, Request(unit or f"unit-{next(numbers)}", "faq", None, None))

    return run


@pytest.fixture
def terms(tools):
    def make(**changes):
        return Terms(**{"caps": tools.OPEN.caps, **changes})

    return make


def end(desk, run, **fields):
    return recorder.record(desk.store, run.run_id, run.decision.arm, Outcome(**fields), None, None)


# -- what a report may say


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"completed": True}, {"completed": True}),
        ({"edits": 2, "incident": 0}, {"operator_edits": 2, "incidents": 0}),
        ({"cost": 1, "latency": 0.5}, {"cost_usd": 1.0, "latency_s": 0.5}),
        ({"score": 1, "liked": False}, {"metrics": {"score": 1, "liked": False}}),
    ],
)
def test_a_report_is_stored_under_its_own_names(given, stored):
    assert checked(given) == stored


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("completed", 1, "True or False"),
        ("validated", None, "True or False"),
        ("edits", 1.5, "a count, 0 or more"),
        ("incidents", -1, "a count, 0 or more"),
        ("cost_usd", float("nan"), "a number, 0 or more"),
        ("cost_usd", float("inf"), "a number, 0 or more"),
        ("latency_s", -0.1, "a number, 0 or more"),
        ("latency_s", True, "a number, 0 or more"),
        ("score", "high", "nor a number"),
        ("score", float("nan"), "nor a number"),
    ],
)
def test_a_report_that_can_not_be_names_the_field(name, value, wanted):
    with pytest.raises(InvalidInput, match=f"report: {name}=.*{wanted}"):
        checked({name: value})


# -- what is kept of an input and an output


@pytest.mark.parametrize(
    ("value", "records", "stored"),
    [
        (None, Records(), None),
        ("write to ann@example.com", Records(), "write to [email]"),
        ({"to": ["ann@example.com"]}, Records(), {"to": ["[email]"]}),
        ("ann@example.com", Records(redact=()), "ann@example.com"),
        (Ref("s3://bucket/key"), Records(), {"ref": "s3://bucket/key"}),
        (Ref("s3://bucket/key"), Records(keep="reference"), {"ref": "s3://bucket/key"}),
        (Ref("s3://bucket/key"), Records(keep="none"), None),
        ("text", Records(keep="reference"), None),
        ("text", Records(keep="none"), None),
        ("x" * 100, Records(max_bytes=50), {"left_out": "102 bytes", "limit": 50}),
        ("x" * 48, Records(max_bytes=50), "x" * 48),
    ],
)
def test_what_is_kept(value, records, stored):
    text = kept(value, records)
    assert (None if text is None else json.loads(text)) == stored


def test_the_terms_of_the_release_say_what_is_kept(desk, take, terms):
    desk.live(terms=terms(records=Records(keep="none")))
    run = take()
    recorder.record(desk.store, run.run_id, "candidate", Outcome(), "input", "output")
    assert dict(desk.one("SELECT input, output FROM outcome")) == {"input": None, "output": None}


# -- what a run costs


def test_a_call_is_priced_by_the_model_part(build):
    assert price_usd(build(), "small", 1_000_000, 500_000) == 2.0


def test_an_unknown_model_has_no_price_and_not_the_price_zero(build):
    assert price_usd(build(), "huge", 1_000_000, 1) is None


@pytest.mark.parametrize("data", ["text", [], {"prices": None}, {"prices": []}, {"prices": {"small": 3}}, {}])
def test_a_model_part_without_prices(data):
    part = SimpleNamespace(model=SimpleNamespace(data=data), short="b-1")
    assert price_usd(part, "small", 1, 1) is None


def test_calls_add_up():
    outcome = Outcome(usage=[{"cost_usd": 0.25}, {"cost_usd": 0.5}])
    outcome.settle_cost()
    assert outcome.cost_usd == 0.75


def test_one_call_of_unknown_price_makes_the_cost_unknown():
    outcome = Outcome(usage=[{"cost_usd": 0.25}, {"cost_usd": None}])
    outcome.settle_cost()
    assert outcome.cost_usd is None


def test_a_reported_cost_counts_before_the_sum():
    outcome = Outcome(cost_usd=9.0, usage=[{"cost_usd": 0.25}])
    outcome.settle_cost()
    assert outcome.cost_usd == 9.0


def test_usage_of_a_run_is_priced_and_recorded(lab):
    import lastgood

    with lastgood.run("support", "u") as run:
        assert run.usage("small", tokens_in=1_000_000, tokens_out=1_000_000) == 3.0
    found = lab.one("SELECT cost_usd, usage FROM outcome")
    assert found["cost_usd"] == 3.0
    assert json.loads(found["usage"]) == [
        {"model": "small", "tokens_in": 1_000_000, "tokens_out": 1_000_000, "cost_usd": 3.0}
    ]


@pytest.mark.parametrize("tokens", [-1, 1.5, None, "many"])
def test_a_number_of_tokens_that_can_not_be(tokens, lab):
    import lastgood

    with lastgood.run("support", "u") as run, pytest.raises(InvalidInput, match="is no number of tokens"):
        run.usage("small", tokens_in=tokens, tokens_out=1)


# -- zero tolerance


def test_an_event_that_is_not_tolerated_reverts_in_that_transaction(desk, take, terms):
    release_id = desk.live(5_000, terms(triggers=HARD))
    before, run = desk.point, take(desk.units(release_id, 5_000, candidate=True)[0])
    recorder.record_event(desk.store, run.run_id, "data_leak", {"to": "ann@example.com"})
    after = desk.point
    assert (after.epoch, after.candidate, after.release_id) == (before.epoch + 1, None, None)
    row = desk.one("SELECT * FROM release")
    assert (row["state"], row["culprits"]) == ("reverted", '["data_leak"]')
    assert f"data_leak in run {run.run_id}" in row["reason"]
    quarantine = desk.one("SELECT * FROM quarantine")
    assert (quarantine["bundle_id"], quarantine["until_us"]) == (desk.candidate, None)
    event = desk.one("SELECT name, detail FROM event")
    assert (event["name"], json.loads(event["detail"])) == ("data_leak", {"to": "[email]"})


def test_an_event_and_its_revert_are_one_transaction(desk, take, terms, monkeypatch):
    desk.live(terms=terms(triggers=HARD))
    run, before = take(), desk.point

    def fail(*_args, **_named):
        raise ZeroDivisionError

    monkeypatch.setattr(releasing, "_end", fail)
    with pytest.raises(ZeroDivisionError):
        recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.all("SELECT * FROM event") == []
    assert desk.point == before


def test_an_event_of_the_baseline_reverts_nothing(desk, take, terms):
    release_id = desk.live(5_000, terms(triggers=HARD))
    run = take(desk.units(release_id, 5_000, candidate=False)[0])
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.point.release_id == release_id


def test_an_event_that_is_tolerated_is_only_recorded(desk, take, terms):
    release_id = desk.live(terms=terms(triggers=HARD))
    recorder.record_event(desk.store, take().run_id, "note", {})
    assert desk.point.release_id == release_id


def test_an_event_of_an_earlier_release_does_not_revert_this_one(desk, take, terms):
    first = desk.live(terms=terms(triggers=HARD, cooldown_us=0))
    run = take()
    desk.revert(first)
    second = desk.live(terms=terms(triggers=HARD))
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.point.release_id == second


def test_an_event_after_a_promotion_reverts_nothing(desk, take, terms):
    release_id = desk.live(terms=terms(triggers=HARD))
    run = take()
    desk.promote(release_id)
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.point.baseline == desk.candidate


def test_an_event_through_a_run_reverts_while_it_works(lab):
    import lastgood

    lab.live(terms=Terms())
    with lastgood.run("support", "u") as run:
        assert run.arm == "candidate"
        run.event("wrong_action", what="refund")
        assert lab.point.release_id is None


def test_an_event_of_an_unknown_run(desk):
    with pytest.raises(NotFound, match="no run 'run_none'"):
        recorder.record_event(desk.store, "run_none", "note", {})


# -- rates


def test_failures_above_the_limit_revert_within_few_runs(desk, take, terms):
    release_id = desk.live(terms=terms(triggers=HARD))
    ended = 0
    while desk.point.release_id == release_id:
        end(desk, take(), status="failed", completed=False)
        ended += 1
        assert ended < 30
    row = desk.one("SELECT * FROM release")
    assert (row["state"], row["culprits"]) == ("reverted", '["completion"]')
    assert f"completion: {ended} bad of {ended} runs, limit 0.2" in row["reason"]
    assert desk.one("SELECT until_us FROM quarantine")["until_us"] is None


def test_failures_of_the_baseline_are_not_counted(desk, take, terms):
    release_id = desk.live(5_000, terms(triggers=HARD))
    for unit in desk.units(release_id, 5_000, candidate=False, number=30):
        end(desk, take(unit), status="failed", completed=False)
    assert desk.point.release_id == release_id
    assert desk.all("SELECT * FROM trigger_count") == []


def test_an_outcome_that_comes_twice_is_counted_once(desk, take, terms):
    desk.live(terms=terms(triggers=HARD))
    run = take()
    assert [end(desk, run, completed=False) for _ in range(3)] == [True, False, False]
    assert desk.one("SELECT n, bad FROM trigger_count")["n"] == 1


@pytest.mark.parametrize(
    ("metric", "fields", "bad"),
    [
        ("completion", {"completed": True}, 0),
        ("completion", {"completed": None}, 1),
        ("completion", {"status": "disconnected"}, 0),
        ("validation", {"validated": True}, 0),
        ("validation", {"validated": None}, 1),
        ("validation", {"status": "disconnected"}, 0),
        ("escalation", {"escalated": True}, 1),
        ("escalation", {"escalated": None}, 0),
        ("incidents", {"incidents": 2}, 1),
        ("incidents", {"incidents": 0}, 0),
    ],
)
def test_what_counts_as_bad(metric, fields, bad, desk, take, terms):
    desk.live(terms=terms(triggers=Triggers(rates=(RateTrigger(metric, 0.5),))))
    end(desk, take(), **fields)
    assert dict(desk.one("SELECT metric, n, bad FROM trigger_count")) == {
        "metric": metric,
        "n": 1,
        "bad": bad,
    }


def test_runs_of_an_ended_release_revert_no_other(desk, take, terms):
    first = desk.live(terms=terms(triggers=HARD, cooldown_us=0))
    late = [take() for _ in range(30)]
    desk.revert(first)
    second = desk.live(terms=terms(triggers=HARD))
    for run in late:
        end(desk, run, completed=False)
    assert desk.point.release_id == second


# -- batches


def test_a_run_whose_row_is_gone_is_refused_and_the_others_are_written(desk, take):
    good, gone = take(), take()
    desk.hand("DELETE FROM run WHERE id = ?", gone.run_id)
    reports = [Report(run.run_id, Outcome(), origin=run.origin) for run in (gone, good)]
    batch = recorder.record_batch(desk.store, reports)
    assert (batch.new, batch.refused) == (1, ((gone.run_id, f"no run {gone.run_id!r} in this store"),))
    with pytest.raises(NotFound, match=f"no run {gone.run_id!r}"):
        end(desk, gone)


def test_a_batch_of_nothing(desk):
    assert recorder.record_batch(desk.store, []) == recorder.Batch()


def test_an_error_of_ours_is_not_tried_again(desk, take, monkeypatch):
    run = take()
    broken = Report(run.run_id, Outcome(usage=[object()]))
    with pytest.raises(TypeError):
        recorder.record_batch(desk.store, [broken])
    assert desk.all("SELECT * FROM outcome") == []


def test_a_batch_that_never_gets_in_says_so(desk, take, monkeypatch):
    run = take()
    monkeypatch.setattr(Transaction, "insert_columns", never)
    with pytest.raises(StoreUnavailable, match="1 outcomes could not be written: others write the same runs"):
        recorder.record_batch(desk.store, [Report(run.run_id, Outcome(), origin=run.origin)])


def never(_txn, _table, _columns):
    return 0


def test_a_late_report_of_a_run_that_is_no_evidence_and_never_ended(desk, take):
    assert recorder.record_late(desk.store, take().run_id, {"edits": 1})
    assert desk.all("SELECT * FROM trigger_state") == []
