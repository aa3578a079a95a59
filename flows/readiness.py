"""The readiness flow: the seven questions of a release, before it."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, planning


@flow(name="readiness", flow_run_name="readiness {agent}")
def readiness(
    agent: str, bundle: str = "", policy: str = "default", environment: str = "production"
) -> State:
    """Answer the seven questions of a release; leaves the answers as an artifact.

    Switching back is drilled for real, on a shadow control point; the live one is not touched.

    Args:
        agent: The service that is asked about.
        bundle: The bundle that is to be released; leave it empty to ask about what serves.
        policy: The policy whose bounds count.
        environment: Where: the control point's environment.
    """
    return by_hand.done(planning.ready, agent, bundle, policy, environment)
