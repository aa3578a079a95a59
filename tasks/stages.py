"""The stages of a release as Prefect tasks: thin covers over `tasks.driving`, which needs no Prefect.

Each does what is due and returns what is due next. Nothing of a release is kept in Prefect.
"""

import time
from dataclasses import replace

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from lastgood import agent, control, points, registry, releasing
from lastgood.errors import StaleDriver
from lastgood.moves import ControlPoint
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store
from tasks import checkout, driving, pictures, preflight, report
from tasks.driving import ENDED, Driver, Due, StageName

#: seconds between two reports of a comparison that goes on
_PUBLISH_S = 600.0
#: newest releases among which a flow run that is tried again finds its own
_MOST = 20
#: whether somebody moved a control point already: what a rollback's retry finds
_MOVED_BY = """
SELECT 1 FROM ledger WHERE agent = :agent AND environment = :environment AND actor LIKE :actor LIMIT 1
"""


def _name() -> str:
    return f"flow run {flow_run.get_name()} ({flow_run.get_id()})"


def _is_mine(name: str) -> bool:
    """Whether this flow run wrote `name`, in an earlier try; the run may be renamed, its id stays."""
    return name.startswith("flow run ") and name.endswith(f" ({flow_run.get_id()})")


@task(name="preflight", task_run_name="preflight", cache_policy=NO_CACHE, retries=0)
def start(wanted: preflight.Wanted) -> Driver:
    """Refuse what must be refused, then record the release; a retry of a flow run goes on with its own."""
    checkout.verify()
    store, name = agent.store(), _name()
    mine = _mine(store, wanted)
    if mine is not None and mine["ended_us"] is not None:
        get_run_logger().info("release %s of %s has ended already", mine["id"], wanted.agent)
        return Driver(mine["id"], name, term=0)
    if mine is not None:
        return driving.begin(store, mine["id"], name, "its flow run is tried again")
    release_id = releasing.start(store, preflight.check(store, replace(wanted, actor=name)))
    get_run_logger().info(
        "release %s of %s: recorded, nothing is served differently yet", release_id, wanted.agent
    )
    return driving.begin(store, release_id, name)


def _mine(store: Store, wanted: preflight.Wanted) -> Row | None:
    key = {"agent": wanted.agent, "environment": wanted.environment}
    with store.reading() as txn:
        rows = txn.all(sql.RELEASES, **key, most=_MOST)
    return next((row for row in rows if _is_mine(row["started_by"])), None)


def due(driver: Driver) -> Due:
    """Decide what comes next; a release that another driver took over has ended for this one."""
    try:
        return driving.due(agent.store(), driver)
    except StaleDriver as error:
        get_run_logger().info("%s", error)
        return ENDED


def _do(driver: Driver, what: Due) -> Due:
    reason = what.transition.reason if what.transition else ""
    get_run_logger().info("%s: %s", what.stage, reason)
    return _go_on(driver, what)


@task(name="canary", task_run_name="{what.label}", cache_policy=NO_CACHE, retries=0)
def canary(driver: Driver, what: Due) -> Due:
    """Set the share of the step."""
    return _do(driver, what)


@task(name="cap", task_run_name="{what.label}", cache_policy=NO_CACHE, retries=0)
def cap(driver: Driver, what: Due) -> Due:
    """Verify that the ceilings are armed."""
    return _do(driver, what)


@task(name="compare", task_run_name="{what.label}", cache_policy=NO_CACHE, retries=0)
def compare(driver: Driver, what: Due) -> Due:
    """Look until the step's gate opens, harm is proven, or the horizon ends it."""
    published = -_PUBLISH_S
    while what.stage is StageName.COMPARE:
        if what.look is not None and time.monotonic() - published >= _PUBLISH_S:
            publish(driver)
            published = time.monotonic()
        what = _looked(driver, what)
    publish(driver, illustrated=False)  # what comes next may be a revert, which waits for no drawing
    return what


def _looked(driver: Driver, what: Due) -> Due:
    """Renew the lease at once, and decide anew only after the pause."""
    if what.look is not None and what.transition is not None:
        verdict = what.look.verdict
        get_run_logger().info(
            "look %d: %d candidate runs of %d, harm ln e %.2f of %.2f: %s",
            what.look.seq,
            verdict.candidate_runs,
            verdict.assigned,
            verdict.log_family,
            verdict.log_line,
            what.transition.reason,
        )
    return _go_on(driver, what)


def _go_on(driver: Driver, what: Due) -> Due:
    try:
        driving.act(agent.store(), driver, what)
        if what.waits:
            driving.rest(agent.store(), driver, what)
    except StaleDriver as error:
        get_run_logger().info("%s", error)
        return ENDED
    return due(driver)


@task(name="promote", task_run_name="{what.label}", cache_policy=NO_CACHE, retries=0)
def promote(driver: Driver, what: Due) -> Due:
    """Make the candidate the last known good."""
    return _do(driver, what)


@task(name="revert", task_run_name="{what.label}", cache_policy=NO_CACHE, retries=0)
def revert(driver: Driver, what: Due) -> Due:
    """Put the last known good back."""
    return _do(driver, what)


def publish(driver: Driver, *, illustrated: bool = True) -> report.Report:
    """Write the report as artifacts under the release's stable key; drawing its pictures takes a second."""
    made = report.build(agent.store(), driver.release_id)
    try:
        markdown = made.markdown
        if illustrated:
            markdown = pictures.illustrated(agent.store(), driver.release_id).markdown
        create_markdown_artifact(key=made.key, markdown=markdown, description=made.headline)
        if made.table:
            create_table_artifact(key=f"{made.key}-figures", table=made.table, description=made.headline)
    except Exception as error:  # noqa: BLE001  a report that Prefect can't take must not stop a release
        get_run_logger().warning("the report of %s could not be published: %r", driver.release_id, error)
    return made


@task(name="evaluate", task_run_name="evaluate {release_id}", cache_policy=NO_CACHE, retries=0)
def evaluate(release_id: str) -> str:
    """One look at a live release whose driver is gone; what was done, in a sentence."""
    found = driving.evaluate(agent.store(), release_id, "evaluate_canaries")
    if found is None:
        return "its driver lives"
    made = publish(found[0])
    get_run_logger().info("%s: %s", release_id, made.headline)
    return made.headline


@task(name="rollback", task_run_name="rollback", cache_policy=NO_CACHE, retries=0)
def roll_back(agent_name: str, environment: str, reason: str, to: str) -> ControlPoint:
    """One action back to the last known good."""
    store = agent.store()
    with store.reading() as txn:
        target = registry.resolve(txn, to) if to else None
        by_this_run = f"flow run % ({flow_run.get_id()})"
        if txn.one(_MOVED_BY, agent=agent_name, environment=environment, actor=by_this_run) is not None:
            return points.read(txn, agent_name, environment)  # tried again: once is what was asked for
    return control.rollback(store, agent_name, environment, actor=_name(), reason=reason, to=target)
