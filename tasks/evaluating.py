"""Evaluating: one pass over everything that lives, by the schedule; what moved has a box of its own."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from config.settings import Settings
from lastgood import agent
from lastgood.errors import LastgoodError
from lastgood.plural import counted
from lastgood.store import statements as sql
from lastgood.store import upkeep
from lastgood.store.connection import Row, Store
from tasks import (
    beats,
    drift,
    drift_page,
    driving,
    following,
    forms,
    housekeeping,
    notifying,
    prefect_block,
    publishing,
)

log = logging.getLogger("lastgood")
#: microseconds between two drawings of a report's pictures by the schedule
_DRAW_US = 1_800_000_000
#: releases that the state's message names
_NAMED = 4
#: microseconds that a flow has to tell of the end of its release, and that the first evaluation looks back
_OWN_US, _FIRST_US = 300_000_000, 3_600_000_000


@dataclass(frozen=True, slots=True)
class Looked:
    """What one release came to."""

    agent: str
    #: where it stands in a few words; empty where another drives it or nothing was due
    said: str = ""
    #: what broke
    error: str = ""


def look() -> list[Looked]:
    """Bring every release that nobody else drives up to date; one that breaks does not stop the others."""
    store, settings = agent.store(), Settings.from_environment()
    before_us = beats.last_us(store)
    beats.beat(store)
    _settle_ended(store, before_us)
    return [_looked(store, release_id, settings.look_every) for release_id in driving.live_releases(store)]


def _settle_ended(store: Store, before_us: int | None) -> None:
    """Bring the reports of releases up to date that ended since the last evaluation, and not by one.

    A trigger or a person reverts in a process of theirs. A flow that drives tells of it itself, so it gets a
    few minutes before it is held for dead.
    """
    now_us = store.clock.now_us()
    since_us = now_us - _FIRST_US if before_us is None else before_us
    with store.reading() as txn:
        span = {"since_us": since_us - _OWN_US, "until_us": now_us}
        rows = txn.all(upkeep.ENDED_BETWEEN, **span)
    for row in rows:
        mine, ended_us = row["driver"] == beats.SCHEDULE, row["ended_us"]
        if ended_us > since_us if mine else ended_us <= now_us - _OWN_US:
            name = f"{row['agent']}: {row['state']}"
            _moved.with_options(task_run_name=name)(row["id"], return_state=True)


def _looked(store: Store, release_id: str, every_us: int) -> Looked:
    try:
        before, _ = driving.read(store, release_id)
        return _evaluated(store, before, every_us)
    except Exception as error:
        log.exception("%s could not be evaluated", release_id)
        return Looked(release_id, error=f"{release_id}: {error!r}")


def _evaluated(store: Store, before: Row, every_us: int) -> Looked:
    release_id = before["id"]
    with store.reading() as txn:
        last = txn.one(sql.LAST_LOOK, release_id=release_id)
    seen = last["seq"] if last else 0
    found = driving.evaluate(store, release_id, beats.SCHEDULE, every_us)
    if found is None:
        return Looked(before["agent"])
    after, _ = driving.read(store, release_id)
    moved = any(before[name] != after[name] for name in ("state", "step", "driver"))
    number = found[1].look.seq if found[1].look else seen
    if moved:
        name = f"{after['agent']}: {found[1].label}"
        headline = _moved.with_options(task_run_name=name)(release_id, return_state=True).message
        return Looked(after["agent"], headline or name)
    if number == seen:
        return Looked(after["agent"], f"{found[1].label}, nothing new since look {seen}")
    then_us = last["at_us"] if last else 0
    publishing.publish_release(store, release_id, illustrated=_draws(after, then_us, store.clock.now_us()))
    return Looked(after["agent"], f"{found[1].label}, look {number}")


def _draws(release: Row, then_us: int, now_us: int) -> bool:
    """Whether a half hour of the release ended since the last look: twenty are not drawn in one minute."""
    began_us = release["started_us"]
    return bool((now_us - began_us) // _DRAW_US != (then_us - began_us) // _DRAW_US)


@task(name="moved", cache_policy=NO_CACHE, retries=0)
def _moved(release_id: str) -> State[Any]:
    """A release went on or ended: its report, its flow run, and what comes after."""
    store = agent.store()
    made = publishing.publish_release(store, release_id, illustrated=True)
    publishing.settle(store, release_id)
    following.start(store, release_id)
    return Completed(message=made.headline)


def watch() -> list[str]:
    """Watch what serves; what changed underneath, a sentence each."""
    store = agent.store()
    try:
        changed = drift.watch(store)
    except LastgoodError as error:
        return [f"the bundles that serve can't be watched: {error}"]
    for place in sorted({(change.agent, change.environment) for change in changed}):
        drift_page.publish(store, *place)
    return [change.said for change in changed]


def follow() -> list[str]:
    """Start what is due after reverts, tell people, make up for what others missed: forms, a lost sweep."""
    store = agent.store()
    said = []
    for work in (following.start_due, forms.reconcile, _tell_people, _index, housekeeping.free_sweep):
        try:
            said += work(store)
        except Exception as error:  # noqa: BLE001  the next minute tries again
            log.warning("%s: %r", work.__name__, error)
    return said


def _tell_people(store: Store) -> list[str]:
    """Send what people have to be told; how often, in words."""
    told = notifying.send_quietly(store, seconds=10.0, transports=prefect_block.WITH_PREFECT)
    return [counted(told.sent, "notice")] if told.sent else []


def _index(store: Store) -> list[str]:
    publishing.publish_index(store)
    return []


def state(looked: Sequence[Looked], changed: Sequence[str], followed: Sequence[str]) -> State[Any]:
    """How the flow ends: what was done, in a line."""
    broken = [each.error for each in looked if each.error]
    done = [f"{each.agent}: {each.said}" for each in looked if each.said]
    parts = [counted(len(looked), "live release")]
    parts += done[:_NAMED]
    if len(done) > _NAMED:
        parts.append(f"{len(done) - _NAMED} more looked at")
    parts += [*changed, *([f"started, refreshed or sent {', '.join(followed)}"] if followed else [])]
    if broken:  # the others were evaluated all the same
        said = [f"{len(broken)} of {counted(len(looked), 'live release')}: {broken[0]}", *parts[1:]]
        return Failed(message="; ".join(said))
    return Completed(message="; ".join(parts))


__all__ = ["Looked", "follow", "look", "state", "watch"]
