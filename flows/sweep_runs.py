"""Housekeeping by the schedule: Prefect's own runs are deleted after a while."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, housekeeping


@flow(name="sweep_runs", flow_run_name="sweep runs")
def sweep_runs() -> State:
    """Delete old runs of Prefect, and end an evaluation whose process is gone.

    Releases and the ledger stand in the store.
    """
    return by_hand.done(housekeeping.sweep_now)
