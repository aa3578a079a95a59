"""`python -m flows`: serve every deployment from this checkout."""

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment

from flows.evaluate_canaries import evaluate_canaries
from flows.release import release
from flows.rollback import rollback

if __name__ == "__main__":
    # after an outage every missed minute would start at once: one look catches up
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    serve(
        RunnerDeployment.from_flow(release, name="release"),
        RunnerDeployment.from_flow(
            evaluate_canaries, name="evaluate-canaries", interval=60, concurrency_limit=alone
        ),
        RunnerDeployment.from_flow(rollback, name="rollback"),
    )
