"""Following: what comes after a revert is started, by whoever notices it first; each of it is idempotent."""

import hashlib
import logging

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
from tasks.automations import REVERTED

log = logging.getLogger("lastgood")
#: microseconds after which what is due still is started again
_AGAIN_US = 600_000_000


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
    """Start every flow that is due after reverts and promotions; return their names.

    The same work is started once in ten minutes, however many notice it: it may have died since.
    """
    started = []
    for name, parameters, work in due(store):
        key = f"{name}:{work}:{store.clock.now_us() // _AGAIN_US}"
        run_deployment(
            f"{name}/{name.replace('_', '-')}",
            parameters=dict(parameters),
            timeout=0,
            as_subflow=False,
            idempotency_key=hashlib.sha256(key.encode()).hexdigest(),
        )
        started.append(name)
    return started


def due(store: Store) -> list[tuple[str, dict[str, str], str]]:
    """What is due by our own tables: the flow, its parameters, and what tells the work from other work."""
    found = [(each.flow, dict(each.parameters), each.tells) for each in aftermath.due(store)]
    begin, ready = watching.due(store)
    if begin or ready:
        found.append(("watch", {}, " ".join(sorted([*begin, *ready]))))
    return found


__all__ = ["due", "follow_up", "inform", "start", "start_due", "tell"]
