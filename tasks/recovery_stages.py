"""The stages of a recovery as Prefect tasks: thin covers over `tasks.recovery`, which needs no Prefect."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from lastgood import agent
from lastgood.errors import Conflict
from lastgood.redaction import clean
from tasks import checkout, recovery, recovery_report
from tasks.recovery_plan import Window
from tasks.recovery_report import Report


@task(name="dry_run", task_run_name="dry run {incident}", cache_policy=NO_CACHE, retries=0)
def look(incident: str) -> None:
    """Say what would be done, before anything is."""
    checkout.verify()
    window = Window.of(agent.store(), incident)
    for line in recovery_report.said_before(window.pending(), window.spec.approve):
        get_run_logger().info("%s", line)


@task(name="recover", task_run_name="recover {incident}", cache_policy=NO_CACHE, retries=0)
def undo(incident: str) -> None:
    """Do it, as far as it goes now; where another process is at it that one goes on."""
    try:
        done = recovery.recover(agent.store(), incident)
    except Conflict as error:
        get_run_logger().info("%s", error)
        return
    get_run_logger().info("%d undone in %d calls; %s", done.undone, done.calls, done.state)


@task(name="report", task_run_name="report {incident}", cache_policy=NO_CACHE, retries=0)
def publish(incident: str) -> Report:
    """Write what was undone and what is left over as artifacts under the incident's stable key."""
    made = recovery_report.build(agent.store(), incident)
    rows = [{name: clean(str(cell)) for name, cell in row.items()} for row in made.table]
    try:
        create_markdown_artifact(
            key=made.key, markdown=clean(made.markdown), description=clean(made.headline)
        )
        if made.table:
            create_table_artifact(key=f"{made.key}-residue", table=rows, description=clean(made.headline))
    except Exception as error:  # noqa: BLE001  a report that Prefect can't take undoes nothing of the recovery
        get_run_logger().warning("the report of %s could not be published: %r", incident, error)
    return made
