"""The scheduled look at every live release: takes over those whose driver is gone."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from lastgood.agent import store
from tasks import checkout, driving, stages


@flow(name="evaluate_canaries")
def evaluate_canaries() -> State:
    """Look once at each live release that nobody drives, and bring it up to date."""
    checkout.verify()
    live = driving.live_releases(store())
    states = [stages.evaluate(release_id, return_state=True) for release_id in live]
    broken = [state for state in states if not state.is_completed()]
    if broken:  # the others were evaluated all the same
        return Failed(message=f"{len(broken)} of {len(live)} live releases: {broken[0].message}")
    return Completed(message=f"{len(live)} live releases")
