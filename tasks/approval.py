"""Approval in Prefect: a release that waits for a person is a suspended run with a form.

The answer is recorded in our own tables (`lastgood.approving`), so that `lastgood approve` gives the same one
with Prefect down; a run that is resumed after that finds it there.
"""

import logging
from dataclasses import replace
from typing import Literal

from prefect.exceptions import Pause
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from config.settings import Settings
from lastgood import agent, approving
from lastgood.approving import Answer
from lastgood.errors import LastgoodError
from lastgood.moves import in_command
from lastgood.redaction import clean
from lastgood.store.connection import Row, Store
from tasks import ahead, driving, report
from tasks.driving import Driver, Due, StageName
from tasks.publishing import publish

log = logging.getLogger("lastgood")
#: forms that were refused, after which one more is not offered
_MOST = 5
#: seconds that a suspended run outlives its question: what came of it is shown then
_AFTER_S = 3_600


class Approval(RunInput):
    """What a person says."""

    decision: Literal["promote", "revert", "wait"] = Field(
        title="Decision",
        description="promote: go on with what is asked. revert: put the last known good back, at once. "
        "wait: be asked again later.",
    )
    who: str = Field(
        title="Who",
        description="Your name; it is recorded with the decision.",
        min_length=1,
        max_length=200,
    )
    reason: str = Field(
        title="Reason", description="Why; goes into the ledger.", min_length=1, max_length=2_000
    )
    code: str = Field(
        default="",
        title="One-time code",
        description="Where the policy wants a verified approval: from `lastgood approve-code`.",
        max_length=40,
    )
    evidence: str = Field(
        default="",
        title="Evidence",
        description="Digest of the evidence that you decide about. Leave it as it is.",
        max_length=64,
    )


def wait(driver: Driver, what: Due) -> Due:
    """Suspend this run until a person decides, and record the decision; returns what is due next.

    Meanwhile the schedule looks on, so that harm reverts and the lease lives. Without a schedule, or a
    deployment to resume, nothing is suspended: the looks go on here, and `lastgood approve` decides.
    """
    store = agent.store()
    row, _ = driving.read(store, driver.release_id)
    with store.reading() as txn:
        asked = approving.open_question(txn, row["agent"], row["environment"])
    may = driving.may_hand_over(store, driver, Settings.from_environment().look_every)
    serving = what.transition is not None and what.transition.share_bp > 0
    if asked is None or not _is_deployed() or (serving and not may):
        rests = what.stage is StageName.ASKING or (asked is None and may)
        return replace(what, stage=StageName.HANDED) if rests else _look_on(store, driver, what)
    publish(driver)
    _ask(store, driver, asked, may_hand_over=may)
    return driving.due(store, driver)


def _is_deployed() -> bool:
    """Whether this run can be suspended: a run without a deployment has nobody who would start it again."""
    return bool(deployment.get_id()) and not flow_run.get_parent_flow_run_id()


def _look_on(store: Store, driver: Driver, what: Due) -> Due:
    """Look and wait in this process, as in a comparison."""
    driving.act(store, driver, what)
    if what.waits:
        driving.rest(store, driver, what)
    return driving.due(store, driver)


def _ask(store: Store, driver: Driver, asked: Row, *, may_hand_over: bool) -> None:
    """Offer the form until an answer is taken; what was refused is said in the next one.

    A run that was resumed comes here again from its beginning, and finds the forms that were filled in.
    """
    release, refused = driving.read(store, driver.release_id)[0], ""
    key = asked["id"].replace("_", "-").lower()  # as Prefect takes one
    for number in range(_MOST):
        form = _form(store, release, asked, refused)
        left_s = (asked["expires_us"] - store.clock.now_us()) // 1_000_000
        try:
            given = suspend_flow_run(
                wait_for_input=form, key=f"{key}-{number}", timeout=max(1, left_s) + _AFTER_S
            )
        except Pause:  # this process ends, and the run comes back when the form is filled in
            if may_hand_over:
                driving.hand_over(store, driver, "a person is asked: the schedule goes on")
            raise
        who, reason = clean(given.who), clean(given.reason)
        answer = Answer(given.decision, who, reason, given.evidence, given.code)
        refused = _taken(store, release, answer)
        if not refused or not _is_open(store, release, asked):
            return  # decided here, elsewhere, or over: what comes next says so
    named = in_command(release["agent"], release["environment"])
    log.warning("%d answers were refused; `lastgood approve %s` takes one", _MOST, named)


def _form(store: Store, release: Row, asked: Row, refused: str) -> type[Approval]:
    """The form of one question: it holds the digest of the evidence that it is about."""
    known = Approval.model_fields["evidence"]
    evidence = Field(
        default=asked["evidence"][:12], title=known.title, description=known.description, max_length=64
    )
    return Approval.with_initial_data(
        description=_described(store, release, asked, refused), evidence=evidence
    )


def _taken(store: Store, release: Row, answer: Answer) -> str:
    """Record an answer; return why it was refused, empty where it was taken."""
    try:
        approving.decide(store, release["agent"], release["environment"], answer)
    except LastgoodError as error:
        log.warning("the decision of %s is not taken: %s", answer.who, error)
        return str(error)
    log.info("%s by %s: %s", answer.decision, answer.who, answer.reason)
    return ""


def _is_open(store: Store, release: Row, asked: Row) -> bool:
    with store.reading() as txn:
        found = approving.open_question(txn, release["agent"], release["environment"])
    return found is not None and found["id"] == asked["id"] and found["expires_us"] > store.clock.now_us()


def _described(store: Store, release: Row, asked: Row, refused: str) -> str:
    """What stands above the form: what was refused, where the release stands, what is asked."""
    lines = [f"**Not taken:** {refused}"] if refused else []
    lines.append(report.build(store, release["id"]).headline)
    lines.append(f"Asked: {ahead.asked_for(asked)}. The report is in this run's artifacts.")
    return "\n\n".join(lines)


__all__ = ["Approval", "wait"]
