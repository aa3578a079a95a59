"""Lost runs: those of Prefect that hold the one place of a deployment and whose process is gone.

The automation for lost heartbeats sees a process that was heard and fell silent while the server listened.
One that went before its first heartbeat, or together with the server (Ctrl-C of `lastgood up`, a host that
starts again), is seen by nobody: its run would be under way for good, and the later ones be cancelled.
"""

import logging
import threading
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Crashed

from tasks import forms

log = logging.getLogger("lastgood")
#: seconds between two looks
_EVERY_S = 15.0
#: states in which a run holds a place
_HOLDING = [StateType.PENDING, StateType.RUNNING]


def end(client: SyncPrefectClient, names: Collection[str], silent_for: timedelta) -> list[str]:
    """Mark runs of these deployments as crashed that gave no sign of life for so long; return their names."""
    since = datetime.now(UTC) - silent_for
    lost = [run for run in _holding(client, names) if not _is_alive(client, run, since)]
    for run in lost:
        message = f"no sign of life for {silent_for.total_seconds():.0f} s: its process is gone"
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        log.warning("the run %s of Prefect is lost and gives its place free: %s", run.name, message)
    return [run.name for run in lost]


def _holding(client: SyncPrefectClient, names: Collection[str]) -> list[FlowRun]:
    deployments = [found.id for found in forms.ours(client) if found.name in names]
    if not deployments:
        return []
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=deployments),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_HOLDING)),
    )
    return client.read_flow_runs(flow_run_filter=wanted)


def _is_alive(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    if run.state is None or run.state.timestamp > since:
        return True
    heard = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        occurred=EventOccurredFilter.model_validate({"since": since}),
    )
    return bool(client.read_events(filter=heard, limit=1).events)


def keep_ending(names: Collection[str], silent_for: timedelta, stopped: threading.Event) -> None:
    """Do that until `stopped`; a Prefect that is down waits."""
    while not stopped.wait(_EVERY_S):
        try:
            with get_client(sync_client=True) as client:
                end(client, names, silent_for)
        except Exception as error:  # noqa: BLE001  the next time tries again
            log.info("lost runs can't be looked for: %r", error)


__all__ = ["end", "keep_ending"]
