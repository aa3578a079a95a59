"""Incidents open with the revert, show what failed, and close by a case or a reason alone."""

import sqlite3

import psycopg
import pytest

from lastgood import acting, incident_view, incidents, judging, releasing, reserving
from lastgood.acting import Effect
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.errors import InvalidInput, InvalidMove, NotFound, StoreError
from lastgood.incidents import Recovery, Wanted
from lastgood.judging import Charge, Court
from lastgood.outcome import Outcome
from lastgood.part_reads import note
from lastgood.recorder import record, record_event, record_late
from lastgood.release import Terms
from lastgood.releasing import Ending
from lastgood.snapshot import Serving

MINUTE = 60_000_000


def run(desk, unit="u", outcome=None, task_type="faq"):
    served = Serving(desk.store, desk.agent, desk.environment)
    made = assign(served, Request(unit, task_type, None, None))
    if outcome is not None:
        record(desk.store, made.run_id, made.decision.arm, outcome, None, None)
    return made.run_id


def open_by_hand(desk, **given):
    wanted = Wanted(desk.agent, desk.environment, "ann", given.pop("reason", "it told lies"), **given)
    return incidents.open_by_hand(desk.store, wanted)


def fire(desk, release_id, *, restores, culprit="data_leak"):
    """A trigger fires for the bundle that a release made the baseline."""
    point = desk.point
    with desk.store.transaction(durable=True) as txn:
        court = Court.of(txn, point)
        charge = Charge(release_id, point.baseline, 0, restores)
        judging.fire(txn, court, charge, culprit, "it leaked")


def view(desk, incident):
    with desk.store.reading() as txn:
        return incident_view.view(txn, incident)


@pytest.mark.parametrize("by", ["evidence", "trigger", "hand", "lapse", "undecided"])
def test_a_revert_opens_an_incident(desk, by):
    began = desk.clock.now_us()
    release_id = desk.live()
    desk.clock.advance(MINUTE)
    releasing.revert(desk.store, release_id, Ending("ann", "it is bad", by, culprits=("completion",)))
    (found,) = desk.incidents
    assert (found.open, found.by, found.culprits, found.reason) == (True, by, ("completion",), "it is bad")
    assert (found.bad, found.good, found.release_id) == (desk.candidate, desk.baseline, release_id)
    assert (found.from_us, found.to_us) == (began, began + MINUTE)
    assert (found.recovery, found.watch, found.cases) == (Recovery.DUE, "due", ())


def test_a_rollback_of_a_live_release_opens_one(desk):
    release_id = desk.live()
    desk.rollback()
    assert [found.release_id for found in desk.incidents] == [release_id]


def test_a_rollback_to_an_earlier_bundle_opens_one_of_the_bundle_that_is_left(desk):
    release_id = desk.live()
    desk.promote(release_id)
    desk.clock.advance(MINUTE)
    desk.rollback()
    (found,) = desk.incidents
    assert (found.by, found.bad, found.good) == ("hand", desk.candidate, desk.baseline)
    assert found.release_id == release_id
    assert found.from_us == desk.one("SELECT started_us FROM release")["started_us"]


def test_a_trigger_that_puts_another_bundle_back_opens_one(desk):
    release_id = desk.live()
    desk.promote(release_id)
    fire(desk, release_id, restores=True)
    (found,) = desk.incidents
    assert (found.by, found.culprits, found.reason) == ("trigger", ("data_leak",), "it leaked")
    assert (found.bad, found.good) == (desk.candidate, desk.baseline)


def test_a_release_whose_baseline_is_left_has_an_incident_of_its_own(desk):
    release_id = desk.live()
    desk.promote(release_id)
    third = desk.register("third")
    desk.live(candidate=third)
    fire(desk, release_id, restores=True)
    assert {(found.bad, found.by) for found in desk.incidents} == {
        (desk.candidate, "trigger"),
        (third, "baseline"),
    }


def test_a_trigger_that_only_tells_people_opens_one_too_once(desk):
    release_id = desk.live()
    desk.promote(release_id)
    for _ in range(2):
        fire(desk, release_id, restores=False)
    (found,) = desk.incidents
    assert (found.by, found.bad, found.good) == ("alarm", desk.candidate, desk.baseline)


def test_nothing_else_opens_one(desk):
    release_id = desk.live()
    desk.kill()
    assert desk.incidents == []
    assert desk.point.release_id == release_id


def test_no_incident_is_left_of_a_revert_that_did_not_commit(desk, monkeypatch):
    release_id = desk.live()
    real = incidents.open_in

    def broken(txn, opening):
        real(txn, opening)
        raise StoreError("the power went")

    monkeypatch.setattr(incidents, "open_in", broken)
    with pytest.raises(StoreError):
        desk.revert(release_id)
    assert desk.incidents == []
    assert desk.point.release_id == release_id
    monkeypatch.undo()
    desk.revert(release_id)
    assert len(desk.incidents) == 1


def test_a_revert_does_not_fail_where_a_hand_took_who_served(desk):
    release_id = desk.live()
    desk.promote(release_id)
    desk.hand("DELETE FROM served WHERE bundle_id = ?", desk.candidate)
    desk.rollback(to=desk.baseline)
    assert [(found.from_us, found.release_id) for found in desk.incidents] == [(0, None)]


# -- by a person


def test_a_person_opens_one_of_the_live_candidate(desk):
    release_id = desk.live()
    found = open_by_hand(desk)
    assert (found.by, found.bad, found.good) == ("person", desk.candidate, desk.baseline)
    assert (found.release_id, found.opened_by, found.reason) == (release_id, "ann", "it told lies")
    assert desk.point.release_id == release_id


def test_a_person_opens_one_of_the_baseline(desk):
    found = open_by_hand(desk)
    assert (found.bad, found.good, found.release_id) == (desk.baseline, None, None)


def test_a_person_opens_one_of_a_bundle_that_was_promoted(desk):
    release_id = desk.live()
    desk.promote(release_id)
    found = open_by_hand(desk)
    assert (found.bad, found.good, found.release_id) == (desk.candidate, desk.baseline, release_id)


def test_a_person_opens_one_of_a_bundle_that_was_reverted_over_the_time_that_it_served(desk):
    desk.revert(desk.live())
    ended = desk.one("SELECT ended_us FROM release")["ended_us"]
    desk.clock.advance(MINUTE)
    found = open_by_hand(desk, bundle_id=desk.candidate)
    assert found.to_us == ended


@pytest.mark.parametrize(("given", "error"), [({"reason": " "}, "reason"), ({}, "never served")])
def test_a_person_needs_a_reason_and_a_bundle_that_served(desk, given, error):
    with pytest.raises(InvalidInput, match=error):
        open_by_hand(desk, bundle_id=desk.register("unseen"), **given)
    assert desk.incidents == []


def test_an_agent_that_is_not_known_has_none(desk):
    with pytest.raises(NotFound, match="sales"):
        incidents.open_by_hand(desk.store, Wanted("sales", "production", "ann", "why"))


# -- invariant 16


@pytest.fixture
def incident(desk):
    desk.revert(desk.live())
    return desk.incidents[0]


def test_an_incident_closes_with_a_reason(desk, incident):
    found = incidents.close(desk.store, incident.id, actor="ann", reason=" none can: the model is gone ")
    assert (found.open, found.close_reason, found.closed_by) == (False, "none can: the model is gone", "ann")
    assert found.closed_us == desk.clock.now_us()


def test_an_incident_closes_with_a_case(desk, incident):
    with desk.store.transaction() as txn:
        incidents.add_case_in(txn, incident.id, "case_1")
        incidents.add_case_in(txn, incident.id, "case_1")
        found = incidents.close_in(txn, incident.id, actor="ann")
    assert (found.open, found.cases, found.close_reason) == (False, ("case_1",), None)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_an_incident_does_not_close_with_neither(desk, incident, reason):
    with pytest.raises(InvalidInput, match="regression case"):
        incidents.close(desk.store, incident.id, actor="ann", reason=reason)
    assert desk.incidents[0].open


def test_the_database_itself_refuses_to_close_it_with_neither(desk, incident):
    refused = (sqlite3.IntegrityError, psycopg.errors.CheckViolation)
    with pytest.raises(refused, match="incident_has_a_close"), desk.store.transaction() as txn:
        txn.run("UPDATE incident SET state = 'closed', close_reason = ''")
    assert desk.incidents[0].open


def test_an_incident_closes_once(desk, incident):
    incidents.close(desk.store, incident.id, actor="ann", reason="why")
    with pytest.raises(InvalidMove, match="closed by ann already: why"):
        incidents.close(desk.store, incident.id, actor="bob", reason="mine")


def test_a_case_has_a_name_and_an_incident(desk, incident):
    with desk.store.transaction() as txn:
        with pytest.raises(InvalidInput, match="has no id"):
            incidents.add_case_in(txn, incident.id, " ")
        with pytest.raises(NotFound, match="inc_none"):
            incidents.add_case_in(txn, "inc_none", "case_1")


def test_open_ones_without_a_case_are_unproven(desk, incident):
    def unproven():
        with desk.store.reading() as txn:
            return [found.id for found in incidents.unproven(txn, desk.agent, desk.environment)]

    assert unproven() == [incident.id]
    with desk.store.transaction() as txn:
        incidents.add_case_in(txn, incident.id, "case_1")
    assert unproven() == []


def test_all_agents_are_listed(desk, incident):
    with desk.store.reading() as txn:
        assert [found.id for found in incidents.listed(txn)] == [incident.id]
        assert incidents.listed(txn, "support", "staging") == []


# -- what it shows


def failed(text="'order'"):
    outcome = Outcome(status="failed", completed=False, error="KeyError", error_text=text)
    note(outcome, "prompt")
    return outcome


def test_it_shows_the_failing_runs_of_the_bad_bundle_in_groups(desk):
    run(desk, outcome=failed())  # of the baseline, before
    release_id = desk.live()
    runs = [run(desk, f"u{n}", failed()) for n in range(3)]
    other = run(desk, "u4", failed("'name'"), task_type="refund")
    run(desk, "u5", Outcome(completed=True))
    desk.revert(release_id)
    run(desk, "u6", failed())  # of the baseline, after
    seen = view(desk, desk.incidents[0])
    assert (seen.runs, seen.looked_at, seen.failing) == (5, 5, 4)
    assert [group.runs for group in seen.groups] == [tuple(runs), (other,)]
    assert str(seen.groups[0].signature) == "KeyError: 'order'; completion (faq)"


def test_late_reports_events_and_failed_tools_are_taken_into_account(desk):
    release_id = desk.live()
    late, leaky, broken = (run(desk, f"u{n}") for n in range(3))
    for run_id in (late, leaky):
        record(desk.store, run_id, "candidate", Outcome(completed=True), None, None)
    record_late(desk.store, late, {"incidents": 1})
    gated = acting.reserve(desk.store, broken, Effect("message", tool="send"))
    acting.settle(desk.store, gated.id, "failed")
    record(desk.store, broken, "candidate", failed(), None, None)
    record_event(desk.store, leaky, "data_leak", {})  # which reverts
    assert desk.point.release_id is None
    assert release_id == desk.incidents[0].release_id
    signatures = {group.runs[0]: group.signature for group in view(desk, desk.incidents[0]).groups}
    assert signatures[late].bad == ("incidents",)
    assert signatures[leaky].bad == ("data_leak",)
    assert signatures[broken].tool == "send"


def test_a_silent_run_is_lost_once_its_time_is_over(desk):
    release_id = desk.live()
    run_id = run(desk)
    desk.revert(release_id)
    assert view(desk, desk.incidents[0]).groups == []
    desk.clock.advance(11 * MINUTE)
    (group,) = view(desk, desk.incidents[0]).groups
    assert (group.runs, group.signature.bad) == ((run_id,), ("lost",))


def test_a_run_that_reports_after_its_time_is_lost_as_evidence_and_triggers_have_it(desk):
    release_id = desk.live()
    run(desk, "in time", Outcome(completed=True))
    fine, broken = run(desk, "u1"), run(desk, "u2")
    desk.clock.advance(11 * MINUTE)
    record(desk.store, fine, "candidate", Outcome(completed=True), None, None)
    record(desk.store, broken, "candidate", failed(), None, None)
    desk.revert(release_id)
    bad = {group.runs: group.signature.bad for group in view(desk, desk.incidents[0]).groups}
    assert bad == {(fine,): ("lost",), (broken,): ("completion", "lost")}


def test_what_is_known_from_telemetry_alone_is_not_lost_by_coming_late(desk):
    release_id = desk.live()
    known = run(desk)
    desk.clock.advance(11 * MINUTE)
    record(desk.store, known, "candidate", Outcome(completed=True), None, None)
    desk.hand("UPDATE run SET reason = 'telemetry'")
    desk.revert(release_id)
    assert view(desk, desk.incidents[0]).groups == []


def test_only_the_newest_runs_are_grouped_where_there_are_many(desk):
    release_id = desk.live()
    runs = [run(desk, f"u{n}", failed()) for n in range(5)]
    desk.revert(release_id)
    (incident,) = desk.incidents
    with desk.store.reading() as txn:
        seen = incident_view.view(txn, incident, most=2)
    assert (seen.runs, seen.looked_at) == (5, 2)
    assert [group.runs for group in seen.groups] == [tuple(runs[3:])]


def test_it_shows_which_parts_changed_and_which_of_them_no_run_read(desk):
    release_id = desk.live()
    outcome = Outcome(completed=True)
    note(outcome, "model")
    run(desk, outcome=outcome)
    desk.revert(release_id)
    seen = view(desk, desk.incidents[0])
    assert [part.kind for part in seen.changed] == ["prompt"]
    assert seen.unread == ("memory", "policy", "prompt", "tools")
    assert (seen.beyond_rollback, seen.told) == (("prompt",), 1)


def test_a_changed_part_that_a_run_read_can_be_restored(desk):
    release_id = desk.live()
    run(desk, "u1", failed())
    desk.revert(release_id)
    assert view(desk, desk.incidents[0]).beyond_rollback == ()


def test_an_incident_without_runs_says_so(desk):
    desk.revert(desk.live())
    seen = view(desk, desk.incidents[0])
    assert (seen.runs, seen.failing, seen.unread) == (0, 0, None)


def test_a_bundle_that_can_not_be_read_hides_nothing_else(desk):
    release_id = desk.live()
    run(desk, outcome=failed())
    desk.revert(release_id)
    desk.hand("UPDATE bundle_part SET version = '9'")
    seen = view(desk, desk.incidents[0])
    assert seen.failing == 1
    assert seen.changed == ()
    assert len(seen.problems) == 2


def test_an_alarm_where_no_other_bundle_is_good_has_none_to_compare_with(desk):
    release_id = desk.live()
    desk.promote(release_id)
    desk.hand("UPDATE served SET withdrawn_us = 1 WHERE bundle_id = ?", desk.baseline)
    fire(desk, release_id, restores=False)
    (found,) = desk.incidents
    assert (found.by, found.good) == ("alarm", None)


# -- what comes after a recovery has ended


def ended(desk, incident):
    desk.hand("UPDATE incident SET recovery = 'done' WHERE id = ?", incident.id)


def test_an_action_that_settles_late_makes_its_recovery_due_again(desk):
    release_id = desk.live()
    run_id = run(desk)
    slow, quick = (acting.reserve(desk.store, run_id, Effect("message")).id for _ in range(2))
    desk.revert(release_id)
    ended(desk, desk.incidents[0])
    acting.settle(desk.store, quick, "done")
    assert desk.incidents[0].recovery is Recovery.DONE
    desk.clock.advance(2 * acting.SLOW_US)
    acting.settle(desk.store, slow, "done")
    assert desk.incidents[0].recovery is Recovery.DUE


def test_an_ended_release_gives_its_reservations_back(desk):
    terms = Terms(caps=Caps(spend_usd_per_hour=5.0, spend_usd_per_run=0.5, runs_per_hour=None))
    release_id = desk.live(terms=terms)
    run(desk)
    with desk.store.transaction() as txn:
        assert reserving.cancel(txn, release_id) == 1
        assert reserving.cancel(txn, release_id) == 0
        assert reserving.taken(txn, release_id, reserving.SPEND) == 0.0
