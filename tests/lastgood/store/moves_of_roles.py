"""Every move of control and of recording by the real code, and the roles that may make it on Postgres."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from config.policy import Policy
from lastgood import (
    acting,
    approving,
    audit,
    case_store,
    control,
    identity,
    incident_view,
    incidents,
    isolation,
    profile,
    recorder,
    releasing,
    retention,
    suspending,
    telemetry,
    telemetry_table,
    tokens,
    traces,
    vouching,
)
from lastgood.acting import Effect
from lastgood.approving import Answer
from lastgood.assigning import Assigned
from lastgood.case_store import Draft, State
from lastgood.cases import Case
from lastgood.checks import Completes
from lastgood.isolation import Held as Out
from lastgood.outcome import Outcome
from lastgood.points import Expect
from lastgood.recorder import Report
from lastgood.releasing import Ending
from lastgood.retention import DAY_US, Limits
from lastgood.roles import Role
from lastgood.suspending import Held
from lastgood.traces import Asker
from lastgood.triggers import RateTrigger, Triggers
from lastgood.vouching import Vouched
from tasks import policies
from tests.lastgood.store.moves_prepared import (
    BY,
    HOUR,
    MINUTE,
    NUMBERS,
    TERMS,
    adopted,
    another_live,
    ask,
    asked,
    back_on_one_that_cools,
    by_hand,
    code_for,
    cooling,
    ended,
    entered,
    frozen,
    guarded,
    killed,
    live,
    promoted,
    quarantined,
    stopped,
    verified,
    with_incident,
    with_run,
)

#: the table of docs/security.md: what there is to do on Postgres, and who may; the service may do everything
MAY = {
    "see who serves, releases, approvals and incidents": "observer agent operator releaser approver auditor",
    "verify and export the ledger": "observer agent operator releaser approver auditor",
    "read runs": "observer agent operator releaser approver",
    "enter runs; record outcomes, reports, events and actions; their triggers": "agent",
    "put the last known good back; open an incident": "agent operator releaser approver",
    "kill, stop": "operator releaser approver",
    "end a kill, a stop or a cool-down; close an incident": "releaser approver",
    "register a bundle, start a release, set its share, renew, take over; keep and prove cases": "releaser",
    "keep a policy": "releaser approver",
    "adopt, decide, promote, go back to a bundle that never served, re-admit": "approver",
    "ask a person, issue codes, make tokens, prune, take telemetry, hold outputs back, keep a profile": "",
}
SEE, LEDGER, RUNS, RECORD, BACK, KILL, LIFT, START, POLICY, APPROVE, KEEP = MAY


@dataclass(frozen=True)
class Move:
    """What is done, and what there has to be before; `make` is given what `prepare` returned."""

    kind: str
    name: str
    prepare: Callable[[Any], Any]
    make: Callable[[Any, Any], Any]


MOVES: list[Move] = []


def move(kind: str, prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Take a function of the desk (its store is the role's) and of what was prepared for a move."""

    def taken(make: Any) -> Any:
        MOVES.append(Move(kind, make.__name__, prepare, make))
        return make

    return taken


# -- seeing


@move(SEE, with_incident)
def sees_who_serves(desk, incident_id):
    with desk.store.reading() as txn:
        assert incidents.read(txn, incident_id).open
        assert approving.open_question(txn, *desk.place) is None
    assert desk.point.baseline == desk.baseline


@move(LEDGER, promoted)
def exports_the_ledger(desk, _):
    assert list(audit.export(desk.store, *desk.place))
    assert audit.verify(desk.store, *desk.place)


@move(RUNS, with_incident)
def looks_at_an_incident_s_runs(desk, incident_id):
    with desk.store.reading() as txn:
        assert incident_view.view(txn, incidents.read(txn, incident_id))


# -- recording


@move(RECORD, live)
def enters_a_run_and_ends_it(desk, _):
    run = entered(desk, entry=f"e-{next(NUMBERS)}", conversation="talk")
    assert run.decision.arm == "candidate"
    ended(desk, run, metrics={"tone": 0.5})
    assert desk.all("SELECT * FROM reservation WHERE run_id = :id", id=run.run_id) == []


@move(RECORD, with_run)
def reports_a_batch_late_and_early(desk, run):
    early = entered(desk)
    assert recorder.record_late(desk.store, early.run_id, {"edits": 1}, key="k")
    keys = identity.Keys("k", {"k": b"k" * 32})
    forged = recorder.record_batch(desk.store, [Report(early.run_id, Outcome(), token="no")], keys=keys)
    assert forged.refused
    done = [Report(each.run_id, Outcome(completed=True)) for each in (run, early)]
    assert recorder.record_batch(desk.store, done).new == 2
    assert recorder.record_late(desk.store, run.run_id, {"edits": 2, "cost_usd": 0.2})


@move(RECORD, with_run)
def acts(desk, run):
    once, keyed = Effect("mail", "ben"), Effect("mail", "ann", key="k", idempotent=True)
    acting.settle(desk.store, acting.reserve(desk.store, run.run_id, once).id, "done")
    acting.settle(desk.store, acting.reserve(desk.store, run.run_id, keyed).id, "failed")
    acting.settle(desk.store, acting.reserve(desk.store, run.run_id, keyed).id, "done", '"sent"')
    states = desk.all("SELECT state FROM action WHERE run_id = :id", id=run.run_id)
    assert [each["state"] for each in states] == ["done", "done"]


def left_with_a_run(desk) -> Assigned:
    release_id = live(desk, on_revert="finish")
    run = entered(desk)
    desk.revert(release_id)
    desk.hand("UPDATE incident SET recovery = 'done' WHERE environment = ?", desk.environment)
    return run


@move(RECORD, left_with_a_run)
def acts_late(desk, run):
    gated = acting.reserve(desk.store, run.run_id, Effect("mail", "ben"))
    acting.settle(desk.store, gated.id, "done")
    assert gated.late
    assert desk.incidents[0].recovery == "due"


@move(RECORD, with_run)
def suspends_and_resumes(desk, run):
    suspending.suspend(desk.store, run.run_id, Held(Outcome(cost_usd=0.1), 2.0))
    with desk.store.reading() as txn:
        assert suspending.reopened(txn, desk.store, run.run_id, None)[1].worked_s == 2.0
    ended(desk, run)


@move(RECORD, with_run)
def reports_what_is_not_tolerated_and_reverts(desk, run):
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert desk.point.candidate is None


@move(RECORD, with_run)
def spends_too_much_and_reverts(desk, run):
    ended(desk, run, cost_usd=1_000.0)
    assert desk.point.candidate is None


@move(RECORD, lambda desk: live(desk, triggers=Triggers((), rates=(RateTrigger("corrections", 0.01),))))
def reports_corrections_late_and_reverts(desk, _):
    runs = [entered(desk) for _ in range(12)]
    for run in runs:
        ended(desk, run)
    for run in runs:
        recorder.record_late(desk.store, run.run_id, {"edits": 3})
    assert desk.point.candidate is None


@move(RECORD, promoted)
def reports_what_is_not_tolerated_and_puts_back_what_was_promoted_over(desk, _):
    recorder.record_event(desk.store, entered(desk).run_id, "data_leak", {})
    assert desk.point.baseline == desk.baseline


@move(RECORD, lambda desk: another_live(desk, agent_cooldown_us=HOUR))
def reports_what_is_not_tolerated_of_the_baseline_of_a_live_release(desk, _):
    run = entered(desk)
    assert run.decision.arm == "baseline"
    recorder.record_event(desk.store, run.run_id, "data_leak", {})
    assert (desk.point.baseline, desk.point.candidate) == (desk.baseline, None)


@move(RECORD, lambda desk: promoted(desk, watch_us=0))
def reports_what_is_not_tolerated_after_the_watch_and_calls_a_person(desk, _):
    recorder.record_event(desk.store, entered(desk).run_id, "data_leak", {})
    assert [each.by for each in desk.incidents] == ["alarm"]


# -- putting the last known good back


@move(BACK, live)
def rolls_a_live_release_back(desk, _):
    desk.rollback()
    assert desk.point.candidate is None


@move(BACK, killed)
def rolls_a_killed_release_back(desk, _):
    desk.rollback()
    assert desk.point.candidate is None
    assert desk.point.killed


@move(BACK, live)
def reverts_by_evidence(desk, release_id):
    desk.revert(release_id, by="evidence")
    assert desk.point.candidate is None


@move(BACK, asked)
def reverts_while_a_person_is_asked(desk, release_id):
    desk.revert(release_id, by="undecided")
    assert desk.point.candidate is None


@move(BACK, lambda desk: promoted(desk, agent_cooldown_us=HOUR))
def rolls_what_was_promoted_back(desk, _):
    desk.rollback()
    assert desk.point.baseline == desk.baseline


@move(BACK, another_live)
def rolls_back_to_an_earlier_one_over_a_live_release(desk, _):
    desk.rollback(to=desk.baseline)
    assert (desk.point.baseline, desk.point.candidate) == (desk.baseline, None)


@move(BACK, back_on_one_that_cools)
def rolls_back_from_one_that_cools_down_for_longer(desk, _):
    desk.rollback(to=desk.baseline)
    assert desk.point.baseline == desk.baseline


@move(BACK, by_hand("UPDATE control_point SET share_bp = 1"))
def rolls_back_where_a_hand_lowered_the_share(desk, _):
    desk.rollback()
    assert desk.point.candidate is None


@move(BACK, by_hand("UPDATE control_point SET baseline = candidate, standing = 'proven', epoch = 99"))
def rolls_back_where_a_hand_changed_the_baseline(desk, _):
    desk.rollback()
    assert (desk.point.baseline, desk.point.candidate) == (desk.baseline, None)


@move(BACK, by_hand("DELETE FROM control_point"))
def rolls_back_where_a_hand_deleted_the_control_point(desk, _):
    desk.rollback()
    assert (desk.point.baseline, desk.point.candidate) == (desk.baseline, None)


@move(BACK, live)
def opens_an_incident(desk, _):
    assert incidents.open_by_hand(desk.store, incidents.Wanted(*desk.place, **BY)).open


@move(KILL, live)
def kills(desk, _):
    assert desk.kill().killed


@move(KILL, by_hand("UPDATE control_point SET lease_until_us = 0"))
def kills_where_a_hand_ended_the_lease(desk, _):
    assert desk.kill().killed


@move(KILL, live)
def stops(desk, _):
    assert control.stop(desk.store, *desk.place, **BY)


# -- lifting


@move(LIFT, killed)
def ends_a_kill(desk, _):
    assert not control.clear(desk.store, *desk.place, **BY).killed


@move(LIFT, stopped)
def ends_a_stop(desk, _):
    assert control.unstop(desk.store, *desk.place, **BY)


@move(LIFT, cooling)
def ends_a_cool_down(desk, _):
    assert control.end_cooldown(desk.store, *desk.place, **BY)


@move(LIFT, with_incident)
def closes_an_incident(desk, incident_id):
    assert not incidents.close(desk.store, incident_id, **BY).open


# -- starting


@move(START, adopted)
def registers_a_bundle_and_starts_a_release(desk, _):
    bundle_id = desk.register(f"new {next(NUMBERS)}")
    assert desk.start(bundle_id, TERMS)


@move(START, lambda desk: (desk.adopt(), desk.start(terms=TERMS))[1])
def serves_a_share_renews_and_takes_over(desk, release_id):
    desk.serve(release_id, 100)
    desk.serve(release_id, 200)
    by = {"driver": "d", "reason": "why"}
    releasing.renew(desk.store, release_id, lease_us=HOUR, **by, expect=Expect.of(desk.point))
    releasing.take_over(desk.store, release_id, **by)
    assert desk.point.share_bp == 200


@move(START, with_incident)
def proves_a_case_and_reviews_it(desk, incident_id):
    case = Case("a case", {"order": "7"}, (Completes(),), told={"agent": "support"})
    draft = Draft(
        *desk.place, case, desk.candidate, desk.baseline, "it failed", incident_id=incident_id,
        state=State.ADMITTED,
    )  # fmt: skip
    case_store.put(desk.store, replace(draft, state=State.CANDIDATE))
    put = case_store.put(desk.store, draft)
    case_store.review(desk.store, put, case_store.Review.ACCEPTED, by="bob")
    assert desk.incidents[0].cases == (put.id,)


SLICED = "name: {}\nguardrails: {{completion: {{margin: 15 points}}}}\nstrata: [faq, refund]\n"


def with_a_policy(desk) -> str:
    return policies.keep(desk.store, Policy.load(SLICED.format(f"ours-{next(NUMBERS)}")), "ann").name


@move(POLICY, with_a_policy)
def keeps_a_policy_with_a_known_trade(desk, name):
    trade = policies.Trade("completion", "refund", "refunds move to people", "ben")
    assert policies.waive(desk.store, name, trade, actor="ann").new


# -- deciding


@move(APPROVE, lambda desk: None)
def adopts(desk, _):
    desk.adopt()
    assert desk.point.baseline == desk.baseline


@move(APPROVE, asked)
def says_wait_and_then_yes(desk, release_id):
    approving.decide(desk.store, *desk.place, Answer("wait", "ben", "not yet"))
    approving.decide(desk.store, *desk.place, Answer("promote", "ben", "it is good"))
    releasing.promote(
        desk.store,
        release_id,
        proven=True,
        ending=Ending("d", "yes", "evidence"),
        expect=Expect.of(desk.point),
    )
    assert desk.point.standing == "proven"


@move(APPROVE, asked)
def says_no(desk, _):
    approving.decide(desk.store, *desk.place, Answer("revert", "ben", "it is bad"))
    assert desk.point.candidate is None


@move(APPROVE, verified)
def says_yes_with_a_code(desk, code):
    approving.decide(desk.store, *desk.place, Answer("promote", "ben", "it is good", code=code))


@move(APPROVE, frozen)
def vouches(desk, _):
    vouching.promote(desk.store, *desk.place, Vouched("ben", "I read it"))
    assert desk.point.baseline == desk.candidate


@move(APPROVE, guarded)
def vouches_with_a_code(desk, code):
    vouching.promote(desk.store, *desk.place, Vouched("ben", "I read it", code=code))
    assert desk.point.baseline == desk.candidate


@move(APPROVE, quarantined)
def readmits(desk, _):
    control.readmit(desk.store, *desk.place, desk.candidate, **BY)
    assert desk.all("SELECT * FROM quarantine WHERE environment = :at", at=desk.environment) == []


@move(APPROVE, adopted)
def goes_back_to_a_bundle_that_never_served(desk, _):
    desk.rollback(to=desk.third, vouched=True)
    assert desk.point.baseline == desk.third


# -- keeping the house


@move(KEEP, live)
def asks_a_person(desk, release_id):
    ask(desk, release_id)


@move(KEEP, live)
def issues_a_code(desk, _):
    assert code_for(desk)


@move(KEEP, lambda desk: tokens.mint(desk.store, "ben", Role.AGENT, actor="ann").id)
def makes_tokens(desk, token_id):
    made = tokens.rotate(desk.store, token_id, actor="ann")
    assert tokens.revoke(desk.store, made.id)


def with_old_runs(desk) -> None:
    run = with_run(desk)
    ended(desk, run)
    desk.rollback()
    incidents.close(desk.store, desk.incidents[0].id, **BY)
    desk.clock.advance(3 * DAY_US)
    desk.kill()  # the newest row of a ledger stays


@move(KEEP, with_old_runs)
def prunes(desk, _):
    done = retention.prune(desk.store, Limits(DAY_US, DAY_US, DAY_US), actor="ann")
    assert done.runs
    assert done.releases
    assert done.ledger


@move(KEEP, adopted)
def takes_telemetry(desk, _):
    end_us = desk.clock.now_us()
    given = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support",
             "lastgood.bundle": desk.baseline}  # fmt: skip
    span = {
        "traceId": f"{next(NUMBERS):032x}", "spanId": f"{1:016x}", "name": "invoke_agent support",
        "startTimeUnixNano": str((end_us - MINUTE) * 1_000), "endTimeUnixNano": str(end_us * 1_000),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in given.items()],
    }  # fmt: skip
    unknown = {**span, "traceId": f"{next(NUMBERS):032x}", "name": "what is that", "attributes": []}
    for each in (
        unknown,
        span,
    ):  # of no run first: runs are written before the spans, and an agent may do that
        batch = telemetry.spans({"resourceSpans": [{"scopeSpans": [{"spans": [each]}]}]}, end_us)
        traces.take(desk.store, batch, telemetry_table.table(), Asker("*", desk.environment, lambda *_: True))
    assert desk.all("SELECT * FROM run WHERE environment = :at", at=desk.environment)


def with_outputs(desk) -> Any:
    run = with_run(desk)
    desk.rollback()
    return SimpleNamespace(incident=desk.incidents[0], key=run.run_id)


@move(KEEP, with_outputs)
def holds_an_output_back_and_clears_it(desk, given):
    with desk.store.transaction() as txn:
        assert isolation.outputs_in(txn, given.incident, after=0, last=1 << 60) == 1
    assert isolation.move(desk.store, given.key, Out.CLEARED, **BY) == 1


@move(KEEP, adopted)
def keeps_a_profile(desk, _):
    with desk.store.transaction() as txn:
        assert profile.store_body(txn, f"agent-{next(NUMBERS)}", "{}", actor="ann")
