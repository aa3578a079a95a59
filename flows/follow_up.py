"""What comes after a revert, and what people are told of, both started by automations: text alone."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, following


@flow(name="follow_up", flow_run_name="follow up {agent}")
def follow_up(agent: str, environment: str = "production") -> State:
    """Start what is due after a revert: doing it again starts nothing twice.

    Args:
        agent: The service that was reverted.
        environment: Where: the control point's environment.
    """
    return by_hand.done(following.follow_up, agent, environment)


@flow(name="inform", flow_run_name="inform of {about}")
def inform(about: str, text: str = "") -> State:
    """Tell people that something of Prefect's side did not work.

    Args:
        about: What it is about.
        text: What happened.
    """
    return by_hand.done(following.inform, about, text)
