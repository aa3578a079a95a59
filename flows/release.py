"""The release flow: preflight, then canary, cap and compare step by step, then promote or revert."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import stages
from tasks.driving import StageName
from tasks.preflight import Wanted


@flow(name="release", flow_run_name="release {agent} {candidate}")
def release(
    agent: str,
    candidate: str,
    policy: str = "default",
    environment: str = "production",
    approver: str = "",
    note: str = "",
) -> State:
    """Move an agent from its last known good bundle to a candidate, or put the last known good back.

    Args:
        agent: The service whose releases are managed, for example support.
        candidate: The bundle to release: its name, b-... or the beginning of its id.
        policy: Name of a stored or built-in policy.
        environment: The control point's environment.
        approver: Who approved the release.
        note: Why, for the ledger.
    """
    driver = stages.start(Wanted(agent, candidate, policy, environment, approver=approver, note=note))
    due = stages.due(driver)
    while due.stage not in {StageName.ENDED, StageName.ASKING}:
        if due.stage is StageName.CANARY:
            due = stages.canary(driver, due)
        elif due.stage is StageName.CAP:
            due = stages.cap(driver, due)
        elif due.stage is StageName.COMPARE:
            due = stages.compare(driver, due)
        elif due.stage is StageName.PROMOTE:
            due = stages.promote(driver, due)
        else:
            due = stages.revert(driver, due)
    report = stages.publish(driver)
    return Completed(name=report.state, message=report.headline)
