"""The incident_to_tests flow: failing runs become regression cases that are proven."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, suites


@flow(name="incident_to_tests", flow_run_name="incident to tests {incident}")
def incident_to_tests(incident: str, live: str = "", sandbox: str = "", usd: str = "1") -> State:
    """Make regression cases of an incident's failing runs, and prove each: doing it again replaces them.

    Args:
        incident: The incident's id.
        live: Hosts that replays call for real, such as a model vendor's.
        sandbox: Hosts where recording may send anything.
        usd: Ceiling for real model calls, US dollars.
    """
    return by_hand.done(suites.make_cases, incident, live, sandbox, usd)
