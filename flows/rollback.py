"""The rollback flow: one action back to the last known good."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import stages


@flow(name="rollback", flow_run_name="rollback {agent}")
def rollback(
    agent: str, reason: str = "rolled back from Prefect", environment: str = "production", to: str = ""
) -> State:
    """Revert the agent's live release, else go back to the newest other last known good bundle.

    Every parameter is text: an automation always passes text.

    Args:
        agent: The service to roll back.
        reason: Why, for the ledger.
        environment: The control point's environment.
        to: A bundle to go to instead; empty for the last known good.
    """
    point = stages.roll_back(agent, environment, reason, to)
    return Completed(message=f"{point.name} serves b-{point.baseline[:8]} at epoch {point.epoch}")
