"""OFREP evaluation: who serves the next run of an agent, in the protocol's own words (0.3.0).

The flag is the agent. Its value is the bundle: under the key AGENT an object (id, name, the content of its
parts), under AGENT:id its id alone, as text. The targeting key is the unit. A token of an agent enters a run
with its evaluation: one committed row, the same run when asked again under the same key while it is open
(`run` in the context names it, default: the targeting key). Any other token, `record: false` in the context
and every bulk evaluation only look, and enter nothing.

The reasons are those that clients know (a custom one makes some of them serve their default in silence);
ours stands in the metadata, which holds plain values alone.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lastgood import assigning, identity
from lastgood.assigning import Assigned, Request
from lastgood.bundle import Bundle, Part
from lastgood.decision import Decision, Reason, risk_of
from lastgood.errors import InvalidInput
from lastgood.roles import Role
from lastgood.service.desk import Desk, Visit
from lastgood.snapshot import Serving

#: the reasons of the protocol that every client knows
_REASONS = {
    Reason.SPLIT: "SPLIT",
    Reason.REPEAT: "SPLIT",
    Reason.RISK: "TARGETING_MATCH",
    Reason.CONVERSATION: "TARGETING_MATCH",
}
#: what asks for the bundle's id alone
ID = ":id"
#: characters of a text in a context
_MOST = 500


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
    #: whether a run is entered, where the token may do that
    records: bool


def context_of(body: object) -> Context:
    """Read the context of a request; raises `Unfit`."""
    context = body.get("context") if isinstance(body, dict) else None
    if not isinstance(context, dict):
        raise Unfit("INVALID_CONTEXT", "the body has no context: send {'context': {'targetingKey': ...}}")
    unit = context.get("targetingKey")
    if unit is None or unit == "":
        raise Unfit("TARGETING_KEY_MISSING", "the context has no targetingKey: name the run, or its user")
    records = context.get("record", True)
    if not isinstance(records, bool):
        raise Unfit("INVALID_CONTEXT", f"record={records!r} is neither true nor false")
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
    if not isinstance(value, str) or not 0 < len(value) <= _MOST:
        raise Unfit("INVALID_CONTEXT", f"{name} has to be a text of 1 to {_MOST} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("INVALID_CONTEXT", f"{name} is no UTF-8 text") from None
    return value


def evaluate(visit: Visit, key: str, context: Context) -> bytes:
    """Answer one evaluation; the JSON of the protocol's success. Raises `NotFound`, `Unfit`, `StoreError`."""
    if not (context.records and visit.principal.role is Role.AGENT):
        return look(visit, key, context)
    serving = visit.desk.serving(visit.agent, visit.environment)
    risk = _known_risk(serving, context.risk)
    asked = Request(context.unit, context.task_type, risk, context.conversation, entry=context.entry)
    assigned = assigning.assign(serving, asked)
    return _success(visit.desk, serving, key, assigned.decision, assigned)


def look(visit: Visit, key: str, context: Context) -> bytes:
    """The same without entering a run."""
    serving = visit.desk.serving(visit.agent, visit.environment)
    decision = serving.router.route(context.unit, _known_risk(serving, context.risk))
    return _success(visit.desk, serving, key, decision)


def _known_risk(serving: Serving, risk: str | None) -> str | None:
    try:
        risk_of(serving.router.snapshot.point, risk)
    except InvalidInput as error:
        raise Unfit("INVALID_CONTEXT", str(error)) from error
    return risk


def _success(
    desk: Desk, serving: Serving, key: str, decision: Decision, assigned: Assigned | None = None
) -> bytes:
    bundle = decision.bundle
    value = json.dumps(bundle.id) if key.endswith(ID) else _value(desk, bundle)
    metadata = _metadata(serving, decision)
    if assigned is not None:
        metadata |= {"run": assigned.run_id, "token": token_of(serving, assigned)}
    head = {"key": key, "variant": decision.arm, "reason": _REASONS.get(decision.reason, "STATIC")}
    text = json.dumps({**head, "metadata": metadata})
    return f'{text[:-1]}, "value": {value}}}'.encode()


def _metadata(serving: Serving, decision: Decision) -> dict[str, bool | int | str]:
    """Plain values alone: clients take no others."""
    found: dict[str, bool | int | str] = {
        "environment": serving.environment,
        "bundle": decision.bundle.id,
        "epoch": decision.epoch,
        "eligible": decision.eligible,
        "why": str(decision.reason),
        "share_bp": decision.share_bp,
    }
    return found if decision.release_id is None else {**found, "release": decision.release_id}


def token_of(serving: Serving, assigned: Assigned) -> str:
    """Return the token that everything about the run has to bring."""
    keys = identity.keys(serving.store)
    expires_us = assigned.assigned_us + identity.LIFETIME_US
    return identity.sign(keys, assigned.run_id, assigned.bundle.id, assigned.decision.epoch, expires_us)


def _value(desk: Desk, bundle: Bundle) -> str:
    return content(bundle, desk.name_of(bundle.id))


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


def tag(visits: list[Visit], context: Context) -> str:
    """The ETag of a bulk evaluation: it changes with any epoch, and with the context."""
    said = [repr(context)]
    for visit in visits:
        router = visit.desk.serving(visit.agent, visit.environment).router
        found = router.route(context.unit, context.risk)
        said.append(
            f"{visit.agent} {visit.environment} {found.epoch} {found.arm} {found.bundle.id} {found.reason}"
        )
    return f'"{hashlib.sha256(chr(10).join(said).encode()).hexdigest()[:32]}"'
