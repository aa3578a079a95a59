"""The plan flow: what a policy will see and prove at an agent's traffic, before a release."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, planning


@flow(name="plan", flow_run_name="plan {agent} under {policy}")
def plan(agent: str, policy: str = "default", environment: str = "production") -> State:
    """Say how many candidate runs and hours a release takes; leaves the answer as an artifact.

    Args:
        agent: The service whose own rates and traffic count.
        policy: The policy that is asked about.
        environment: Where: the control point's environment.
    """
    return by_hand.done(planning.plan, agent, policy, environment)
