"""Intake: runs, outcomes, late reports, events and actions of agents in any language.

Outcomes and late reports come in batches of JSON lines, each with its run's token. What is answered 200
has been committed. A line that can't be used is named with its place, and the others are written; a batch
of which no line can be read is refused whole.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from lastgood import acting, assigning, failures, identity, recorder
from lastgood.acting import Effect
from lastgood.errors import BadToken, InvalidInput, LastgoodError
from lastgood.identity import Wrong
from lastgood.outcome import Outcome
from lastgood.recorder import Batch, Report
from lastgood.redaction import clean
from lastgood.roles import Act
from lastgood.service import evaluating
from lastgood.service.desk import Visit, allowed
from lastgood.service.problems import TooMuch
from lastgood.store import statements as sql
from lastgood.store.connection import Row

router = APIRouter(prefix="/v1/agents/{agent}", tags=["intake"])
Recording = Annotated[Visit, Depends(allowed(Act.RECORD))]
#: lines of a batch
MOST_LINES = 10_000
#: outcomes that share a transaction
_TOGETHER = 1_000
_Text = Annotated[str, Field(min_length=1, max_length=500)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RunBody(_Body):
    """A run that is about to start."""

    unit: _Text = Field(description="What the assignment is keyed on: a run, a conversation, a user.")
    task_type: _Text = "default"
    risk: Literal["low", "medium", "high"] | None = None
    conversation: _Text | None = None
    run: _Text | None = Field(
        None, description="Your own name of the run: while it is open it is entered once."
    )
    tools: Annotated[list[_Text], Field(max_length=1_000)] | None = Field(
        None, description="Tools that it may call; default: all that its bundle declares."
    )
    runtimes: Annotated[list[_Text], Field(max_length=100)] | None = Field(
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


class EventBody(_Body):
    """A named event of a run."""

    run: _Text
    token: _Text
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    detail: dict[str, Any] = Field(default_factory=dict, description="Data about it; redacted, never obeyed.")


class ReserveBody(_Body):
    """An external effect that a run is about to have."""

    run: _Text
    token: _Text
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    target: Annotated[str, Field(max_length=500)] = ""
    undo: dict[str, Any] = Field(default_factory=dict, description="What undoes it.")
    tool: _Text | None = None
    key: _Text | None = Field(None, description="The same key again in one run is the same effect.")
    idempotent: bool = Field(False, description="Whether a call whose end is not known may be made again.")


class ReserveAnswer(BaseModel):
    """Whether the effect may happen now."""

    action: str
    late: bool = Field(description="It comes after the bundle was reverted; recovery will undo it.")
    done: bool = Field(description="It happened before under this key: do not do it again.")
    result: Any = Field(description="What it returned then.")
    kept: bool = Field(description="Whether that is known.")


class SettleBody(_Body):
    """How an effect ended."""

    run: _Text
    token: _Text
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


async def _body(request: Request) -> bytes:
    return await request.body()


Sent = Annotated[bytes, Depends(_body)]


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    run: str
    token: str
    fields: dict[str, Any]


def _lines(sent: bytes) -> tuple[list[_Line], list[LineError]]:
    """Read JSON lines; raises `InvalidInput` and `TooMuch` where nothing of it can be used."""
    pieces = [(number, piece) for number, piece in enumerate(sent.split(b"\n"), start=1) if piece.strip()]
    if len(pieces) > MOST_LINES:
        msg = f"a batch of {len(pieces):,} lines; send at most {MOST_LINES:,} at once"
        raise TooMuch(msg)
    read: list[_Line] = []
    unread: list[LineError] = []
    for number, piece in pieces:
        try:
            read.append(_line(number, piece))
        except InvalidInput as error:
            unread.append(LineError(line=number, run=None, error="InvalidInput", message=str(error)))
    if not read:
        why = unread[0].message if unread else "it is empty"
        msg = f"no line of the batch can be read: {why}; send one JSON object a line with run and token"
        raise InvalidInput(msg)
    return read, unread


def _line(number: int, piece: bytes) -> _Line:
    try:
        found = json.loads(piece)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"line {number} is no JSON: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"line {number} is no JSON object")
    run, token = found.pop("run", None), found.pop("token", None)
    if not isinstance(run, str) or not isinstance(token, str):
        raise InvalidInput(f"line {number} has no run or no token, as texts")
    return _Line(number, run, token, found)


@router.post("/outcomes", summary="Record how runs ended, as JSON lines")
def outcomes(visit: Recording, sent: Sent) -> BatchAnswer:
    """Record one outcome a line: run, token, and what is known of the run.

    That is any of completed, validated, escalated, incidents, cost_usd, operator_edits, latency_s,
    infra_failure, status, error, input, output, usage; a number of another name is a metric.
    """
    lines, refused = _lines(sent)
    reports: list[tuple[_Line, Report]] = []
    for line in lines:
        try:
            reports.append((line, _report(line)))
        except InvalidInput as error:
            refused.append(
                LineError(line=line.number, run=line.run, error="InvalidInput", message=str(error))
            )
    keys, answer = identity.keys(visit.store), BatchAnswer(new=0, duplicates=0, refused=refused)
    for start in range(0, len(reports), _TOGETHER):
        some = reports[start : start + _TOGETHER]
        mine, others = _own(visit, some)
        answer.refused += others
        batch = recorder.record_batch(visit.store, [report for _, report in mine], keys=keys)
        _count(answer, batch, {line.run: line for line, _ in mine})
    return answer


def _own(
    visit: Visit, reports: list[tuple[_Line, Report]]
) -> tuple[list[tuple[_Line, Report]], list[LineError]]:
    """Tell the reports of this agent's runs from those of others, which its token does not reach."""
    statement, values = sql.among(sql.PLACES_AMONG, [line.run for line, _ in reports])
    with visit.store.reading() as txn:
        runs = {row["id"]: row for row in txn.all(statement, **values)}
    mine, others = [], []
    for line, report in reports:
        row = runs.get(line.run)
        if row is None or _is_of(visit, row):
            mine.append((line, report))
        else:
            others.append(
                LineError(
                    line=line.number, run=line.run, error="Forbidden", message=_not_ours(visit, line.run)
                )
            )
    return mine, others


def _is_of(visit: Visit, row: Row) -> bool:
    return bool(row["agent"] == visit.agent and row["environment"] == visit.environment)


def _not_ours(visit: Visit, run: str) -> str:
    return f"run {run} is none of {visit.agent} in {visit.environment}"


def _count(answer: BatchAnswer, batch: Batch, lines: dict[str, _Line]) -> None:
    answer.new += batch.new
    answer.duplicates += len(batch.duplicates)
    for run, why in batch.refused:
        number = lines[run].number if run in lines else 0
        answer.refused.append(LineError(line=number, run=run, error="BadToken", message=why))


_STATES = {"ended", "failed", "disconnected"}


def _report(line: _Line) -> Report:
    """Read an outcome; raises `InvalidInput`."""
    fields = dict(line.fields)
    given, made, usage = fields.pop("input", None), fields.pop("output", None), fields.pop("usage", [])
    status, error = fields.pop("status", "ended"), fields.pop("error", None)
    if status not in _STATES or not (error is None or isinstance(error, str)):
        raise InvalidInput(
            f"status={status!r} has to be one of {', '.join(sorted(_STATES))}, and error a text"
        )
    if not isinstance(usage, list) or not all(isinstance(call, dict) for call in usage):
        raise InvalidInput("usage has to be a list of objects, one a model call")
    outcome = Outcome(status=status, error=None if error is None else error[:200], usage=usage)
    said = fields.pop("error_text", None)
    said = failures.normalised(clean(said)) if isinstance(said, str) else said
    outcome.observe(said, fields.pop("parts_read", None))
    outcome.take(fields)
    if outcome.completed is None:
        outcome.completed = False if status == "failed" else True if status == "ended" else None
    return Report(line.run, outcome, given, made, token=line.token)


@router.post("/reports", summary="Record what became known later, as JSON lines")
def reports(visit: Recording, sent: Sent) -> BatchAnswer:
    """Record one late report a line: run, token, what came later, and a `key` so that it counts once."""
    lines, refused = _lines(sent)
    answer = BatchAnswer(new=0, duplicates=0, refused=refused)
    for line in lines:
        try:
            _check_own(visit, line.run)
            fields = dict(line.fields)
            key = fields.pop("key", None)
            if not (key is None or isinstance(key, str)):
                raise InvalidInput(f"key={key!r} is no text")
            new = recorder.record_late(visit.store, line.run, fields, key=key, token=line.token)
            answer.new += new
            answer.duplicates += not new
        except (InvalidInput, BadToken) as error:
            kind = type(error).__name__
            answer.refused.append(LineError(line=line.number, run=line.run, error=kind, message=str(error)))
    return answer


def _check_own(visit: Visit, run: str, token: str | None = None) -> None:
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
        with visit.store.transaction() as txn:
            identity.count(txn, row, wrong)
        raise BadToken(wrong.say(run))


@router.post("/events", summary="Record an event at once", status_code=204)
def event(visit: Recording, body: EventBody) -> None:
    """Record a named event; one that the policy does not tolerate reverts the release in this request."""
    _check_own(visit, body.run)
    recorder.record_event(visit.store, body.run, body.name, body.detail, token=body.token)


@router.post("/actions", summary="Ask to have an external effect")
def reserve(visit: Recording, body: ReserveBody) -> ReserveAnswer:
    """Pass the gate before an effect: 409 says that it must not happen, and why."""
    _check_own(visit, body.run, body.token)
    effect = Effect(body.kind, body.target, body.undo, body.tool, body.key, body.idempotent)
    gated = acting.reserve(visit.store, body.run, effect)
    result = None if gated.result is None else json.loads(gated.result)
    return ReserveAnswer(
        action=gated.id, late=gated.late, done=gated.done, result=result, kept=gated.result is not None
    )


@router.post("/actions/{action}", summary="Say how the effect ended", status_code=204)
def settle(visit: Recording, action: str, body: SettleBody) -> None:
    """Settle an effect: a failed one gives its place under a ceiling back."""
    _check_own(visit, body.run, body.token)
    with visit.store.reading() as txn:
        row = txn.one(sql.ACTION, id=action)
    if row is None or row["run_id"] != body.run:
        raise BadToken(f"run {body.run} has no action {action}")
    known = body.kept or body.result is not None
    acting.settle(visit.store, action, body.state, json.dumps(body.result) if known else None)


__all__ = ["MOST_LINES", "LastgoodError", "router"]
