"""Following: what comes after a revert is started, by whoever notices it first; each of it is idempotent."""

import hashlib
import logging
from datetime import UTC, datetime, timedelta

from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.runtime import flow_run

from lastgood import notices
from lastgood.agent import store as store_of
from lastgood.notice import Level, Notice
from lastgood.release import ReleaseState
from lastgood.store import statements as sql
from lastgood.store.connection import Store
from tasks import aftermath, driving, watching
from tasks.aftermath import AGAIN_US, Due
from tasks.automations import REVERTED

log = logging.getLogger("lastgood")
#: how far Prefect's clock may be behind ours: a run that is older was started before
_SKEW = timedelta(seconds=2)


def start(store: Store, release_id: str) -> None:
    """Say to Prefect that a release was reverted, where it was: an automation starts what comes after."""
    row, _ = driving.read(store, release_id)
    if row["state"] != ReleaseState.REVERTED:
        return
    tell(row["agent"], row["environment"], release_id)


def tell(agent: str, environment: str, release_id: str) -> None:
    """Emit the event of a revert; all of it is text."""
    resource = {
        "prefect.resource.id": f"lastgood.release.{release_id}",
        "prefect.resource.name": f"{agent} in {environment}",
    }
    payload = {"agent": agent, "environment": environment, "release": release_id}
    try:
        emit_event(REVERTED, resource=resource, payload=payload)
    except Exception as error:  # noqa: BLE001  the next scheduled evaluation starts it all the same
        log.warning("the revert of %s could not be told to Prefect: %r", release_id, error)


def follow_up(agent: str, environment: str) -> str:
    """Start what is due; what was started, in a sentence."""
    started = start_due(store_of())
    return f"{agent} in {environment}: started {', '.join(started)}" if started else "nothing is due"


def inform(about: str, text: str) -> str:
    """Tell the people of every live release what did not work on Prefect's side; a flow run tells once."""
    store = store_of()
    with store.reading() as txn:
        places = {(row["agent"], row["environment"]) for row in txn.all(sql.LIVE_RELEASES)}
    key, title = flow_run.get_id() or about, f"an automation of Prefect failed: {about}"
    said = f"{text}. The scheduled evaluation makes up for it"
    for agent, environment in sorted(places):
        with store.transaction() as txn:
            name = f"prefect:{key}:{agent}:{environment}"
            notices.put(txn, Notice(agent, environment, "alarm", name, title, said, Level.INFORM))
    log.error("%s: %s", about, text)
    return f"{about}: {text}"


def start_due(store: Store) -> list[str]:
    """Start every flow that is due after reverts and promotions; return the names of those that were new.

    The same work is started once in ten minutes, however many notice it: it may have died since. One that
    can't be started does not keep the others from it.
    """
    return [work.flow for work in due(store) if _started(work)]


def _started(work: Due) -> bool:
    key = hashlib.sha256(f"{work.flow}:{work.tells}".encode()).hexdigest()
    name = f"{work.flow}/{work.flow.replace('_', '-')}"
    before = datetime.now(UTC)
    try:
        run = run_deployment(
            name, parameters=dict(work.parameters), timeout=0, as_subflow=False, idempotency_key=key
        )
    except Exception as error:  # noqa: BLE001  the next minute tries again
        log.warning("%s could not be started: %r", name, error)
        return False
    created = getattr(run, "created", None)
    return created is None or created >= before - _SKEW


def due(store: Store) -> list[Due]:
    """What is due by our own tables."""
    begin, ready = watching.due(store)
    watches = " ".join(sorted([*begin, *ready]))
    told = f"{watches} {store.clock.now_us() // AGAIN_US}"
    return [*aftermath.due(store), *([Due("watch", {}, told)] if watches else [])]


__all__ = ["due", "follow_up", "inform", "start", "start_due", "tell"]
