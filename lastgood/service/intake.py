"""Intake: runs, outcomes, late reports, events and actions of agents in any language.

Outcomes and late reports come in batches of JSON lines, each with its run's token. What is answered 200
has been committed. A line that can't be used is named with its place, and the others are written; a batch
of which no line can be read is refused whole.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from lastgood import acting, assigning, failures, identity, late, recorder
from lastgood.acting import Effect
from lastgood.errors import BadToken, InvalidInput, LastgoodError
from lastgood.identity import Wrong
from lastgood.late import LateReport
from lastgood.outcome import Outcome, checked, noted
from lastgood.recorder import Batch, Report
from lastgood.records import storable
from lastgood.redaction import clean
from lastgood.roles import Act
from lastgood.service import evaluating, lines
from lastgood.service.bodies import Body, Sent, Text
from lastgood.service.desk import Visit, allowed
from lastgood.service.lines import Lines
from lastgood.service.problems import TooOften
from lastgood.store import statements as sql
from lastgood.store.connection import Row
from lastgood.vetting import Told

router = APIRouter(prefix="/v1/agents/{agent}", tags=["intake"])
Recording = Annotated[Visit, Depends(allowed(Act.RECORD))]
#: characters of a late report's key, and of a run's name that is said back
_LONGEST = 500
#: outcomes that share a transaction
_TOGETHER = 1_000
#: late reports that do: each asks what was known before
_LATE_TOGETHER = 100


class RunBody(Body):
    """A run that is about to start."""

    unit: Text = Field(description="What the assignment is keyed on: a run, a conversation, a user.")
    task_type: Text = "default"
    risk: Literal["low", "medium", "high"] | None = None
    conversation: Text | None = None
    run: Text | None = Field(
        None, description="Your own name of the run: while it is open it is entered once."
    )
    tools: Annotated[list[Text], Field(max_length=1_000)] | None = Field(
        None, description="Tools that it may call; default: all that its bundle declares."
    )
    runtimes: Annotated[list[Text], Field(max_length=100)] | None = Field(
        None, description="What the agent's process is; default: what the service's is."
    )


class RunAnswer(BaseModel):
    """The run, its bundle, and the token that everything about it has to bring."""

    run: str
    token: str
    bundle: str = Field(description="Full id; `GET /v1/bundles/{bundle}` has the parts.")
    arm: str
    epoch: int
    eligible: bool
    why: str
    release: str | None


class EventBody(Body):
    """A named event of a run."""

    run: Text
    token: Text
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    detail: dict[str, Any] = Field(default_factory=dict, description="Data about it; redacted, never obeyed.")


class ReserveBody(Body):
    """An external effect that a run is about to have."""

    run: Text
    token: Text
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    target: Annotated[str, Field(max_length=500)] = ""
    undo: dict[str, Any] = Field(
        default_factory=dict,
        description="What undoes it; a secret in it is not kept: name env:NAME.",
    )
    tool: Text | None = None
    key: Text | None = Field(None, description="The same key again in one run is the same effect.")
    idempotent: bool = Field(False, description="Whether a call whose end is not known may be made again.")


class ReserveAnswer(BaseModel):
    """Whether the effect may happen now."""

    action: str
    late: bool = Field(description="It comes after the bundle was reverted; recovery will undo it.")
    done: bool = Field(description="It happened before under this key: do not do it again.")
    result: Any = Field(description="What it returned then.")
    kept: bool = Field(description="Whether that is known.")


class SettleBody(Body):
    """How an effect ended."""

    run: Text
    token: Text
    state: Literal["done", "failed"]
    result: Any = None
    kept: bool = Field(False, description="Whether a result of null is what it returned.")


class LineError(BaseModel):
    """A line that was not written."""

    line: int = Field(description="From 1.")
    run: str | None
    error: str
    message: str


class BatchAnswer(BaseModel):
    """What became of a batch; all that is counted here has been committed."""

    new: int
    duplicates: int
    refused: list[LineError]


@router.post("/runs", summary="Enter a run")
def enter(visit: Recording, body: RunBody) -> RunAnswer:
    """Commit the assignment of one run, before its work starts."""
    runtimes = None if body.runtimes is None else frozenset(body.runtimes)
    serving = visit.desk.serving(visit.agent, visit.environment, runtimes)
    tools = None if body.tools is None else tuple(body.tools)
    asked = assigning.Request(body.unit, body.task_type, body.risk, body.conversation, tools, body.run)
    assigned = assigning.assign(serving, asked)
    decision = assigned.decision
    return RunAnswer(
        run=assigned.run_id,
        token=evaluating.token_of(serving, assigned),
        bundle=decision.bundle.id,
        arm=decision.arm,
        epoch=decision.epoch,
        eligible=decision.eligible,
        why=str(decision.reason),
        release=decision.release_id,
    )


@router.post(
    "/outcomes",
    summary="Record how runs ended, as JSON lines",
    openapi_extra=lines.body(**lines.OUTCOME),
)
async def outcomes(visit: Recording, sent: Sent) -> BatchAnswer:
    """Record one outcome a line: run, token, and what is known of the run.

    That is any of completed, validated, escalated, incidents, cost_usd, operator_edits, latency_s,
    infra_failure, status, error, input, output, usage; a number of another name is a metric.
    """
    return await _in_turn(visit, sent, record_outcomes)


async def _in_turn(visit: Visit, sent: bytes, record: Callable[[Visit, bytes], BatchAnswer]) -> BatchAnswer:
    """Work on a batch beside those of other tokens; lines that are of no use slow their token down."""
    async with visit.desk.lanes.enter(visit.principal.token_id) as may:
        if not may:
            raise TooOften(f"{visit.principal.name} has too many batches under way: wait for their answers")
        answer = await run_in_threadpool(record, visit, sent)
    visit.desk.pace.charge(visit.principal.token_id, len(answer.refused))
    return answer


def record_outcomes(visit: Visit, sent: bytes) -> BatchAnswer:
    """Record a batch of outcomes."""
    return _record(visit, sent, _report, recorder.record_batch, _TOGETHER)


def _record(
    visit: Visit,
    sent: bytes,
    read: Callable[[int, dict[str, Any]], Any],
    write: Callable[..., Batch],
    most: int,
) -> BatchAnswer:
    """Read each line by `read`, and let `write` record those that can be read, so many in a transaction."""
    found = lines.read(sent)
    answer = BatchAnswer(new=0, duplicates=0, refused=_unread(found))
    told: list[Any] = []
    numbers: list[int] = []
    for number, fields in found.read:
        run = fields.get("run")
        try:
            told.append(read(number, fields))
            numbers.append(number)
        except InvalidInput as error:
            answer.refused.append(_refusal(number, run, error))
    keys, place = identity.keys(visit.store), (visit.agent, visit.environment)
    for start in range(0, len(told), most):
        some = told[start : start + most]
        _add(answer, visit, write(visit.store, some, keys=keys, place=place), some, numbers[start:])
    return answer


def _add(answer: BatchAnswer, visit: Visit, batch: Batch, told: Sequence[Told], numbers: list[int]) -> None:
    """Add what became of some reports, whose lines have these numbers."""
    answer.new += batch.new
    answer.duplicates += len(batch.duplicates)
    if batch.refused_at or batch.foreign_at:
        answer.refused += _refusals(visit, batch, told, numbers)


def _unread(found: Lines) -> list[LineError]:
    return [LineError(line=n, run=None, error="InvalidInput", message=why) for n, why in found.unread]


def _refusal(number: int, run: object, error: LastgoodError) -> LineError:
    named = storable(run[:_LONGEST]) if isinstance(run, str) else None
    return LineError(line=number, run=named, error=type(error).__name__, message=storable(str(error)))


def _refusals(visit: Visit, batch: Batch, told: Sequence[Told], numbers: list[int]) -> Iterator[LineError]:
    """Name the lines that a batch left out."""
    for at, (run, why) in zip(batch.refused_at, batch.refused, strict=True):
        yield LineError(line=numbers[at], run=run, error="BadToken", message=why)
    for at in batch.foreign_at:
        run = told[at].run_id
        yield LineError(line=numbers[at], run=run, error="Forbidden", message=_not_ours(visit, run))


def _is_of(visit: Visit, row: Row) -> bool:
    return bool(row["agent"] == visit.agent and row["environment"] == visit.environment)


def _not_ours(visit: Visit, run: str) -> str:
    return f"run {run} is none of {visit.agent} in {visit.environment}"


_STATES = {"ended", "failed", "disconnected"}
#: what a line holds beside outcomes and metrics
_BESIDE = frozenset({"input", "output", "status", "error", "error_text", "parts_read", "usage"})


def _identity(number: int, fields: dict[str, Any]) -> tuple[str, str]:
    """Take a line's run and token out; raises `InvalidInput`."""
    run, token = fields.get("run"), fields.get("token")
    if not (isinstance(run, str) and isinstance(token, str)):
        raise InvalidInput(f"line {number} has no run or no token, as texts")
    if not (run.isascii() and run.isprintable()):
        raise InvalidInput(f"line {number}: {run[:60]!a} is no run's id; send run as you were given it")
    del fields["run"], fields["token"]
    return run, token


def _report(number: int, fields: dict[str, Any]) -> Report:
    """Read an outcome; raises `InvalidInput`."""
    run, token = _identity(number, fields)
    if _BESIDE.isdisjoint(fields):
        outcome = Outcome.of(fields)
        given = made = None
    else:
        given, made = fields.pop("input", None), fields.pop("output", None)
        how = _how(fields)
        outcome = Outcome.of(fields, **how)
    if outcome.completed is None and outcome.status != "disconnected":
        outcome.completed = outcome.status == "ended"
    return Report(run, outcome, given, made, token=token)


def _how(fields: dict[str, Any]) -> dict[str, Any]:
    """Take out how a run ended; raises `InvalidInput`."""
    status, error, usage = fields.pop("status", "ended"), fields.pop("error", None), fields.pop("usage", [])
    if not (isinstance(status, str) and status in _STATES and (error is None or isinstance(error, str))):
        states = ", ".join(sorted(_STATES))
        raise InvalidInput(f"status={status!r:.60} has to be one of {states}, and error a text")
    if not isinstance(usage, list) or not all(isinstance(call, dict) for call in usage):
        raise InvalidInput("usage has to be a list of objects, one a model call")
    said = fields.pop("error_text", None)
    said = failures.normalised(clean(storable(said))) if isinstance(said, str) else said
    return noted(said, fields.pop("parts_read", None)) | {
        "status": status,
        "error": None if error is None else clean(storable(error))[:200],
        "usage": usage,
    }


@router.post(
    "/reports",
    summary="Record what became known later, as JSON lines",
    openapi_extra=lines.body(key="string", **lines.KNOWN),
)
async def reports(visit: Recording, sent: Sent) -> BatchAnswer:
    """Record one late report a line: run, token, what came later, and a `key` so that it counts once."""
    return await _in_turn(visit, sent, record_reports)


def record_reports(visit: Visit, sent: bytes) -> BatchAnswer:
    """Record a batch of late reports."""
    return _record(visit, sent, _late, late.record_late_batch, _LATE_TOGETHER)


def _late(number: int, fields: dict[str, Any]) -> LateReport:
    """Read a late report; raises `InvalidInput`."""
    run, token = _identity(number, fields)
    key = fields.pop("key", None)
    if not (key is None or (isinstance(key, str) and len(key) <= _LONGEST)):
        raise InvalidInput(f"key={key!r:.60} is no text of at most {_LONGEST} characters")
    if not fields:
        raise InvalidInput(f"report of run {run}: nothing to report; name at least one outcome")
    return LateReport(run, checked(fields), None if key is None else storable(key), token)


def check_own(visit: Visit, run: str, token: str | None = None) -> None:
    """Raise `BadToken` for a run that is none of this agent's, or does not come with its token."""
    keys = identity.keys(visit.store) if token is not None else None
    with visit.store.reading() as txn:
        row = txn.one(sql.RUN, id=run)
        wrong = identity.refusal(keys, token, row, txn.now_us) if keys and row else None
    if row is None:
        raise BadToken(Wrong.UNKNOWN_RUN.say(run))
    if not _is_of(visit, row):
        raise BadToken(_not_ours(visit, run))
    if wrong is not None:
        with visit.store.transaction(at=(visit.agent, visit.environment)) as txn:
            identity.count(txn, row, wrong)
        raise BadToken(wrong.say(run))


@router.post("/events", summary="Record an event at once", status_code=204)
def event(visit: Recording, body: EventBody) -> None:
    """Record a named event; one that the policy does not tolerate reverts the release in this request."""
    check_own(visit, body.run)
    recorder.record_event(visit.store, body.run, body.name, body.detail, token=body.token)


@router.post("/actions", summary="Ask to have an external effect")
def reserve(visit: Recording, body: ReserveBody) -> ReserveAnswer:
    """Pass the gate before an effect: 409 says that it must not happen, and why."""
    check_own(visit, body.run, body.token)
    effect = Effect(body.kind, body.target, body.undo, body.tool, body.key, body.idempotent)
    gated = acting.reserve(visit.store, body.run, effect)
    result = None if gated.result is None else json.loads(gated.result)
    return ReserveAnswer(
        action=gated.id, late=gated.late, done=gated.done, result=result, kept=gated.result is not None
    )


@router.post("/actions/{action}", summary="Say how the effect ended", status_code=204)
def settle(visit: Recording, action: str, body: SettleBody) -> None:
    """Settle an effect: a failed one gives its place under a ceiling back."""
    check_own(visit, body.run, body.token)
    with visit.store.reading() as txn:
        row = txn.one(sql.ACTION, id=action)
    if row is None or row["run_id"] != body.run:
        raise BadToken(f"run {body.run} has no action {action}")
    known = body.kept or body.result is not None
    acting.settle(visit.store, action, body.state, json.dumps(body.result) if known else None)


__all__ = ["router"]
