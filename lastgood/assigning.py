"""Assigning: the one committed row that ties a run to its bundle before the work starts.

The control point is read, the decision made and the row written in one transaction, so that no decision
begun after a switch has committed can serve what was switched away.
"""

from dataclasses import dataclass, replace
from typing import Self

from lastgood import reserving
from lastgood.bundle import Bundle
from lastgood.decision import BASELINE, CANDIDATE, Answers, Decision, Reason, risk_of
from lastgood.ids import new_id
from lastgood.moves import ControlPoint
from lastgood.release import Terms
from lastgood.snapshot import Serving
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction
from lastgood.tallies import Origin
from lastgood.tool import risk_with_tools


@dataclass(frozen=True, slots=True)
class Request:
    """What an agent says of a run before it starts."""

    unit: str
    task_type: str
    risk: str | None
    conversation: str | None
    #: the tools that the run may call; None: all that its bundle declares
    tools: tuple[str, ...] | None = None
    #: the caller's own name of the run: asked for again while it is open, it is the same run
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """A run's identity: written once, never changed."""

    run_id: str
    agent: str
    environment: str
    bundle: Bundle
    decision: Decision
    assigned_us: int
    #: False where the store could not take the row: such a run is no evidence and records nothing
    recorded: bool = True
    #: what its recording needs of the row, where this process wrote it
    origin: Origin | None = None

    @classmethod
    def of(cls, row: Row, bundle: Bundle) -> Self:
        """Read it from a run's row; `bundle` is the row's."""
        decision = Decision(
            row["arm"], bundle, bool(row["eligible"]), Reason(row["reason"]), row["share_bp"], row["epoch"],
            row["release_id"], row["risk"],
        )  # fmt: skip
        return cls(row["id"], row["agent"], row["environment"], bundle, decision, row["assigned_us"])


def assign(serving: Serving, request: Request) -> Assigned:
    """Decide for one run and commit its row; raises `StoreUnavailable` when that can't be done."""
    with serving.store.transaction(at=(serving.agent, serving.environment)) as txn:
        answers = serving.locked(txn)
        bundles = (answers.snapshot.baseline, answers.snapshot.candidate)
        said = risk_with_tools(request.risk, [b for b in bundles if b is not None], request.tools)
        risk = risk_of(answers.snapshot.point, said)
        decision = answers.decide(request.unit, risk, serving.store.clock.boot_us())
        again = None if request.entry is None else _entered(txn, serving, answers, request.entry, decision)
        if again is not None:
            return again
        if request.conversation is not None:
            decision = _kept(txn, serving, answers, request.conversation, decision)
        decision = _within_caps(txn, answers, decision)
        run_id = new_id("run_", txn.now_us)
        origin = _write(txn, serving, answers, request, decision, run_id)
    if decision.reason in {Reason.CAP, Reason.SPLIT}:
        serving.note_headroom(answers, headroom=decision.reason is Reason.SPLIT)
    place = (serving.agent, serving.environment)
    return Assigned(run_id, *place, decision.bundle, decision, txn.now_us, origin=origin)


def _entered(
    txn: Transaction, serving: Serving, answers: Answers, entry: str, decision: Decision
) -> Assigned | None:
    """Return the run that was entered under this name, while it is open and its bundle may be served."""
    key = {"agent": serving.agent, "environment": serving.environment, "entry": entry}
    since_us = txn.now_us - answers.snapshot.point.terms.lost_after_us
    row = txn.one(sql.OPEN_ENTRY, **key, since_us=since_us)
    if row is None or not _may_continue(txn, serving, answers.snapshot.point, row, decision):
        return None
    return Assigned.of(row, serving.bundle(txn, row["bundle_id"]))


def _kept(
    txn: Transaction, serving: Serving, answers: Answers, conversation: str, decision: Decision
) -> Decision:
    """Hold a conversation to the bundle of its first turn, as long as that bundle may be served."""
    key = {"agent": serving.agent, "environment": serving.environment, "conversation": conversation}
    row = txn.one(sql.CONVERSATION, **key)
    if row is None:
        return decision
    point = answers.snapshot.point
    if _may_continue(txn, serving, point, row, decision):
        arm = CANDIDATE if row["bundle_id"] == point.candidate else BASELINE
        bundle = serving.bundle(txn, row["bundle_id"])
        return replace(decision, arm=arm, bundle=bundle, eligible=False, reason=Reason.CONVERSATION)
    return answers.refuse(Reason.CONVERSATION, decision.risk)


def _may_continue(
    txn: Transaction, serving: Serving, point: ControlPoint, row: Row, decision: Decision
) -> bool:
    if row["bundle_id"] == point.candidate:
        blocked = {Reason.NO_RELEASE, Reason.KILLED, Reason.LAPSED, Reason.RUNTIME, Reason.RISK}
        return row["release_id"] == point.release_id and decision.reason not in blocked
    if row["bundle_id"] == point.baseline:
        return True
    good = _is_good(txn, point, row["bundle_id"])
    return good and serving.announces(serving.bundle(txn, row["bundle_id"]))


def _is_good(txn: Transaction, point: ControlPoint, bundle_id: str) -> bool:
    good = txn.all(sql.GOOD_BUNDLES, agent=point.agent, environment=point.environment, now_us=txn.now_us)
    return any(row["bundle_id"] == bundle_id for row in good)


def _within_caps(txn: Transaction, answers: Answers, decision: Decision) -> Decision:
    """Refuse the candidate, and both arms as evidence, where a ceiling leaves no headroom."""
    if decision.release_id is None or not (decision.eligible or decision.arm == CANDIDATE):
        return decision
    claims = reserving.run_claims(answers.snapshot.point.terms.caps)
    if reserving.short_of(txn, decision.release_id, claims) is not None:
        return answers.refuse(Reason.CAP, decision.risk)
    if decision.arm == CANDIDATE and not all(reserving.reserve(txn, decision.release_id, c) for c in claims):
        return answers.refuse(Reason.CAP, decision.risk)
    return decision


def _write(
    txn: Transaction, serving: Serving, answers: Answers, request: Request, decision: Decision, run_id: str
) -> Origin:
    terms = answers.snapshot.point.terms
    block = _block(txn, request, decision, terms)
    repeats = decision.eligible and _repeats(txn, request, decision)
    txn.insert(
        "run",
        {
            "id": run_id,
            "agent": serving.agent,
            "environment": serving.environment,
            "unit": request.unit,
            "conversation": request.conversation,
            "task_type": request.task_type,
            "risk": decision.risk,
            "bundle_id": decision.bundle.id,
            "arm": decision.arm,
            "epoch": decision.epoch,
            "release_id": decision.release_id,
            "eligible": decision.eligible,
            "reason": Reason.REPEAT if repeats else decision.reason,
            "share_bp": decision.share_bp,
            "block": block,
            "assigned_us": txn.now_us,
        },
    )
    if request.conversation is not None:
        _keep(txn, serving, request.conversation, decision)
    if request.entry is not None:
        place = {"agent": serving.agent, "environment": serving.environment}
        txn.run(sql.ENTER, **place, entry=request.entry, run_id=run_id)
    if decision.arm == CANDIDATE and decision.release_id is not None:
        for claim in reserving.run_claims(terms.caps):
            if claim.held:
                expires = txn.now_us + terms.lost_after_us
                reserving.hold(txn, decision.release_id, run_id, claim, expires)
    return Origin(
        serving.agent,
        serving.environment,
        decision.release_id,
        request.task_type,
        block,
        decision.arm,
        decision.bundle.id,
        txn.now_us,
    )


def _keep(txn: Transaction, serving: Serving, conversation: str, decision: Decision) -> None:
    txn.run(
        sql.KEEP_CONVERSATION,
        agent=serving.agent,
        environment=serving.environment,
        conversation=conversation,
        bundle_id=decision.bundle.id,
        release_id=decision.release_id,
        arm=decision.arm,
        since_us=txn.now_us,
    )


def _repeats(txn: Transaction, request: Request, decision: Decision) -> bool:
    """Whether the run's unit has had an eligible run in this release: half of the evidence leaves it out."""
    return txn.run(sql.FIRST_OF_UNIT, release_id=decision.release_id, unit=request.unit) == 0


def _block(txn: Transaction, request: Request, decision: Decision, terms: Terms) -> int | None:
    """Number an eligible run into a block."""
    if not decision.eligible:
        return None
    row = txn.one(
        sql.NEXT_BLOCK,
        release_id=decision.release_id,
        stratum=terms.stratum(request.task_type),
        epoch=decision.epoch,
        now_us=txn.now_us,
        size=terms.block_size,
        time_us=terms.block_time_us,
    )
    return int(row["block"]) if row else None
