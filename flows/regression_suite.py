"""The regression_suite flow: an agent's cases replayed on one bundle."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import by_hand, naming, suites


@flow(name="regression_suite", flow_run_name=naming.suite)
def regression_suite(
    agent: str,
    bundle: str,
    environment: str = "production",
    folder: str = "",
    spread: str = "1",
    part: str = "",
) -> State:
    """Replay the regression cases of an agent on a bundle; nothing outside is touched.

    Args:
        agent: The service.
        bundle: The bundle, the newest first.
        environment: Where: the control point's environment.
        folder: Case files that are run beside the store's.
        spread: In how many flow runs, on whichever workers take them; 1 runs all here.
        part: Left empty by people: which part of a suite that is spread.
    """
    if part:
        return by_hand.done(suites.run_part, agent, bundle, environment, folder, part)
    return by_hand.done(suites.run_suite, agent, bundle, environment, folder, spread)
