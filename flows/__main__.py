"""`python -m flows`: serve every deployment from this checkout; `python -m flows install`: the rest alone."""

import sys

from prefect.deployments.runner import RunnerDeployment

from config.settings import Settings
from flows.by_hand import clear, kill, readmit, waiver
from flows.evaluate_canaries import evaluate_canaries
from flows.follow_up import follow_up, inform
from flows.incident_to_tests import incident_to_tests
from flows.plan_release import plan
from flows.readiness import readiness
from flows.recover_data import recover_data
from flows.regression_suite import regression_suite
from flows.release import release
from flows.rollback import rollback
from flows.sweep_runs import sweep_runs
from flows.watch import watch
from tasks import serving
from tasks.serving import Served

#: every deployment, named after its flow; one more is one line
SERVED = (
    Served(release),
    Served(evaluate_canaries, every="look_every", alone=True),
    Served(rollback),
    Served(kill),
    Served(clear),
    Served(readmit),
    Served(waiver),
    Served(plan),
    Served(readiness),
    Served(follow_up),
    Served(inform),
    Served(watch),
    Served(recover_data),
    Served(incident_to_tests),
    Served(regression_suite),
    Served(sweep_runs, every="sweep_every", alone=True),
)


def deployments(settings: Settings) -> tuple[RunnerDeployment, ...]:
    """Return every deployment."""
    return tuple(each.deployment(settings) for each in SERVED)


if __name__ == "__main__":
    serving.main(SERVED, sys.argv[1:])
