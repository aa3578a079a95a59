"""Triggers where a run is recorded: in every state, by late reports, and in the watch after a promotion."""

import dataclasses
import json

import pytest

from lastgood import judging, recorder
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.judging import Charge, Court
from lastgood.moves import ControlPoint
from lastgood.outcome import Outcome
from lastgood.recorder import Report, record_batch
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Stage
from lastgood.snapshot import Serving
from lastgood.tallies import Origin
from lastgood.triggers import RateTrigger, RepeatTrigger, SpendTrigger, Triggers

MINUTE = 60_000_000


@pytest.fixture
def take(desk):
    served, numbers = Serving(desk.store, desk.agent, desk.environment), iter(range(10_000))
    return lambda unit=None: assign(served, Request(unit or f"unit-{next(numbers)}", "faq", None, None))


@pytest.fixture
def terms(tools):
    def make(**changes):
        triggers = changes.pop("triggers", Triggers(("data_leak",)))
        return Terms(**{"caps": tools.OPEN.caps, "cooldown_us": 0, "triggers": triggers, **changes})

    return make


def end(desk, run, **fields):
    return recorder.record(
        desk.store, run.run_id, run.decision.arm, Outcome(**fields), None, None, run.origin
    )


def rate(metric, limit=0.05):
    return Triggers((), rates=(RateTrigger(metric, limit),))


def release(desk):
    return desk.one("SELECT * FROM release ORDER BY started_us DESC, id DESC LIMIT 1")


def until_reverted(desk, step, most=60):
    for number in range(1, most):
        step()
        if desk.point.release_id is None:
            return number
    pytest.fail(f"{most} runs and no revert")


# -- who answers for a run

POINT = ControlPoint("support", "production", "a" * 64, "proven", terms=Terms(watch_us=100))
LIVE = dataclasses.replace(POINT, release_id="rel_2", candidate="b" * 64)
#: a baseline since microsecond 1,000, by a release
TAIL = {"release_id": "rel_1", "since_us": 1_000}


def origin(arm="baseline", release_id=None, bundle_id="a" * 64):
    return Origin("support", "production", release_id, "faq", None, arm, bundle_id, 0)


@pytest.mark.parametrize(
    ("point", "tail", "run", "charge"),
    [
        (LIVE, None, origin("candidate", "rel_2", "b" * 64), Charge("rel_2", "b" * 64, 0)),
        (LIVE, TAIL, origin("candidate", "rel_2", "b" * 64), Charge("rel_2", "b" * 64, 0)),
        (LIVE, None, origin("baseline", "rel_2"), None),
        (LIVE, TAIL, origin("baseline", "rel_2"), Charge("rel_1", "a" * 64, 1_000, restores=True)),
        (POINT, TAIL, origin(), Charge("rel_1", "a" * 64, 1_000, restores=True)),
        (POINT, TAIL, origin("candidate", "rel_1"), Charge("rel_1", "a" * 64, 1_000, restores=True)),
        (POINT, TAIL, origin("candidate", "rel_1", "b" * 64), None),
        (POINT, {**TAIL, "release_id": None}, origin(), None),
        (POINT, None, origin("candidate", None), None),
    ],
)
def test_a_run_is_charged_to_the_release_that_its_bundle_serves_by(point, tail, run, charge):
    assert Court(point, tail, durable=True).charge(run, 1_050) == charge


@pytest.mark.parametrize(
    ("now_us", "after_watch", "restores"),
    [(1_099, "notify", True), (1_100, "notify", False), (1_100, "revert", True), (1_000, "revert", True)],
)
def test_a_trigger_restores_by_itself_while_the_watch_lasts_and_later_as_the_policy_says(
    now_us, after_watch, restores
):
    point = dataclasses.replace(POINT, terms=Terms(watch_us=100, after_watch=after_watch))
    assert Court(point, TAIL, durable=True).charge(origin(), now_us).restores is restores


@pytest.mark.parametrize(("tail", "watches"), [(None, False), ({"release_id": None}, False), (TAIL, True)])
def test_the_baseline_is_watched_where_a_release_made_it(tail, watches):
    assert Court(POINT, tail, durable=True).watches_baseline is watches


@pytest.mark.parametrize(("cost_usd", "counted"), [(None, 0.5), (0.0, 0.0), (0.25, 0.25)])
def test_a_run_that_does_not_tell_its_cost_counts_with_the_most_that_it_may_spend(cost_usd, counted):
    assert judging._cost(POINT, Outcome(cost_usd=cost_usd)) == counted


# -- late reports


@pytest.mark.parametrize(
    ("metric", "late"),
    [
        ("corrections", {"edits": 2}),
        ("incidents", {"incidents": 1}),
        ("completion", {"completed": False}),
        ("tool_malformed", {"tool_malformed": True}),
    ],
)
def test_late_reports_feed_the_rates(metric, late, desk, take, terms):
    desk.live(terms=terms(triggers=rate(metric)))
    runs = [take() for _ in range(12)]
    for run in runs:
        end(desk, run, completed=True, validated=True)
    left = iter(runs)
    assert until_reverted(desk, lambda: recorder.record_late(desk.store, next(left).run_id, late)) > 2
    assert release(desk)["culprits"] == f'["{metric}"]'


def test_a_late_report_that_takes_a_harm_back_takes_it_out_of_the_count(desk, take, terms):
    desk.live(terms=terms(triggers=rate("incidents")))
    run = take()
    end(desk, run, incidents=1)
    for incidents in (2, 0, 0):
        recorder.record_late(desk.store, run.run_id, {"incidents": incidents})
    assert dict(desk.one("SELECT n, bad FROM trigger_count")) == {"n": 1, "bad": 0}


def test_the_same_late_report_counts_once_by_its_key(desk, take, terms):
    desk.live(terms=terms(triggers=rate("corrections")))
    run = take()
    end(desk, run)
    told = [recorder.record_late(desk.store, run.run_id, {"edits": 1}, key="ticket-7") for _ in range(3)]
    assert told == [True, False, False]
    assert recorder.record_late(desk.store, run.run_id, {"edits": 0}, key="ticket-8")
    assert len(desk.all("SELECT * FROM late_report")) == 2


def test_a_late_report_of_a_baseline_run_judges_nobody(desk, take, terms):
    release_id = desk.live(5_000, terms(triggers=rate("corrections")))
    run = take(desk.units(release_id, 5_000, candidate=False)[0])
    end(desk, run)
    recorder.record_late(desk.store, run.run_id, {"edits": 1})
    assert desk.all("SELECT * FROM trigger_count") == []


# -- lost runs


def test_silent_runs_are_counted_once_their_time_is_over(desk, take, terms):
    desk.live(terms=terms(triggers=rate("lost")))
    silent = [take() for _ in range(9)]
    end(desk, take(), completed=True)
    assert desk.all("SELECT * FROM trigger_count") == []
    desk.clock.advance(11 * MINUTE)
    end(desk, take(), completed=True)
    assert desk.point.release_id is None
    assert release(desk)["culprits"] == '["lost"]'
    assert dict(desk.one("SELECT n, bad FROM trigger_count")) == {"n": 10, "bad": len(silent)}


def test_a_silent_run_is_counted_once(desk, take, terms):
    desk.live(terms=terms(triggers=rate("lost", 0.9)))
    take()
    desk.clock.advance(11 * MINUTE)
    for _ in range(2):
        end(desk, take())
    assert dict(desk.one("SELECT n, bad FROM trigger_count")) == {"n": 1, "bad": 1}


# -- costs


def test_a_cost_spike_reverts(desk, take, terms):
    desk.live(terms=terms(triggers=Triggers((), spend=SpendTrigger(0.1))))
    assert until_reverted(desk, lambda: end(desk, take(), cost_usd=1.0)) <= 8
    assert release(desk)["culprits"] == '["cost"]'
    assert "the mean cost of a run is proven above $0.1" in release(desk)["reason"]


def test_costs_below_the_limit_revert_nothing(desk, take, terms):
    release_id = desk.live(terms=terms(triggers=Triggers((), spend=SpendTrigger(0.1))))
    for _ in range(40):
        end(desk, take(), cost_usd=0.09)
    assert desk.point.release_id == release_id


def test_a_cost_that_is_told_late_counts_in_place_of_what_was_told(desk, take, terms):
    trigger = SpendTrigger(0.1)
    desk.live(terms=terms(triggers=Triggers((), spend=trigger)))
    one, other = take(), take()
    end(desk, one, cost_usd=0.05)
    end(desk, other, cost_usd=0.3)
    before = desk.one("SELECT state FROM trigger_state WHERE name = 'cost'")["state"]
    recorder.record_late(desk.store, one.run_id, {"cost": 0.2})
    recorder.record_late(desk.store, one.run_id, {"cost": 0.05})
    after = desk.one("SELECT state FROM trigger_state WHERE name = 'cost'")["state"]
    assert json.loads(after) == pytest.approx(json.loads(before))


def test_a_late_cost_above_the_ceiling_of_a_run_reverts(desk, take, terms):
    desk.live(terms=terms(caps=Caps(5.0, 0.5, None)))
    run = take()
    end(desk, run, cost_usd=0.1)
    recorder.record_late(desk.store, run.run_id, {"cost": 0.3})
    assert desk.point.release_id is not None
    assert desk.one("SELECT used FROM cap_use WHERE cap = 'spend_usd_per_hour'")["used"] == pytest.approx(0.3)
    recorder.record_late(desk.store, run.run_id, {"cost": 0.7})
    assert release(desk)["culprits"] == '["overspend"]'


def test_settlements_above_the_ceiling_of_an_hour_revert(desk, take, terms):
    """Reservations that expired leave room for others; what both spent is above the ceiling then."""
    desk.live(terms=terms(caps=Caps(0.5, 0.5, None)))
    silent = take()
    desk.clock.advance(11 * MINUTE)
    end(desk, take(), cost_usd=0.4)
    end(desk, silent, cost_usd=0.4)
    assert release(desk)["culprits"] == '["overspend"]'
    assert "an hour cost $0.80, its ceiling was $0.50" in release(desk)["reason"]


# -- repeated failures


def fail(desk, run, error="KeyError", **fields):
    end(desk, run, status="failed", completed=False, error=error, **fields)


def test_the_same_error_again_and_again_reverts(desk, take, terms):
    desk.live(terms=terms(triggers=Triggers((), repeats=RepeatTrigger(3, 5))))
    for error in ("KeyError", None, "KeyError", "ValueError"):
        fail(desk, take(), error) if error else end(desk, take(), completed=True)
    assert desk.point.release_id is not None
    fail(desk, take())
    assert release(desk)["culprits"] == '["repeated_failure"]'
    assert "KeyError ended 3 of the newest 5 runs" in release(desk)["reason"]


def test_an_error_that_the_baseline_has_too_is_not_the_bundle_s_doing(desk, take, terms):
    release_id = desk.live(5_000, terms(triggers=Triggers((), repeats=RepeatTrigger(2, 2))))
    mine = desk.units(release_id, 5_000, candidate=True, number=3)
    fail(desk, take(mine[0]))
    fail(desk, take(desk.units(release_id, 5_000, candidate=False)[0]))
    fail(desk, take(mine[1]))
    assert desk.point.release_id == release_id


def test_a_run_that_nobody_assigned_keeps_no_repeated_failure_back(desk, take, terms):
    release_id = desk.live(5_000, terms(triggers=Triggers((), repeats=RepeatTrigger(2, 2))))
    mine = desk.units(release_id, 5_000, candidate=True, number=2)
    fail(desk, take(mine[0]))
    fail(desk, take(desk.units(release_id, 5_000, candidate=False)[0]))
    desk.hand("UPDATE run SET reason = 'telemetry' WHERE arm = 'baseline'")
    fail(desk, take(mine[1]))
    assert desk.point.release_id is None


def test_what_a_bundle_failed_by_in_an_earlier_release_does_not_count_in_the_next(desk, take, terms):
    repeats = terms(triggers=Triggers((), repeats=RepeatTrigger(2, 3)))
    first = desk.live(terms=repeats)
    fail(desk, take())
    desk.revert(first)
    desk.clock.advance(MINUTE)
    second = desk.live(terms=repeats)
    fail(desk, take())
    assert desk.point.release_id == second
    fail(desk, take())
    assert desk.point.release_id is None


def test_failures_of_the_infrastructure_are_not_the_bundle_s_doing(desk, take, terms):
    release_id = desk.live(terms=terms(triggers=Triggers((), repeats=RepeatTrigger(2, 2))))
    for _ in range(4):
        fail(desk, take(), infra_failure=True)
    assert desk.point.release_id == release_id


# -- every state


def test_a_trigger_works_while_a_person_is_asked(desk, take, terms):
    from lastgood import releasing
    from lastgood.ledger import Entry
    from lastgood.points import Expect

    release_id = desk.live(terms=terms())
    run = take()
    stage = Stage("asking", ReleaseState.ASKING, 0)
    entry = Entry("ask", "ann", "undecided", release_id)
    releasing.set_share(
        desk.store, release_id, stage, share_bp=0, lease_us=0, entry=entry, expect=Expect.of(desk.point)
    )
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert release(desk)["state"] == "reverted"


def test_a_batch_fires_at_the_run_that_crosses_the_line(desk, take, terms):
    desk.live(terms=terms(triggers=rate("completion", 0.2)))
    runs = [take() for _ in range(30)]
    reports = [
        Report(run.run_id, Outcome(completed=number > 20), origin=run.origin)
        for number, run in enumerate(runs)
    ]
    record_batch(desk.store, reports)
    assert "bad of" in release(desk)["reason"]
    assert release(desk)["state"] == "reverted"
    assert dict(desk.one("SELECT n, bad FROM trigger_count")) == {"n": 30, "bad": 21}


def test_a_revert_is_never_part_of_a_transaction_that_does_not_wait_for_the_disk(
    desk, take, terms, monkeypatch
):
    seen, real = [], judging.releasing.revert_in

    def watched(txn, *args, **named):
        seen.append(durable[-1])
        return real(txn, *args, **named)

    durable, transaction = [], type(desk.store).transaction

    def opened(self, *, durable=False, **named):
        asked.append(durable)
        return transaction(self, durable=durable, **named)

    asked = durable
    monkeypatch.setattr(judging.releasing, "revert_in", watched)
    monkeypatch.setattr(type(desk.store), "transaction", opened)
    desk.live(terms=terms(triggers=rate("completion", 0.01)))
    runs = [take() for _ in range(10)]
    record_batch(
        desk.store, [Report(r.run_id, Outcome(completed=False), origin=r.origin) for r in runs], durable=False
    )
    assert seen == [True]


# -- the watch after a promotion


def promoted(desk, terms, **changes):
    release_id = desk.live(terms=terms(watch_us=45 * MINUTE, **changes))
    desk.promote(release_id)
    return release_id


def test_in_the_watch_an_event_puts_the_last_known_good_back(desk, take, terms):
    promoted(desk, terms)
    recorder.record_event(desk.store, take().run_id, "data_leak", {})
    point = desk.point
    assert (point.baseline, point.standing) == (desk.baseline, "vouched")
    kept_out = desk.one("SELECT until_us, reason FROM quarantine")
    assert kept_out["until_us"] is None
    assert "rolled back by trigger: data_leak" in kept_out["reason"]
    tail = desk.one("SELECT action, actor FROM ledger ORDER BY seq DESC LIMIT 1")
    assert dict(tail) == {"action": "rollback", "actor": "trigger"}


def test_in_the_watch_rates_put_the_last_known_good_back(desk, take, terms):
    promoted(desk, terms, triggers=rate("completion", 0.2))
    ended = 0
    while desk.point.baseline == desk.candidate:
        end(desk, take(), status="failed", completed=False)
        ended += 1
        assert ended < 30
    assert ended > 2


def test_in_the_watch_a_late_report_that_comes_before_the_outcome_counts(desk, take, terms):
    promoted(desk, terms, triggers=rate("completion", 0.2))
    run = take()
    recorder.record_late(desk.store, run.run_id, {"completed": False})
    end(desk, run, completed=True)
    counted = desk.one("SELECT n, bad FROM trigger_count WHERE metric = 'completion'")
    assert (counted["n"], counted["bad"]) == (1, 1)


def test_a_run_of_the_candidate_that_ends_after_its_promotion_is_judged(desk, take, terms):
    release_id = desk.live(terms=terms(watch_us=45 * MINUTE))
    run = take()
    desk.promote(release_id)
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.point.baseline == desk.baseline


def test_a_run_of_the_bundle_before_is_not_charged_to_the_promoted_one(desk, take, terms):
    release_id = desk.live(5_000, terms(watch_us=45 * MINUTE))
    run = take(desk.units(release_id, 5_000, candidate=False)[0])
    desk.promote(release_id)
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.point.baseline == desk.candidate


def test_after_the_watch_a_person_is_told_once(desk, take, terms):
    promoted(desk, terms)
    desk.clock.advance(46 * MINUTE)
    for _ in range(2):
        recorder.record_event(desk.store, take().run_id, "data_leak", {})
    assert desk.point.baseline == desk.candidate
    alarms = desk.all("SELECT actor, reason FROM ledger WHERE action = 'alarm'")
    assert len(alarms) == 1
    assert "data_leak in run" in alarms[0]["reason"]


def test_after_the_watch_the_policy_may_revert_all_the_same(desk, take, terms):
    promoted(desk, terms, after_watch="revert")
    desk.clock.advance(46 * MINUTE)
    recorder.record_event(desk.store, take().run_id, "data_leak", {})
    assert desk.point.baseline == desk.baseline


def test_without_another_good_bundle_a_person_is_told(desk, take, terms, caplog):
    promoted(desk, terms)
    desk.hand("UPDATE served SET withdrawn_us = 1 WHERE bundle_id = ?", desk.baseline)
    recorder.record_event(desk.store, take().run_id, "data_leak", {})
    assert desk.point.baseline == desk.candidate
    assert len(desk.all("SELECT 1 AS x FROM ledger WHERE action = 'alarm'")) == 1
    assert "can't put another bundle back" in caplog.text


def test_in_the_watch_a_live_release_goes_with_its_baseline(desk, take, terms):
    promoted(desk, terms)
    third = desk.register("third")
    release_id = desk.live(5_000, terms(watch_us=45 * MINUTE), candidate=third)
    run = take(desk.units(release_id, 5_000, candidate=False)[0])
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    point = desk.point
    assert (point.baseline, point.release_id) == (desk.baseline, None)
    assert [row["action"] for row in desk.all("SELECT action FROM ledger ORDER BY seq DESC LIMIT 2")] == [
        "rollback",
        "revert",
    ]


def test_who_was_rolled_back_from_is_not_judged_again(desk, take, terms):
    promoted(desk, terms)
    late = take()
    desk.rollback()
    epoch = desk.point.epoch
    recorder.record_event(desk.store, late.run_id, "data_leak", {})
    end(desk, take(), completed=False)
    assert desk.point.epoch == epoch


def test_a_bundle_that_was_rolled_back_to_stands_as_it_stood(desk, terms):
    third = desk.register("third")
    desk.promote(desk.live(terms=terms()))
    desk.promote(desk.live(terms=terms(), candidate=third))
    assert (desk.rollback().baseline, desk.point.standing) == (desk.candidate, "proven")
    assert desk.rollback(to=third, vouched=True).standing == "vouched"


def test_a_lost_run_is_not_looked_for_after_a_promotion(desk, take, terms):
    promoted(desk, terms, triggers=rate("lost"))
    take()
    desk.clock.advance(11 * MINUTE)
    end(desk, take(), completed=True)
    assert desk.all("SELECT * FROM trigger_count") == []


# -- two at once


def test_what_a_run_of_an_ended_release_spent_reverts_no_other(desk, take, terms):
    caps = Caps(5.0, 0.5, None)
    first = desk.live(terms=terms(caps=caps))
    run = take()
    desk.revert(first)
    second = desk.live(terms=terms(caps=caps))
    end(desk, run, cost_usd=4.0)
    assert desk.point.release_id == second


def test_two_triggers_of_one_batch_revert_once(desk, take, terms):
    desk.live(terms=terms(caps=Caps(50.0, 0.5, None), triggers=rate("completion")))
    runs = [take() for _ in range(10)]
    reports = [Report(r.run_id, Outcome(completed=False, cost_usd=2.0), origin=r.origin) for r in runs]
    assert record_batch(desk.store, reports).new == 10
    assert release(desk)["culprits"] == '["overspend"]'
    assert [row["action"] for row in desk.all("SELECT action FROM ledger")].count("revert") == 1


def test_two_triggers_of_one_batch_restore_once(desk, take, terms):
    rates = (RateTrigger("completion", 0.05), RateTrigger("validation", 0.05))
    promoted(desk, terms, triggers=Triggers((), rates=rates))
    runs = [take() for _ in range(10)]
    reports = [Report(r.run_id, Outcome(completed=False, validated=False), origin=r.origin) for r in runs]
    record_batch(desk.store, reports)
    assert desk.point.baseline == desk.baseline
    assert [row["action"] for row in desk.all("SELECT action FROM ledger")].count("rollback") == 1
