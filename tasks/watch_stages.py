"""The watch as Prefect tasks: thin covers over `tasks.watching`, which needs no Prefect."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from lastgood import agent
from lastgood.redaction import clean
from tasks import checkout, watch_report, watching


@task(name="watch", task_run_name="watch", cache_policy=NO_CACHE, retries=0)
def watch(subject: str, environment: str) -> list[str]:
    """Look at the newest watch of a subject, or at every one that is due; one line each."""
    checkout.verify()
    store = agent.store()
    if subject:
        found = [watching.look(store, watching.resolve(store, subject, environment)[0])]
    else:
        found = watching.keep_up(store)
    return [_published(each) for each in found]


def _published(found: watching.Glance) -> str:
    made = watch_report.illustrated(found)
    try:
        create_markdown_artifact(
            key=made.key, markdown=clean(made.markdown), description=clean(made.headline)
        )
    except Exception as error:  # noqa: BLE001  a report that Prefect can't take must not hide the verdict
        get_run_logger().warning("the report of %s could not be published: %r", found.row["id"], error)
    get_run_logger().info("%s: %s", found.row["id"], made.headline)
    return made.headline
