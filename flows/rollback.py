"""The rollback flow: one action back to the last known good."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, naming


@flow(name="rollback", flow_run_name=naming.rollback)
def rollback(
    agent: str, reason: str = "rolled back from Prefect", environment: str = "production", to: str = ""
) -> State:
    """Revert the agent's live release, else go back to the newest other last known good bundle.

    Every parameter is text: an automation always passes text.

    Args:
        agent: The service to roll back.
        reason: Why, for the ledger.
        environment: Where: the control point's environment.
        to: A bundle to go to instead; leave it empty for the last known good.
    """
    return by_hand.done(by_hand.roll_back, agent, environment, reason, to)
