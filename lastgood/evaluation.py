"""Evaluation in the words of OpenFeature: which bundle serves, as flag value, variant, reason and metadata.

The flag is the agent. Its value is the bundle: under the key AGENT an object (id, name, the content of its
parts), under AGENT:id its id alone, as text. The targeting key is the unit; `run` in the context names the
run itself (default: the targeting key), beside `risk`, `task_type` and `conversation`.

The reasons are those that clients know (a custom one makes some of them serve their default in silence);
ours stands in the metadata, which holds plain values alone.
"""

import base64
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lastgood.assigning import Request
from lastgood.bundle import Bundle, Part
from lastgood.decision import Decision, Reason
from lastgood.errors import InvalidInput

#: our reasons as those that every client knows; any other is `STATIC`
REASONS = {
    Reason.SPLIT: "SPLIT",
    Reason.REPEAT: "SPLIT",
    Reason.RISK: "TARGETING_MATCH",
    Reason.CONVERSATION: "TARGETING_MATCH",
}
#: what asks for the bundle's id alone
ID = ":id"
#: characters of a text in a context
MOST = 500


class Unfit(InvalidInput):
    """A context that can't be used; `code` is the protocol's word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Context:
    """What a client says of the run."""

    unit: str
    risk: str | None
    task_type: str
    conversation: str | None
    #: the client's own name of the run
    entry: str
    #: whether a run is entered, where the client may do that
    records: bool

    @property
    def request(self) -> Request:
        """The same as what an assignment is asked for."""
        return Request(self.unit, self.task_type, self.risk, self.conversation, entry=self.entry)


def context_of(context: object) -> Context:
    """Read an evaluation context, a map with `targetingKey`; raises `Unfit`."""
    if not isinstance(context, dict):
        raise Unfit("INVALID_CONTEXT", "there is no context: send {'context': {'targetingKey': ...}}")
    unit = context.get("targetingKey")
    if unit is None or unit == "":
        raise Unfit("TARGETING_KEY_MISSING", "the context has no targetingKey: name the run, or its user")
    records = context.get("record", True)
    if not isinstance(records, bool):
        raise Unfit("INVALID_CONTEXT", f"record={records!r:.60} is neither true nor false")
    unit = _text("targetingKey", unit)
    return Context(
        unit=unit,
        risk=_named(context, "risk"),
        task_type=_named(context, "task_type", "taskType") or "default",
        conversation=_named(context, "conversation"),
        entry=_named(context, "run") or unit,
        records=records,
    )


def _named(context: dict[str, Any], *names: str) -> str | None:
    found = [(name, context[name]) for name in names if context.get(name) is not None]
    return _text(*found[0]) if found else None


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MOST:
        raise Unfit("INVALID_CONTEXT", f"{name} has to be a text of 1 to {MOST} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("INVALID_CONTEXT", f"{name} is no UTF-8 text") from None
    return value


def reason_of(decision: Decision) -> str:
    """Return the protocol's reason of a decision."""
    return REASONS.get(decision.reason, "STATIC")


def metadata_of(environment: str, decision: Decision) -> dict[str, bool | int | str]:
    """Return what stands beside the value; plain values alone, as clients take no others."""
    found: dict[str, bool | int | str] = {
        "environment": environment,
        "bundle": decision.bundle.id,
        "epoch": decision.epoch,
        "eligible": decision.eligible,
        "why": str(decision.reason),
        "share_bp": decision.share_bp,
    }
    return found if decision.release_id is None else {**found, "release": decision.release_id}


@lru_cache(maxsize=64)
def content(bundle: Bundle, name: str) -> str:
    """Return a bundle as JSON: `id`, `name`, each part's `version`, `digest` and `value` or `files`.

    A file that is no UTF-8 text stands as `{"base64": ...}`.
    """
    parts = {part.kind: _part(part) for part in bundle.parts}
    return json.dumps({"id": bundle.id, "name": name, "parts": parts}, ensure_ascii=False)


def _part(part: Part) -> dict[str, Any]:
    head = {"version": part.version, "digest": part.digest}
    if part.form == "inline":
        return {**head, "value": json.loads(part.body)["value"]}
    return {**head, "files": {path: _file(held) for path, held in part.files.items()}}


def _file(held: bytes) -> str | dict[str, str]:
    try:
        return held.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(held).decode()}
