"""The recovery flow: quarantine what a bad bundle made, undo what it did, list what can't be undone."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import recovery_stages


@flow(name="recover_data", flow_run_name="recover data {incident}")
def recover_data(incident: str) -> State:
    """Undo the damage of an incident as far as it goes; may be started as often as one likes.

    Args:
        incident: The incident, inc_...
    """
    recovery_stages.look(incident)
    recovery_stages.undo(incident)
    report = recovery_stages.publish(incident)
    return Completed(name=str(report.incident.recovery), message=report.headline)
