"""By hand: moves that a person or an automation starts as a flow of its own; each says what it did."""

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from lastgood import agent, control, points, registry
from lastgood.errors import LastgoodError
from lastgood.moves import ControlPoint
from lastgood.redaction import clean
from tasks import checkout, choices, following, naming, policies
from tasks.refusals import REFUSED, refused

#: whether somebody moved a control point already: what a retry finds
_MOVED_BY = """
SELECT 1 FROM ledger WHERE agent = :agent AND environment = :environment AND actor LIKE :actor LIMIT 1
"""


def done(move: Callable[..., str], *given: str) -> State[Any]:
    """Make a move in a box of its name; how the flow ends says what was done, or why it was refused."""
    name = move.__name__.strip("_").replace("_", " ")
    state = _box.with_options(name=name, task_run_name=name)(move, given, return_state=True)
    if state.is_failed():
        if state.name == REFUSED:
            return refused(state.message or "")
        return Failed(name=state.name, message=state.message)
    return Completed(message=state.message)


@task(cache_policy=NO_CACHE, retries=0)
def _box(move: Callable[..., str], given: tuple[str, ...]) -> State[Any]:
    try:
        checkout.verify()
        return Completed(message=move(*given))
    except LastgoodError as error:
        return refused(str(error))


def _actor(claimed: str = "") -> str:
    """Who does it, for the ledger; the form's word is a claim."""
    run = f"flow run {flow_run.get_name()} ({flow_run.get_id()})"
    return f"{clean(claimed)}, {run}" if claimed else run


def _said(point: ControlPoint) -> str:
    switch = ", kill switch on" if point.killed else ""
    return f"{point.name} serves b-{point.baseline[:8]} at epoch {point.epoch}{switch}"


def roll_back(agent_name: str, environment: str, reason: str, to: str) -> str:
    """One action back to the last known good; tried again by the same flow run it goes back once."""
    store, wanted = agent.store(), choices.reference(to)
    naming.tag(agent_name, environment)
    with store.reading() as txn:
        before = points.find(txn, agent_name, environment)
        target = registry.resolve(txn, wanted) if wanted else None
        by_this_run = f"%flow run % ({flow_run.get_id()})"
        key = {"agent": agent_name, "environment": environment}
        if txn.one(_MOVED_BY, **key, actor=by_this_run) is not None:
            return _said(points.read(txn, agent_name, environment))
    point = control.rollback(store, agent_name, environment, actor=_actor(), reason=clean(reason), to=target)
    if before is not None and before.release_id is not None:
        following.tell(agent_name, environment, before.release_id)
    return _said(point)


def kill(agent_name: str, environment: str, reason: str, actor: str) -> str:
    """No candidate run starts from here on."""
    naming.tag(agent_name, environment)
    return _said(
        control.kill(agent.store(), agent_name, environment, actor=_actor(actor), reason=clean(reason))
    )


def clear(agent_name: str, environment: str, reason: str, actor: str) -> str:
    """Candidate runs start again."""
    naming.tag(agent_name, environment)
    return _said(
        control.clear(agent.store(), agent_name, environment, actor=_actor(actor), reason=clean(reason))
    )


def readmit(agent_name: str, environment: str, reason: str, actor: str, bundle: str) -> str:
    """A bundle that was kept out may be a candidate again."""
    store = agent.store()
    naming.tag(agent_name, environment)
    with store.reading() as txn:
        bundle_id = registry.resolve(txn, choices.reference(bundle))
    control.readmit(store, agent_name, environment, bundle_id, actor=_actor(actor), reason=clean(reason))
    return f"b-{bundle_id[:8]} may be a candidate of {agent_name} in {environment} again"


def waive(policy: str, guardrail: str, stratum: str, reason: str, approver: str) -> str:
    """A new version of the policy is stored, with the trade."""
    kept = policies.waive(
        agent.store(), policy, policies.Trade(guardrail, stratum, reason, approver), actor=_actor(approver)
    )
    return f"{guardrail} may get worse in {stratum} under policy {kept.name}, digest {kept.digest[:12]}"


__all__ = ["clear", "done", "kill", "readmit", "roll_back", "waive"]
