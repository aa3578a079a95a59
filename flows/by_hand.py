"""What a person does by hand from Prefect, one move each: kill, clear, re-admit, accept a trade."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand as moves


@flow(name="kill", flow_run_name="kill {agent}")
def kill(
    agent: str, reason: str = "killed from Prefect", environment: str = "production", actor: str = ""
) -> State:
    """Stop every new candidate run of an agent at once; its release stays and gets no evidence.

    Args:
        agent: The service.
        reason: Why, for the ledger.
        environment: Where: the control point's environment.
        actor: Who does it, for the ledger.
    """
    return moves.done(moves.kill, agent, environment, reason, actor)


@flow(name="clear", flow_run_name="clear {agent}")
def clear(
    agent: str, reason: str = "cleared from Prefect", environment: str = "production", actor: str = ""
) -> State:
    """Turn the kill switch of an agent off.

    Args:
        agent: The service.
        reason: Why, for the ledger.
        environment: Where: the control point's environment.
        actor: Who does it, for the ledger.
    """
    return moves.done(moves.clear, agent, environment, reason, actor)


@flow(name="readmit", flow_run_name="readmit {agent} {bundle}")
def readmit(agent: str, bundle: str, reason: str, actor: str, environment: str = "production") -> State:
    """Lift the quarantine or cool-down of a bundle: it may be a candidate again.

    Args:
        agent: The service.
        bundle: The bundle that was reverted.
        reason: What was reviewed, for the ledger.
        actor: Who re-admits it.
        environment: Where: the control point's environment.
    """
    return moves.done(moves.readmit, agent, environment, reason, actor, bundle)


@flow(name="waiver", flow_run_name="waiver {policy}: {guardrail} in {slice}")
def waiver(policy: str, guardrail: str, slice: str, reason: str, approver: str) -> State:  # noqa: A002  the form's word
    """Accept a known trade before a release starts: one guardrail may get worse in one slice.

    A new version of the policy is stored under its name; releases that are live keep theirs.

    Args:
        policy: The policy to which the trade is added; a copy of a built-in one gets a name of its own.
        guardrail: The guardrail that may get worse.
        slice: The one slice in which it may; a policy names its slices under `strata`.
        reason: Why the trade is accepted.
        approver: Who accepts it.
    """
    return moves.done(moves.waive, policy, guardrail, slice, reason, approver)
