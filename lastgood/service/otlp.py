"""OTLP intake: traces and log records that a team's OpenTelemetry exporters send anyway.

JSON always; protobuf where `lastgood[otlp]` is installed. What can't be taken is said in the protocol's own
words: 400 for a body that is no request, 429 for a token that sends too much at once, `partialSuccess` with
the number of spans that were left out.
"""

import json
import zlib
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from lastgood import telemetry, telemetry_table, traces
from lastgood.errors import Forbidden, InvalidInput
from lastgood.roles import ALLOWED, Act
from lastgood.service import limits, problems
from lastgood.service.desk import Caller, Desk, DeskOf
from lastgood.telemetry import Batch, TooManySpans
from lastgood.traces import Asker, Taken

router = APIRouter(prefix="/v1", tags=["OTLP"])
_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
#: `google.rpc.Code`
_INVALID, _EXHAUSTED = 3, 8


async def _sent(request: Request) -> tuple[str, bytes]:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if request.headers.get("Content-Encoding", "").strip().lower() == "gzip":
        body = _unzipped(body)
    return kind, body


def _unzipped(body: bytes) -> bytes:
    try:
        reader = zlib.decompressobj(wbits=31)
        found = reader.decompress(body, limits.MOST_BYTES)
    except zlib.error:
        return b"\0"  # no request in any of the forms
    return b"\0" if reader.unconsumed_tail else found


#: the body in OpenAPI: the messages are OpenTelemetry's own
_TAKES = {
    "requestBody": {
        "required": True,
        "content": {_JSON: {"schema": {"type": "object"}}, _PROTOBUF: {"schema": {"type": "string"}}},
    }
}
Sent = Annotated[tuple[str, bytes], Depends(_sent)]


def _may_record(principal: Caller) -> None:
    if Act.RECORD not in ALLOWED[principal.role]:
        raise Forbidden(f"{principal.name} is {principal.role}: telemetry takes a token of an agent")


@router.post("/traces", summary="Take OpenTelemetry spans", response_class=Response, openapi_extra=_TAKES)
async def spans(
    desk: DeskOf, principal: Caller, sent: Sent, _records: Annotated[None, Depends(_may_record)]
) -> Response:
    """Take an `ExportTraceServiceRequest`: runs, actions, model calls and evaluations of agents."""
    return await _in_turn(desk, principal, sent, ("traces", "rejectedSpans"), telemetry.spans)


@router.post("/logs", summary="Take OpenTelemetry events", response_class=Response, openapi_extra=_TAKES)
async def events(
    desk: DeskOf, principal: Caller, sent: Sent, _records: Annotated[None, Depends(_may_record)]
) -> Response:
    """Take an `ExportLogsServiceRequest`: evaluations, which the conventions send as events."""
    return await _in_turn(desk, principal, sent, ("logs", "rejectedLogRecords"), telemetry.records)


async def _in_turn(
    desk: Desk,
    principal: Caller,
    sent: tuple[str, bytes],
    words: tuple[str, str],
    read: Callable[[Any, int], Batch],
) -> Response:
    """Work on a request beside those of other tokens: an exporter that floods waits for itself."""
    if desk.pace.take(principal.token_id):
        return _refusal(sent[0], 429, f"{principal.name} sends too often: send more at once, in batches")
    async with desk.lanes.enter(principal.token_id) as may:
        if not may:
            return _refusal(sent[0], 429, f"{principal.name} has too much under way: wait for the answers")
        return await run_in_threadpool(_take, desk, principal, sent, words, read)


def _take(
    desk: Desk,
    principal: Caller,
    sent: tuple[str, bytes],
    words: tuple[str, str],
    read: Callable[[Any, int], Batch],
) -> Response:
    kind, body = sent
    signal, rejected = words
    if kind not in {_JSON, _PROTOBUF}:
        return _refusal(kind, 415, f"{kind or 'no type'}: send {_JSON}, or {_PROTOBUF} where it is installed")
    try:
        payload = _json(body) if kind == _JSON else _message(signal, body)
        batch = read(payload, desk.store.clock.now_us())
    except TooManySpans as error:
        return _refusal(kind, 413, str(error))
    except InvalidInput as error:
        return _refusal(kind, 400, str(error))
    except ModuleNotFoundError:
        return _refusal(kind, 415, "protobuf needs `pip install 'lastgood[otlp]'` here; or send JSON")
    taken = traces.take(desk.store, batch, telemetry_table.table(), _asker(desk, principal))
    return _answer(kind, signal, rejected, taken)


def _asker(desk: Desk, principal: Caller) -> Asker:
    return Asker(
        ",".join(sorted(principal.agents)),
        desk.environment,
        lambda agent, environment: principal.may(Act.RECORD, agent, environment),
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("the body is no JSON") from None


def _modules(signal: str) -> tuple[Any, Any]:
    """The messages of a signal: `opentelemetry-proto`, which the extra brings."""
    if signal == "traces":
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as found

        return found.ExportTraceServiceRequest, found.ExportTraceServiceResponse
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs

    return logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse


def _message(signal: str, body: bytes) -> Any:
    """Read protobuf as the JSON of OTLP: as protobuf's own, but ids are hexadecimal."""
    request = _modules(signal)[0]()
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError

    try:
        request.ParseFromString(body)
    except DecodeError:
        raise InvalidInput("the body is no protobuf message of OTLP") from None
    found: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    _hexed(found)
    return found


def _hexed(found: Any) -> None:
    import base64

    stack = [found]
    while stack:
        held = stack.pop()
        if isinstance(held, list):
            stack += held
        elif isinstance(held, dict):
            for key, value in held.items():
                if key in {"traceId", "spanId", "parentSpanId"} and isinstance(value, str):
                    held[key] = base64.b64decode(value).hex()
                elif key in {
                    "resourceSpans",
                    "scopeSpans",
                    "spans",
                    "resourceLogs",
                    "scopeLogs",
                    "logRecords",
                }:
                    stack.append(value)


def _answer(kind: str, signal: str, rejected: str, taken: Taken) -> Response:
    partial = (
        {"partialSuccess": {rejected: str(taken.rejected), "errorMessage": "; ".join(taken.reasons)[:1_000]}}
        if taken.rejected
        else {}
    )
    if kind == _JSON:
        return Response(json.dumps(partial), media_type=_JSON)
    from google.protobuf.json_format import ParseDict

    return Response(ParseDict(partial, _modules(signal)[1]()).SerializeToString(), media_type=_PROTOBUF)


def _refusal(kind: str, status: int, message: str) -> Response:
    """A `google.rpc.Status`, in the form that was sent."""
    code, headers = _EXHAUSTED if status == 429 else _INVALID, dict(problems.headers_of(status))
    if kind != _PROTOBUF:
        body = json.dumps({"code": code, "message": message}).encode()
        return Response(body, status, headers, _JSON)
    # field 1, a varint, and field 2, a text: written by hand, as the message is in no package that we need
    text = message.encode()[:120]
    return Response(bytes([8, code, 18, len(text)]) + text, status, headers, _PROTOBUF)
