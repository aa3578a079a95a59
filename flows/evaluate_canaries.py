"""The scheduled look at every live release: takes over those whose driver is gone."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import checkout, evaluating


@flow(name="evaluate_canaries", flow_run_name="evaluate canaries")
def evaluate_canaries() -> State:
    """Look once at each live release that nobody drives, and bring it up to date; watch what serves."""
    checkout.verify()
    looked = evaluating.look()
    drifted = evaluating.watch()
    followed = evaluating.follow()
    return evaluating.state(looked, drifted, followed)
