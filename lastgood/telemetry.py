"""Telemetry: OTLP spans and log records (JSON) as what they say of runs. Pure: no store, no clock.

A span of an agent (`invoke_agent`) is the root of a run; what hangs below it (model calls, tool calls, memory
writes, evaluations) are its notes. What the table knows nothing of is named by its kind, to be counted.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.errors import InvalidInput
from lastgood.outcome import FIELDS, MOST
from lastgood.records import storable
from lastgood.telemetry_table import Table

#: one thing that a span says of its run, as JSON keeps it: `what` is model, tool, memory, evaluation, flag
Note = dict[str, Any]
#: spans and records of one request
MOST_SPANS = 10_000
#: microseconds that a time may be ahead, and that it may lie back
AHEAD_US, BACK_US = 10 * 60_000_000, 7 * 24 * 3_600_000_000
_EVALUATION, _FLAG = "gen_ai.evaluation.result", "feature_flag.evaluation"
_TRACE, _SPAN = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
_METRIC = re.compile(r"[^a-z0-9_]+")
_ERROR = (2, "STATUS_CODE_ERROR")
_DEPTH = 20
#: digits of a 64-bit number
_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Span:
    """One span, or one log record with the ids of its span."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    #: microseconds UTC
    start_us: int
    end_us: int
    failed: bool
    #: the resource's, below the span's own
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(slots=True)
class Batch:
    """The spans of one request."""

    spans: list[Span] = field(default_factory=list)
    #: how many can't be used, and why
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Root:
    """What a root span says of its run beside the notes."""

    agent: str | None
    environment: str | None
    bundle: str | None
    run: str | None
    token: str | None
    entry: str | None
    unit: str | None
    conversation: str | None
    task_type: str
    #: report fields of `lastgood.outcome`
    fields: Mapping[str, Any]
    error: str | None


@dataclass(slots=True)
class Said:
    """What one span says."""

    root: Root | None = None
    notes: list[Note] = field(default_factory=list)
    #: kinds of what is not mapped
    unmapped: Counter[str] = field(default_factory=Counter)


class TooManySpans(InvalidInput):
    """A request holds more spans than are taken at once."""


def spans(payload: Any, now_us: int) -> Batch:
    """Read an `ExportTraceServiceRequest`; raises `InvalidInput` where it is none."""
    batch = Batch()
    for resource, raw in _each(payload, "resourceSpans", "scopeSpans", "spans"):
        _take(batch, lambda raw=raw, resource=resource: _span(raw, resource, now_us))
    return batch


def records(payload: Any, now_us: int) -> Batch:
    """Read an `ExportLogsServiceRequest`: an event becomes a span of no length below the one it came in."""
    batch = Batch()
    for resource, raw in _each(payload, "resourceLogs", "scopeLogs", "logRecords"):
        _take(batch, lambda raw=raw, resource=resource: _record(raw, resource, now_us))
    return batch


def _take(batch: Batch, read: Any) -> None:
    try:
        batch.spans.append(read())
    except (InvalidInput, ValueError, TypeError, AttributeError, RecursionError) as error:
        batch.refused.append(str(error)[:200])


def _each(payload: Any, *keys: str) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Every span with its resource's attributes."""
    if not isinstance(payload, dict) or not isinstance(payload.get(keys[0], []), list):
        msg = f"the body is no OTLP request: an object with a list `{keys[0]}`"
        raise InvalidInput(msg)
    seen = 0
    for of_resource in payload.get(keys[0], []):
        held = of_resource.get("resource") if isinstance(of_resource, dict) else None
        resource = _attributes(held.get("attributes")) if isinstance(held, dict) else {}
        for of_scope in _list(of_resource, keys[1]):
            for raw in _list(of_scope, keys[2]):
                seen += 1
                if seen > MOST_SPANS:
                    msg = f"more than {MOST_SPANS:,} spans at once; let the exporter send smaller batches"
                    raise TooManySpans(msg)
                yield resource, raw


def _list(holder: Any, key: str) -> list[Any]:
    found = holder.get(key, []) if isinstance(holder, dict) else None
    if not isinstance(found, list):
        msg = f"the body is no OTLP request: {key} is no list"
        raise InvalidInput(msg)
    return found


def _span(raw: Any, resource: Mapping[str, Any], now_us: int) -> Span:
    start, end = _us(raw.get("startTimeUnixNano")), _us(raw.get("endTimeUnixNano"))
    span_id = _id(raw.get("spanId"), _SPAN, "spanId")
    if not now_us - BACK_US <= end <= now_us + AHEAD_US or start > end or start < now_us - 2 * BACK_US:
        msg = f"span {span_id}: its times can't be (from {start} to {end} us; now is {now_us}): set the clock"
        raise InvalidInput(msg)
    parent = raw.get("parentSpanId") or ""
    events = tuple(
        (_clean(event.get("name", "")), _attributes(event.get("attributes")))
        for event in raw.get("events") or []
    )
    return Span(
        trace_id=_id(raw.get("traceId"), _TRACE, "traceId"),
        span_id=span_id,
        parent_id=_id(parent, _SPAN, "parentSpanId") if parent else "",
        name=_clean(raw.get("name", "")),
        start_us=start,
        end_us=end,
        failed=(raw.get("status") or {}).get("code") in _ERROR,
        attributes={**resource, **_attributes(raw.get("attributes"))},
        events=events,
    )


def _record(raw: Any, resource: Mapping[str, Any], now_us: int) -> Span:
    at = _us(raw.get("timeUnixNano") or raw.get("observedTimeUnixNano") or 0)
    if not now_us - BACK_US <= at <= now_us + AHEAD_US:
        msg = f"a log record of {at} us can't be taken at {now_us}: set the clock"
        raise InvalidInput(msg)
    parent = _id(raw.get("spanId"), _SPAN, "spanId")
    name = _clean(raw.get("eventName") or "")
    attributes = _attributes(raw.get("attributes"))
    name = name or str(attributes.get("event.name", ""))
    # sent again it has the same id: a record has none of its own
    own = json.dumps([parent, name, at, attributes], sort_keys=True, default=str)
    return Span(
        trace_id=_id(raw.get("traceId"), _TRACE, "traceId"),
        span_id=f"log-{_digest(own)}",
        parent_id=parent,
        name=name,
        start_us=at,
        end_us=at,
        failed=False,
        attributes={**resource, **attributes},
        events=((name, {**resource, **attributes}),),
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _id(value: Any, pattern: re.Pattern[str], name: str) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not pattern.fullmatch(text) or not text.strip("0"):
        msg = f"{name}={value!r} is no id of a span: hexadecimal, not all zero"
        raise InvalidInput(msg[:200])
    return text


def _us(nanoseconds: Any) -> int:
    if isinstance(nanoseconds, bool) or not isinstance(nanoseconds, int | str) or len(str(nanoseconds)) > 20:
        msg = f"{str(nanoseconds)[:40]!r} is no time in nanoseconds"
        raise InvalidInput(msg)
    return int(nanoseconds) // 1_000


def _attributes(given: Any) -> dict[str, Any]:
    found = {}
    for each in given if isinstance(given, list) else []:
        if isinstance(each, dict) and isinstance(each.get("key"), str):
            found[_clean(each["key"])] = _value(each.get("value"))
    return found


def _value(given: Any, depth: int = 0) -> Any:
    """An `AnyValue`; None for what is none."""
    if not isinstance(given, dict) or depth > _DEPTH:
        return None
    found: Any = None
    match given:
        case {"stringValue": str(text)}:
            found = _clean(text)
        case {"boolValue": bool(truth)}:
            found = truth
        case {"intValue": int() | str() as number} if len(str(number)) <= _DIGITS:
            found = _number(int, number)
        case {"doubleValue": int() | float() as number}:
            found = _number(float, number)
        case {"arrayValue": {"values": list(values)}}:
            found = [_value(each, depth + 1) for each in values]
        case {"kvlistValue": {"values": list(values)}}:
            found = {_clean(each.get("key", "")): _value(each.get("value"), depth + 1) for each in values}
    return found


def _number(kind: type[int] | type[float], given: Any) -> int | float | None:
    try:
        return kind(given)
    except (ValueError, OverflowError):
        return None


def _clean(text: Any) -> str:
    return storable(str(text))


def said(span: Span, table: Table) -> Said:
    """Return what a span says of its run."""
    found = Said()
    operation = table.text("operation", span.attributes) or span.name.partition(" ")[0]
    meaning = table.operations.get(operation)
    if meaning == "run":
        found.root = _root(span, table)
    elif meaning == "model":
        found.notes.append(_model(span.attributes, table))
    elif meaning == "tool":
        _tool(span, table, found)
    elif meaning == "memory":
        _memory(span, operation, table, found)
    elif meaning is None and not (span.events and span.events[0][0] == span.name):
        found.unmapped[f"span {_short(operation)}"] += 1
    if meaning == "run" and table.find("tokens_in", span.attributes) is not None:
        found.notes.append({**_model(span.attributes, table), "whole": True})
    for place, (name, attributes) in enumerate(span.events):
        _event(name, attributes, f"otel:{span.span_id}:{place}", table, found)
    return found


def _short(name: str) -> str:
    """A name with what may be an id in it left out: kinds must stay few."""
    return re.sub(r"[0-9a-f-]*\d[0-9a-f-]*", "#", name)[:60] or "without a name"


def _root(span: Span, table: Table) -> Root:
    attributes = span.attributes
    agent = table.text("agent", attributes)
    flags = [a for n, a in span.events if n == _FLAG and table.text("flag", a) in {agent, f"{agent}:id"}]
    entry = table.text("entry", attributes) or next(
        (found for each in flags if (found := table.text("flag_entry", each))), None
    )
    fields = {name: value for name in FIELDS if (value := table.find(name, attributes)) is not None}
    fields.setdefault("latency_s", (span.end_us - span.start_us) / 1e6)
    error = table.text("error", attributes)
    if span.failed or error:
        fields.setdefault("completed", False)
    return Root(
        agent=agent,
        environment=table.text("environment", attributes),
        bundle=table.text("bundle", attributes),
        run=table.text("run", attributes),
        token=table.text("token", attributes),
        entry=entry,
        unit=table.text("unit", attributes),
        conversation=table.text("conversation", attributes),
        task_type=table.text("task_type", attributes) or "default",
        fields=fields,
        error=(error or "error")[:200] if span.failed or error else None,
    )


def _model(attributes: Mapping[str, Any], table: Table) -> Note:
    asked, answered = table.text("model", attributes), table.text("answered", attributes)
    return {
        "what": "model",
        # the model that answered is what the watch for drift compares
        "model": answered or asked or "unknown",
        "requested": asked,
        "tokens_in": _tokens(table.find("tokens_in", attributes)),
        "tokens_out": _tokens(table.find("tokens_out", attributes)),
        "cost_usd": _cost(table.find("cost_usd", attributes)),
    }


def _tokens(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST else None


def _cost(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= MOST else None


def _tool(span: Span, table: Table, found: Said) -> None:
    name = table.text("tool", span.attributes)
    if name is None:
        found.unmapped["tool call without a name"] += 1
        return
    given = table.find("arguments", span.attributes)
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            given = None
    note = {
        "what": "tool",
        "key": f"otel:{span.span_id}",
        "tool": name,
        "call": table.text("call", span.attributes),
        "arguments": given if isinstance(given, dict) else {},
    }
    found.notes.append(note | {"failed": _failed(span, table), "at_us": span.start_us})


def _failed(span: Span, table: Table) -> bool:
    return span.failed or table.text("error", span.attributes) is not None


def _memory(span: Span, operation: str, table: Table, found: Said) -> None:
    record = table.text("record", span.attributes)
    if record is None:
        found.unmapped["memory write without a record"] += 1
        return
    note = {"what": "memory", "key": f"otel:{span.span_id}", "operation": operation, "record": record}
    found.notes.append(note | {"failed": _failed(span, table), "at_us": span.start_us})


def _event(name: str, attributes: Mapping[str, Any], key: str, table: Table, found: Said) -> None:
    if name == _FLAG:
        return  # it names the run's entry, which the root has read
    if name != _EVALUATION:
        found.unmapped[f"event {_short(name)}"] += name != "exception"
        return
    evaluation = table.text("evaluation", attributes)
    score = _score(table.find("score", attributes), table.text("label", attributes))
    if evaluation is None or score is None:
        found.unmapped["evaluation without a name or a score"] += 1
        return
    field_name = table.evaluations.get(evaluation, f"metric:{evaluation}")
    target = field_name.removeprefix("metric:")
    if field_name.startswith("metric:"):
        target = _METRIC.sub("_", target.lower()).strip("_")[:64]
    if not target or (field_name.startswith("metric:") and target in FIELDS):
        found.unmapped["evaluation whose name can't be a metric's"] += 1
        return
    note: Note = {"what": "evaluation", "key": key, "field": target, "score": score}
    words = ("bundle", "run", "token", "entry", "agent", "environment")
    named = {word: table.text(word, attributes) for word in words}
    found.notes.append(note | {word: text for word, text in named.items() if text is not None})


def _score(value: Any, label: str | None) -> float | bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) <= MOST:
        return float(value)
    return {"pass": True, "true": True, "fail": False, "false": False}.get((label or "").lower())
