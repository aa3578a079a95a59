"""The scheduled look at every live release: takes over those whose driver is gone."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from lastgood.agent import store
from tasks import checkout, driving, stages


@flow(name="evaluate_canaries")
def evaluate_canaries() -> State:
    """Look once at each live release that nobody drives, and bring it up to date."""
    checkout.verify()
    live = driving.live_releases(store())
    for release_id in live:
        stages.evaluate(release_id)
    return Completed(message=f"{len(live)} live releases")
