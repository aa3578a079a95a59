"""Bodies that no client should send: what is drawn, and the routes that take one.

A body is a valid one with something changed, or nothing of the kind: other types, depths, sizes, times,
bytes. `tests/lastgood/service/test_fuzz.py` sends some in the suite, `make fuzz` 100,000.
"""

import json
import math
import random
from collections.abc import Callable

AGENT = "/v1/agents/support"
_ATTRIBUTES = [
    {"key": "gen_ai.agent.name", "value": {"stringValue": "support"}},
    {"key": "lastgood.bundle", "value": {"stringValue": "b-00000000"}},
    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
]
_SPAN = {
    "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "parentSpanId": "", "name": "invoke_agent support",
    "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000",
    "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "invoke_agent"}}, *_ATTRIBUTES],
    "events": [{"name": "gen_ai.evaluation.result", "attributes": _ATTRIBUTES}], "status": {"code": 1},
}  # fmt: skip
_SPANS = {"scopeSpans": [{"spans": [_SPAN]}]}
_RECORD = {
    "timeUnixNano": "1700000000000000000", "eventName": "gen_ai.evaluation.result", "attributes": _ATTRIBUTES,
    "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "body": {"stringValue": "text"},
}  # fmt: skip
#: what a good body of each route looks like; RUN and TOKEN stand for those of a real run
BODIES: dict[str, dict[str, object]] = {
    "/ofrep/v1/evaluate/flags/support": {"context": {"targetingKey": "u", "risk": "low", "task_type": "faq"}},
    "/ofrep/v1/evaluate/flags": {"context": {"targetingKey": "u"}},
    f"{AGENT}/runs": {"unit": "u", "task_type": "faq", "risk": "low", "conversation": None, "run": "mine"},
    f"{AGENT}/outcomes": {
        "run": "RUN", "token": "TOKEN", "completed": True, "cost_usd": 0.1, "usage": [{"model": "small"}],
        "latency_s": 1.5, "edits": 2, "status": "ended", "input": {"q": 1}, "output": "text",
    },
    f"{AGENT}/runs/batch": {"unit": "u", "task_type": "faq"},
    f"{AGENT}/actions/batch": {"run": "RUN", "token": "TOKEN", "kind": "message", "undo": {}},
    "/v1/runs/RUN/suspend": {
        "token": "TOKEN", "fields": {"validated": True, "mood": 3}, "usage": [{"model": "small"}],
        "parts_read": 3, "worked_s": 1.5, "input": {"q": 1}, "output": {"ref": "s3://x"},
    },
    "/v1/runs/RUN/resume": {"token": "TOKEN"},
    f"{AGENT}/promote": {"candidate": "b-00000000", "reason": "r", "code": ""},
    "/v1/policies/default/waivers": {"guardrail": "completion", "slice": "faq", "reason": "r"},
    f"{AGENT}/reports": {"run": "RUN", "token": "TOKEN", "key": "k", "edits": 3},
    f"{AGENT}/events": {"run": "RUN", "token": "TOKEN", "name": "note", "detail": {"a": 1}},
    f"{AGENT}/actions": {"run": "RUN", "token": "TOKEN", "kind": "message", "target": "c", "undo": {}},
    f"{AGENT}/actions/act_1": {"run": "RUN", "token": "TOKEN", "state": "done", "result": {"id": 1}},
    f"{AGENT}/approval": {"decision": "promote", "reason": "r", "evidence": "0" * 12, "code": ""},
    f"{AGENT}/readmit": {"bundle": "b-00000000", "reason": "r"},
    f"{AGENT}/releases": {"candidate": "b-00000000", "policy": "default", "note": ""},
    f"{AGENT}/rollback": {"reason": "r", "to": "b-00000000"},
    f"{AGENT}/kill": {"reason": "r"},
    f"{AGENT}/incidents/inc_1/close": {"reason": "r"},
    "/r/lgl1.k.e30.x/revert": {"nonce": "1.x"},
    "/v1/traces": {"resourceSpans": [{"resource": {"attributes": _ATTRIBUTES}, **_SPANS}]},
    "/v1/logs": {"resourceLogs": [{"scopeLogs": [{"logRecords": [_RECORD]}]}]},
}  # fmt: skip


def _deep(depth: int) -> list[object]:
    """So many lists, one in the other."""
    found: list[object] = []
    for _ in range(depth):
        found = [found]
    return found


#: values that are of another type, or hardly of the right one
ODD: tuple[object, ...] = (
    None, True, -1, 0, 10**30, -(10**400),
    1e308, math.nan, math.inf, "", "\x00", "\ud800", "\u202e", "a" * 10_000,
    "run_" + "9" * 26,
    "'; DROP TABLE run; --", "../../etc/passwd", "{{7*7}}", "<script>", [], [[]], {}, {"": None},
    [1] * 1_000, {"$ref": "#"}, *(_deep(depth) for depth in (90, 300, 600, 850)), "\udc00", "a\x00b",
    [{"model": "x", "input_tokens": -1}], [{}] * 500, {"a" * 5_000: 1}, "9" * 5_000,
    "1970-01-01", -62135596800, 2**63, 2**64, "\uff19", "\u0130",
)  # fmt: skip


def _spoilt(draw: random.Random, value: object, depth: int = 0) -> object:
    """The same with one thing changed somewhere."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        name = draw.choice(list(value))
        changed = dict(value)
        kind = draw.randrange(4)
        if kind == 0:
            del changed[name]
        elif kind == 1:
            changed[draw.choice(["extra", "", "run\x00", "__proto__", name.upper()])] = draw.choice(ODD)
        else:
            changed[name] = _spoilt(draw, value[name], depth + 1)
        return changed
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        return [*value[:place], _spoilt(draw, value[place], depth + 1), *value[place + 1 :]]
    if isinstance(value, str) and value and draw.random() < 0.3:
        place = draw.randrange(len(value))
        return value[:place] + chr(draw.randrange(0xD7FF)) + value[place + 1 :]
    return draw.choice(ODD)


def _nested(draw: random.Random) -> bytes:
    depth = draw.choice([10, 900, 5_000, 100_000])
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return opening * depth + draw.choice([b"1", b""]) + closing * draw.choice([depth, 0])


def _number(draw: random.Random) -> bytes:
    return (
        b'{"unit": '
        + draw.choice([b"1" * 5_000, b"1e999", b"-" * 100, b"0x1", b"NaN", b"1.7976931348623157e309"])
        + b"}"
    )


def _cut(draw: random.Random, good: dict[str, object]) -> bytes:
    whole = json.dumps(good).encode()
    return whole[: draw.randrange(len(whole))]


def _scratched(draw: random.Random, good: dict[str, object]) -> bytes:
    whole = json.dumps(good).encode()
    place = draw.randrange(len(whole))
    return whole[:place] + draw.randbytes(draw.randrange(4)) + whole[place + 1 :]


def _many(draw: random.Random, good: dict[str, object]) -> bytes:
    lines = [json.dumps(_spoilt(draw, good)).encode() for _ in range(draw.randrange(1, 20))]
    return draw.choice([b"\n", b"\r\n", b"\n\n", b" "]).join(lines)


def _marked(draw: random.Random, good: dict[str, object]) -> bytes:
    return draw.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"]) + json.dumps(good).encode()


def _changed(draw: random.Random, good: dict[str, object]) -> bytes:
    changed: object = good
    for _ in range(draw.randrange(1, 4)):
        changed = _spoilt(draw, changed)
    return json.dumps(changed).encode()


#: ways to be wrong; the last stands for itself several times over
_WAYS: tuple[Callable[[random.Random, dict[str, object]], bytes], ...] = (
    lambda draw, _: draw.randbytes(draw.choice([0, 1, 50, 5_000])), lambda draw, _: _nested(draw),
    lambda draw, _: _number(draw), _cut, _scratched, _many, _marked, *[_changed] * 5,
)  # fmt: skip


def body(draw: random.Random, good: dict[str, object]) -> bytes:
    """One body that is a little, or wholly, wrong."""
    return draw.choice(_WAYS)(draw, good)


def filled(good: dict[str, object], run: str, token: str) -> dict[str, object]:
    """A good body with a real run in it."""
    return {name: {"RUN": run, "TOKEN": token}.get(value, value) if isinstance(value, str) else value
            for name, value in good.items()}  # fmt: skip


def every(draw: random.Random, number: int, run: Callable[[], tuple[str, str]]) -> object:
    """Yield so many paths with a body; `run` gives a real run and its token now and then."""
    held = run()
    for turn in range(number):
        if turn % 50 == 49:
            held = run()
        path = draw.choice(list(BODIES))
        yield path.replace("RUN", held[0]), body(draw, filled(BODIES[path], *held))
