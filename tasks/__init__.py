"""The side effects of a release, one module a noun."""

from lastgood.redaction import watch_over

# What our flows log, and what Prefect logs of their exceptions, holds no secret.
watch_over("lastgood", "prefect.flow_runs", "prefect.task_runs")
