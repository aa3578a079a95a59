"""`python -m flows`: serve every deployment from this checkout."""

from datetime import timedelta

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment

from config.settings import Settings
from flows.evaluate_canaries import evaluate_canaries
from flows.release import release
from flows.rollback import rollback


def deployments(settings: Settings) -> tuple[RunnerDeployment, ...]:
    """Return the deployments: the scheduled look, and what people and automations start."""
    # after an outage every missed look would start at once: one look catches up
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    every = timedelta(microseconds=settings.look_every)
    return (
        RunnerDeployment.from_flow(release, name="release"),
        RunnerDeployment.from_flow(
            evaluate_canaries, name="evaluate-canaries", interval=every, concurrency_limit=alone
        ),
        RunnerDeployment.from_flow(rollback, name="rollback"),
    )


if __name__ == "__main__":
    serve(*deployments(Settings.from_environment()))
