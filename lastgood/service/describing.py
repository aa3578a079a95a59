"""What OpenAPI says beyond the models: bodies that are read by hand, names in paths, and how errors read.

The framework writes down what it resolves itself. The rest stands here by path, so that a client can be made
of the document alone: a test holds it to what the service answers.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI

_JSON, _LINES, _HTML = "application/json", "application/jsonl", "text/html"
_PROBLEM = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {"type": "string", "description": "The kind, such as InvalidInput, Forbidden, CapReached."},
        "message": {"type": "string", "description": "What happened, to which object, and what to do next."},
        "cap": {"type": "string", "description": "Of CapReached: which ceiling."},
        "level": {"type": "number", "description": "Of CapReached: its level."},
        "used": {"type": "number", "description": "Of CapReached: what is taken of it."},
        "frees_us": {"type": ["integer", "null"], "description": "Of CapReached: when, microseconds UTC."},
    },
}
_OFREP_PROBLEM = {
    "type": "object",
    "required": ["errorDetails"],
    "properties": {
        "key": {"type": "string"},
        "errorCode": {
            "type": "string",
            "enum": ["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "FLAG_NOT_FOUND", "GENERAL"],
        },
        "errorDetails": {"type": "string"},
    },
}
_EVALUATION = {
    "type": "object",
    "required": ["key", "value", "variant", "reason", "metadata"],
    "properties": {
        "key": {"type": "string"},
        "value": {"description": "The bundle: id, name, parts; of the flag AGENT:id its id alone."},
        "variant": {"type": "string", "enum": ["baseline", "candidate"]},
        "reason": {
            "type": "string",
            "enum": ["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"],
        },
        "metadata": {
            "type": "object",
            "description": "Epoch, share, why, and run and token of a run that was entered.",
        },
    },
}
_BULK = {
    "type": "object",
    "required": ["flags", "metadata", "eventStreams"],
    "properties": {
        "flags": {"type": "array", "items": _EVALUATION},
        "metadata": {"type": "object"},
        "eventStreams": {"type": "array", "items": {"type": "object"}},
    },
}
_PARTIAL = {"type": "object", "description": "partialSuccess says what was refused."}
#: by path: media type and schema of a body that neither a model nor its route says
_BODIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "/v1/agents/{agent}/runs/batch": (_LINES, {"$ref": "#/components/schemas/RunBody"}),
    "/v1/agents/{agent}/actions/batch": (
        _LINES,
        {
            "anyOf": [
                {"$ref": "#/components/schemas/ReserveBody"},
                {
                    "allOf": [{"$ref": "#/components/schemas/SettleBody"}],
                    "required": ["action"],
                    "properties": {"action": {"type": "string"}},
                },
            ]
        },
    ),
    "/r/{token}/revert": (
        "application/x-www-form-urlencoded",
        {"type": "object", "properties": {"nonce": {"type": "string"}, "reason": {"type": "string"}}},
    ),
}
#: by method and path: media type and schema of an answer that no model writes
_ANSWERS: Mapping[tuple[str, str], tuple[str, Mapping[str, Any]]] = {
    ("post", "/ofrep/v1/evaluate/flags/{key}"): (_JSON, _EVALUATION),
    ("post", "/ofrep/v1/evaluate/flags"): (_JSON, _BULK),
    ("get", "/ofrep/v1/stream"): (
        "text/event-stream",
        {"type": "string", "description": "data: {type: refetchEvaluation, etag, lastModified}"},
    ),
    ("post", "/v1/traces"): (_JSON, _PARTIAL),
    ("post", "/v1/logs"): (_JSON, _PARTIAL),
    ("get", "/v1/agents/{agent}/audit"): (
        "application/x-ndjson",
        {"type": "object", "description": "A row a line; the head last."},
    ),
    ("get", "/metrics"): ("text/plain", {"type": "string", "description": "Prometheus' text format."}),
    ("get", "/v1/bundles/{bundle}"): (_JSON, {"type": "object", "description": "id, name, parts."}),
    ("get", "/v1/agents/{agent}/runs/{run}"): (
        _JSON,
        {
            "type": "object",
            "description": "run and outcome, as they are stored; outcome null while it is open.",
        },
    ),
}
_NAMES: Mapping[str, str] = {
    "agent": "The agent's name.",
    "environment": "Default: the service's.",
    "run": "The run's id.",
    "bundle": "A bundle: its full id, the beginning of it, b-... or its name.",
    "key": "The agent's name; AGENT:id for the id alone. Elsewhere a run's id or a memory entry's key.",
    "incident": "The incident's id.",
    "action": "The action's id, as its reservation gave it.",
    "policy": "The policy's name or digest.",
    "token": "The revert-only link's token.",
    "after": "Rows after this one.",
    "most": "So many at most.",
    "only_open": "Leave out those that are closed.",
    "if-none-match": "The tag of the answer before: 304 where nothing changed.",
}
_SAID: Mapping[str, str] = {
    "400": "What was sent can't be: the message names the field, nothing was written.",
    "401": "No valid token.",
    "403": "The role or the scope of the token, or a run's token, does not allow it; recorded.",
    "404": "There is none of that name.",
    "408": "The body was not there in time.",
    "409": "It may not be now: a ceiling, a policy, the state, or somebody was first.",
    "413": "The body, or the batch, is too large.",
    "415": "The body is of a type that is not taken here.",
    "429": "This token sends too often; Retry-After says when.",
    "501": "The service does not run where the pipeline is.",
    "503": "The store can't be used now; nothing was written.",
}


def describe(app: FastAPI) -> None:
    """Have the application's document say all of it."""
    write: Callable[[], dict[str, Any]] = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = write()
            for method, path, operation in _operations(document):
                _complete(method, path, operation)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas |= {"Problem": _PROBLEM, "OfrepProblem": _OFREP_PROBLEM}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]  # the framework's own way to extend it


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield method, path, operation


def _complete(method: str, path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)  # what the models refuse is answered 400
    if path in _BODIES and method == "post":
        media, schema = _BODIES[path]
        operation.setdefault("requestBody", {"required": True, "content": {media: {"schema": schema}}})
    if (method, path) in _ANSWERS:
        media, schema = _ANSWERS[method, path]
        answers["200"]["content"] = {media: {"schema": schema}}
    if path == "/ofrep/v1/evaluate/flags":
        answers["304"] = {"description": "Nothing changed since the tag of If-None-Match."}
        answers["200"]["headers"] = {"ETag": {"schema": {"type": "string"}}}
    for parameter in operation.get("parameters", ()):
        parameter.setdefault("description", _NAMES[parameter["name"]])
    for status in _statuses(method, path, operation):
        answers.setdefault(status, _problem(path, status))


def _statuses(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    """The errors that an operation may answer."""
    yield "503"
    if "security" in operation:
        yield from ("401", "403")
    if path.startswith("/r/"):
        yield from ("403", "404", "409")
    if "requestBody" in operation or operation.get("parameters"):
        yield "400"
    if "{" in path:
        yield "404"
    if method == "post":
        yield from ("408", "413")
    if method == "post" and path.startswith("/v1/"):
        yield "409"
    if {"intake", "OTLP"}.intersection(operation.get("tags", ())):
        yield "429"
    if "OTLP" in operation.get("tags", ()):
        yield "415"
    if path.endswith(("/waivers", "/releases")) and method == "post":
        yield "501"


def _problem(path: str, status: str) -> dict[str, Any]:
    if path.startswith("/r/") or path == "/{agent}":
        media, schema = _HTML, {"type": "string"}
    else:
        by_hand = path.startswith("/ofrep/") and status in {"400", "403", "404"}
        media, schema = _JSON, {"$ref": f"#/components/schemas/{'OfrepProblem' if by_hand else 'Problem'}"}
    return {"description": _SAID[status], "content": {media: {"schema": schema}}}


__all__ = ["describe"]
