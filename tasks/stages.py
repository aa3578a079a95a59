"""The stages of a release as Prefect tasks: thin covers over `tasks.driving`, which needs no Prefect.

Each does what is due and returns what is due next. Nothing of a release is kept in Prefect.
"""

import time
from dataclasses import replace

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from lastgood import agent, control, releasing
from lastgood.errors import StaleDriver
from lastgood.moves import ControlPoint
from lastgood.store.connection import Store
from tasks import checkout, driving, preflight, report
from tasks.driving import ENDED, Driver, Due, StageName

_SECOND = 1_000_000


def _name() -> str:
    return f"flow run {flow_run.get_name()} ({flow_run.get_id()})"


@task(name="preflight", task_run_name="preflight", cache_policy=NO_CACHE)
def start(wanted: preflight.Wanted) -> Driver:
    """Refuse what must be refused, then record the release; a retry of a flow run goes on with its own."""
    checkout.verify()
    store, name = agent.store(), _name()
    mine = _mine(store, wanted, name)
    if mine is None:
        mine = releasing.start(store, preflight.check(store, replace(wanted, actor=name)))
    get_run_logger().info("release %s of %s: recorded, nothing is served differently yet", mine, wanted.agent)
    return driving.begin(store, mine, name)


def _mine(store: Store, wanted: preflight.Wanted, name: str) -> str | None:
    for release_id in driving.live_releases(store):
        row, _ = driving.read(store, release_id)
        same = (row["agent"], row["environment"]) == (wanted.agent, wanted.environment)
        if same and row["started_by"] == name:
            return release_id
    return None


def due(driver: Driver) -> Due:
    """Decide what comes next; a release that another driver took over has ended for this one."""
    try:
        return driving.due(agent.store(), driver)
    except StaleDriver as error:
        get_run_logger().warning("%s", error)
        return ENDED


def _do(driver: Driver, what: Due) -> Due:
    reason = what.transition.reason if what.transition else ""
    get_run_logger().info("%s: %s", what.stage, reason)
    try:
        driving.act(agent.store(), driver, what)
    except StaleDriver as error:
        get_run_logger().warning("%s", error)
        return ENDED
    return due(driver)


@task(name="canary", task_run_name="{what.label}", cache_policy=NO_CACHE)
def canary(driver: Driver, what: Due) -> Due:
    """Set the share of the step."""
    return _do(driver, what)


@task(name="cap", task_run_name="{what.label}", cache_policy=NO_CACHE)
def cap(driver: Driver, what: Due) -> Due:
    """Verify that the ceilings are armed."""
    return _do(driver, what)


@task(name="compare", task_run_name="{what.label}", cache_policy=NO_CACHE)
def compare(driver: Driver, what: Due) -> Due:
    """Look until the step's gate opens, harm is proven, or the horizon ends it."""
    while what.stage is StageName.COMPARE:
        waits, pause_us = what.waits, what.interval_us
        what = _do_and_wait(driver, what, pause_us if waits else 0)
    publish(driver)
    return what


def _do_and_wait(driver: Driver, what: Due, pause_us: int) -> Due:
    """Renew the lease at once, and decide anew only after the pause."""
    try:
        driving.act(agent.store(), driver, what)
    except StaleDriver as error:
        get_run_logger().warning("%s", error)
        return ENDED
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
    time.sleep(pause_us / _SECOND)
    return due(driver)


@task(name="promote", task_run_name="{what.label}", cache_policy=NO_CACHE)
def promote(driver: Driver, what: Due) -> Due:
    """Make the candidate the last known good."""
    return _do(driver, what)


@task(name="revert", task_run_name="{what.label}", cache_policy=NO_CACHE)
def revert(driver: Driver, what: Due) -> Due:
    """Put the last known good back."""
    return _do(driver, what)


def publish(driver: Driver) -> report.Report:
    """Write the report as artifacts under the release's stable key."""
    made = report.build(agent.store(), driver.release_id)
    create_markdown_artifact(key=made.key, markdown=made.markdown, description=made.headline)
    if made.table:
        create_table_artifact(key=f"{made.key}-figures", table=made.table, description=made.headline)
    return made


@task(name="evaluate", task_run_name="evaluate {release_id}", cache_policy=NO_CACHE)
def evaluate(release_id: str) -> str:
    """One look at a live release whose driver is gone; what was done, in a sentence."""
    found = driving.evaluate(agent.store(), release_id, "evaluate_canaries")
    if found is None:
        return "its driver lives"
    made = publish(found[0])
    get_run_logger().info("%s: %s", release_id, made.headline)
    return made.headline


@task(name="rollback", task_run_name="rollback", cache_policy=NO_CACHE)
def roll_back(agent_name: str, environment: str, reason: str, to: str) -> ControlPoint:
    """One action back to the last known good."""
    from lastgood import registry

    store = agent.store()
    target = None
    if to:
        with store.reading() as txn:
            target = registry.resolve(txn, to)
    return control.rollback(store, agent_name, environment, actor=_name(), reason=reason, to=target)
