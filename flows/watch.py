"""The watch flow: one look at a switch, begun where it is due."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import watch_stages


@flow(name="watch", flow_run_name="watch {subject}")
def watch(subject: str = "", environment: str = "production") -> State:
    """Say whether a revert or promotion helped: fixed, elsewhere or inconclusive.

    Every parameter is text: an automation always passes text.

    Args:
        subject: An agent, a release, an incident or a watch; empty for every watch that is due.
        environment: The control point's environment, where the subject is an agent.
    """
    headlines = watch_stages.watch(subject, environment)
    return Completed(message="; ".join(headlines) or "no watch is due")
