"""The stages of a release as Prefect tasks: thin covers over `tasks.driving`, which needs no Prefect.

Each does what is due and returns what is due next. Nothing of a release is kept in Prefect.
"""

import time
from dataclasses import dataclass, replace
from typing import Any, cast

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run, task_run
from prefect.states import Completed

from config.settings import Settings
from lastgood import agent, approving, releasing
from lastgood.errors import LastgoodError, StaleDriver, StoreUnavailable
from lastgood.moves import in_command
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store
from tasks import (
    approval,
    checkout,
    choices,
    comparison,
    driving,
    following,
    naming,
    notifying,
    prefect_block,
    preflight,
    suites,
)
from tasks.driving import ENDED, Driver, Due, StageName
from tasks.publishing import publish
from tasks.refusals import REFUSED, refused

#: seconds between two reports of a comparison that goes on
_PUBLISH_S = 600.0
#: newest releases among which a flow run that is tried again finds its own
_MOST = 20
#: name of the state in which a flow ends whose release goes on without it
HANDED_OVER = "HandedOver"
#: seconds until a box that could not use the store is tried again: at once where it waited for a lock, and
#: for as long as a database needs to come back
_AGAIN_S = [1.0, 4.0, 15.0, 40.0]


def _name() -> str:
    return f"flow run {flow_run.get_name()} ({flow_run.get_id()})"


def _is_mine(name: str) -> bool:
    """Whether this flow run wrote `name`, in an earlier try; the run may be renamed, its id stays."""
    return name.startswith("flow run ") and name.endswith(f" ({flow_run.get_id()})")


@dataclass(frozen=True, slots=True)
class Begun:
    """What a release flow drives, or why it was refused."""

    driver: Driver | None
    #: how the flow ends where it was refused
    refusal: State[Any]


def begin(wanted: preflight.Wanted) -> Begun:
    """Refuse what must be refused, then record the release; a retry of a flow run goes on with its own."""
    state = _preflight(wanted, return_state=True)
    if state.is_failed() and state.name == REFUSED:
        return Begun(None, refused(state.message or ""))
    return Begun(cast("Driver", state.result()), state)


@task(name="preflight", task_run_name="preflight", cache_policy=NO_CACHE, retries=0)
def _preflight(wanted: preflight.Wanted) -> State[Any]:
    try:
        driver, said = _begun(replace(wanted, candidate=choices.reference(wanted.candidate)))
    except LastgoodError as error:
        return refused(str(error))
    naming.label(driver.release_id)
    return Completed(message=said, data=driver)


def _begun(wanted: preflight.Wanted) -> tuple[Driver, str]:
    checkout.verify()
    store, name = agent.store(), _name()
    mine = _mine(store, wanted)
    if mine is not None and mine["ended_us"] is not None:
        said = f"{mine['id']} of {wanted.agent} has ended already{_decided(store, mine)}"
        return Driver(mine["id"], name, term=0), said
    if mine is not None:
        reason = "its flow run goes on"
        return driving.begin(
            store, mine["id"], name, reason
        ), f"{mine['id']}: {reason}{_decided(store, mine)}"
    release_id = releasing.start(store, preflight.check(store, replace(wanted, actor=name), suites.run))
    said = f"{release_id} of {wanted.agent} is recorded; nothing is served differently yet"
    return driving.begin(store, release_id, name), said


def _decided(store: Store, release: Row) -> str:
    """What a person decided meanwhile: a run that is resumed after that says so."""
    with store.reading() as txn:
        asked = approving.newest(txn, release["id"])
    if asked is None or asked["decision"] not in approving.DECISIONS:
        return ""
    said = f"decided already: {asked['decision']} by {asked['who']} ({asked['reason']})"
    named = in_command(release["agent"], release["environment"])
    back = f"`lastgood rollback {named}` puts the last known good back at any time"
    get_run_logger().warning("%s; another answer changes nothing; %s", said, back)
    return f"; {said}"


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


def do(driver: Driver, what: Due) -> Due:
    """Do what is due, in a box of the stage's name; returns what is due next."""
    naming.show(what)
    box = _box.with_options(name=str(what.stage), task_run_name=what.label)
    return cast("Due", box(driver, what, return_state=True).result())


canary = cap = promote = revert = do


def _is_away(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a box failed because the store could not be used: a wait for a lock, a restart."""
    return isinstance(state.data, StoreUnavailable)


def _anew(driver: Driver, what: Due) -> Due:
    """What is due; decided anew in a box that is tried again, as what it was given is old by then."""
    return due(driver) if (task_run.get_run_count() or 0) > 1 else what


@task(cache_policy=NO_CACHE, retries=len(_AGAIN_S), retry_delay_seconds=_AGAIN_S, retry_condition_fn=_is_away)
def _box(driver: Driver, what: Due) -> State[Any]:
    what = _anew(driver, what)
    reason = what.transition.reason if what.transition else ""
    get_run_logger().info("%s: %s", what.stage, reason)
    return Completed(message=reason, data=_go_on(driver, what))


def compare(driver: Driver, what: Due) -> Due:
    """Look until the step's gate opens, harm is proven, or the horizon ends it.

    A box holds as many looks as there were before it, so that ten boxes show a thousand; a long comparison
    is handed to the schedule instead.
    """
    naming.show(what)
    number = what.look.seq if what.look else comparison.looks(agent.store(), driver.release_id) + 1
    label = f"{what.label} from look {number}" if number > 1 else f"{what.label} look 1"
    box = _looks.with_options(name="compare", task_run_name=label)
    return cast("Due", box(driver, what, 2 * number, return_state=True).result())


@task(cache_policy=NO_CACHE, retries=len(_AGAIN_S), retry_delay_seconds=_AGAIN_S, retry_condition_fn=_is_away)
def _looks(driver: Driver, what: Due, until: int) -> State[Any]:
    """Looks up to the one of number `until`, which begins the next box."""
    what = _anew(driver, what)
    published, said = -_PUBLISH_S, ""
    while what.stage is StageName.COMPARE and (what.look is None or what.look.seq < until):
        if _hands_over(driver, what):
            return Completed(message="handed to the schedule", data=replace(what, stage=StageName.HANDED))
        if what.look is not None and time.monotonic() - published >= _PUBLISH_S:
            publish(driver)
            published = time.monotonic()
        said = _told(what)
        get_run_logger().info("%s", said)
        what = _go_on(driver, what)
    if what.stage is not StageName.COMPARE:  # what comes next may be a revert, which waits for no drawing
        publish(driver, illustrated=False)
    return Completed(message=said, data=what)


def _told(what: Due) -> str:
    """One look in a line."""
    reason = what.transition.reason if what.transition else ""
    if what.look is None:
        return reason
    verdict = what.look.verdict
    return (
        f"look {what.look.seq}: {verdict.candidate_runs} candidate runs of {verdict.assigned}, "
        f"evidence of harm {verdict.log_family:.2f} ({verdict.log_line:.2f} decides): {reason}"
    )


def _hands_over(driver: Driver, what: Due) -> bool:
    """Whether the schedule goes on from here: a long release holds no process between its looks."""
    settings = Settings.from_environment()
    started = flow_run.get_scheduled_start_time()
    driven_us = (time.time() - started.timestamp()) * 1e6
    long = driven_us >= settings.drive_for or what.interval_us >= settings.drive_for
    return long and driving.may_hand_over(agent.store(), driver, settings.look_every)


def await_approval(driver: Driver, what: Due) -> Due:
    """Ask a person, where the policy wants one, or wait for the end of a freeze."""
    naming.show(what)
    if not what.waits:
        return do(driver, what)
    try:
        return approval.wait(driver, what)
    except StaleDriver as error:
        get_run_logger().info("%s", error)
        return ENDED


def hand_over(driver: Driver, what: Due) -> State[Any]:
    """Leave the release to the schedule, which carries it to its end; returns how the flow ends."""
    try:
        driving.hand_over(agent.store(), driver, "a long release holds no process: the schedule goes on")
    except StaleDriver as error:
        get_run_logger().info("%s", error)
        return finish(driver)
    made = publish(driver)
    every_s = max(what.interval_us, Settings.from_environment().look_every) / 1e6
    return Completed(
        name=HANDED_OVER,
        message=f"handed to the schedule; the next look is within {every_s:.0f} s. {made.headline}",
    )


def finish(driver: Driver) -> State[Any]:
    """The last report, what comes after a revert, and how the flow ends."""
    made = publish(driver)
    following.start(agent.store(), driver.release_id)
    notifying.send_quietly(agent.store(), transports=prefect_block.WITH_PREFECT)
    return Completed(name=made.state, message=made.headline)


def _go_on(driver: Driver, what: Due) -> Due:
    try:
        driving.act(agent.store(), driver, what)
        if what.waits:
            driving.rest(agent.store(), driver, what)
    except StaleDriver as error:
        get_run_logger().info("%s", error)
        return ENDED
    return due(driver)


__all__ = [
    "Begun",
    "await_approval",
    "begin",
    "canary",
    "cap",
    "compare",
    "due",
    "finish",
    "hand_over",
    "promote",
    "publish",
    "revert",
]
