"""`python -m flows`: serve every deployment from this checkout."""

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

from flows.evaluate_canaries import evaluate_canaries
from flows.release import release
from flows.rollback import rollback

if __name__ == "__main__":
    # after an outage every missed minute would start at once: one look catches up
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    serve(
        release.to_deployment(name="release"),
        evaluate_canaries.to_deployment(name="evaluate-canaries", interval=60, concurrency_limit=alone),
        rollback.to_deployment(name="rollback"),
    )
