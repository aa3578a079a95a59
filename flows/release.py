"""The release flow: preflight, then canary, cap and compare step by step, then promote or revert."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import naming, stages
from tasks.driving import StageName
from tasks.preflight import Wanted


@flow(name="release", flow_run_name=naming.release)
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
        agent: The service whose releases are managed; it serves a baseline that was adopted.
        candidate: The bundle to release, the newest first. Register one with `lastgood bundle add`.
        policy: What the release may do: `lastgood policy list` and `lastgood policy show` tell.
        environment: Where: the control point's environment.
        approver: Who approved the release.
        note: Why; goes into the ledger.
    """
    begun = stages.begin(Wanted(agent, candidate, policy, environment, approver=approver, note=note))
    if begun.driver is None:
        return begun.refusal
    driver, due = begun.driver, stages.due(begun.driver)
    while due.stage not in {StageName.ENDED, StageName.HANDED}:
        if due.stage is StageName.CANARY:
            due = stages.canary(driver, due)
        elif due.stage is StageName.CAP:
            due = stages.cap(driver, due)
        elif due.stage is StageName.COMPARE:
            due = stages.compare(driver, due)
        elif due.stage in {StageName.AWAITING, StageName.ASKING}:
            due = stages.await_approval(driver, due)
        elif due.stage is StageName.PROMOTE:
            due = stages.promote(driver, due)
        else:
            due = stages.revert(driver, due)
    if due.stage is StageName.HANDED:
        return stages.hand_over(driver, due)
    return stages.finish(driver)
