"""OFREP evaluation (0.3.0): what `lastgood.evaluation` says, as the protocol's answers.

A token of an agent enters a run with its evaluation: one committed row, the same run when asked again under
the same name while it is open. Any other token, `record: false` in the context and every bulk evaluation only
look, and enter nothing.
"""

import hashlib
import json

from lastgood import assigning, identity
from lastgood.assigning import Assigned
from lastgood.decision import Decision, risk_of
from lastgood.errors import InvalidInput
from lastgood.evaluation import ID, Context, Unfit, content, metadata_of, reason_of
from lastgood.roles import Principal, Role
from lastgood.service.desk import Desk, Visit
from lastgood.snapshot import Serving


def evaluate(visit: Visit, key: str, context: Context) -> bytes:
    """Answer one evaluation; the JSON of the protocol's success. Raises `NotFound`, `Unfit`, `StoreError`."""
    if not enters(visit.principal, context):
        return look(visit, key, context)
    serving = visit.desk.serving(visit.agent, visit.environment)
    _known_risk(serving, context.risk)
    assigned = assigning.assign(serving, context.request)
    return _success(visit.desk, serving, key, assigned.decision, assigned)


def enters(principal: Principal, context: Context) -> bool:
    """Whether an evaluation enters a run."""
    return context.records and principal.role is Role.AGENT


def look(visit: Visit, key: str, context: Context) -> bytes:
    """The same without entering a run."""
    serving = visit.desk.serving(visit.agent, visit.environment)
    visit.desk.learn(serving)
    return look_at(visit.desk, serving, key, context)


def look_at(desk: Desk, serving: Serving, key: str, context: Context) -> bytes:
    """The same, by how this process serves the agent."""
    decision = serving.router.route(context.unit, _known_risk(serving, context.risk))
    return _success(desk, serving, key, decision)


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
    value = json.dumps(bundle.id) if key.endswith(ID) else content(bundle, desk.name_of(bundle.id))
    metadata = metadata_of(serving.environment, decision)
    if assigned is not None:
        metadata |= {"run": assigned.run_id, "token": token_of(serving, assigned)}
    head = {"key": key, "variant": decision.arm, "reason": reason_of(decision)}
    text = json.dumps({**head, "metadata": metadata})
    return f'{text[:-1]}, "value": {value}}}'.encode()


def token_of(serving: Serving, assigned: Assigned) -> str:
    """Return the token that everything about the run has to bring."""
    keys = identity.keys(serving.store)
    expires_us = assigned.assigned_us + identity.LIFETIME_US
    return identity.sign(keys, assigned.run_id, assigned.bundle.id, assigned.decision.epoch, expires_us)


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
