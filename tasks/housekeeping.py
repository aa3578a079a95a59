"""Housekeeping: Prefect's own runs, which only show what our tables hold, go after a while."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client

from config.settings import Settings
from lastgood.plural import counted
from lastgood.store.connection import Store
from tasks import forms, lost_runs

#: as many as Prefect deletes at once
_BATCH = 50
#: batches of one sweep: what is left waits for the next
_MOST = 100
#: a scheduled run that was to begin so long ago was missed
_MISSED = timedelta(seconds=90)
#: runs of these are worth little: one a minute
_FREQUENT = ("evaluate-canaries",)
#: the deployment of the sweep itself
_SWEEP = ("sweep-runs",)
#: the client has no method for it yet
_BULK_DELETE: Any = "/flow_runs/bulk_delete"
_ENDED = ("COMPLETED", "CANCELLED")


def sweep(client: SyncPrefectClient, settings: Settings) -> int:
    """Delete runs of ours that ended longer ago than the settings keep them; return how many.

    Of the scheduled evaluation only those that went well go early. Releases, approvals and the ledger stand
    in our own tables.
    """
    at = datetime.now(UTC)
    every = {found.id: found.name for found in forms.ours(client)}
    frequent = [str(each) for each, name in every.items() if name in _FREQUENT]
    early = at - timedelta(microseconds=settings.keep_looks)
    late = at - timedelta(microseconds=settings.keep_runs)
    gone = sum(_delete(client, frequent, early, _ENDED))
    return gone + sum(_delete(client, [str(each) for each in every], late, (*_ENDED, "FAILED", "CRASHED")))


def sweep_now() -> str:
    """Sweep; what was done in a sentence."""
    settings = Settings.from_environment()
    with get_client(sync_client=True) as client:
        # where workers run the flows nobody serves, who would do it every few seconds
        lost_runs.end(client, _FREQUENT, timedelta(microseconds=settings.lost_after))
        return f"{counted(sweep(client, settings), 'run of Prefect was', 'runs of Prefect were')} deleted"


def free_sweep(_store: Store) -> list[str]:
    """Give the sweep's place free where one is lost: the evaluation does for it what it does for that one."""
    with get_client(sync_client=True) as client:
        lost_runs.end(client, _SWEEP, timedelta(microseconds=Settings.from_environment().lost_after))
    return []


def drop_missed(client: SyncPrefectClient) -> int:
    """Delete scheduled runs that nobody was there to start: one evaluation catches up for all of them."""
    frequent = [str(found.id) for found in forms.ours(client) if found.name in _FREQUENT]
    return sum(_delete(client, frequent, datetime.now(UTC) - _MISSED, ("SCHEDULED",)))


def _delete(
    client: SyncPrefectClient, deployments: list[str], before: datetime, states: tuple[str, ...]
) -> Iterator[int]:
    if not deployments:
        return
    runs: dict[str, Any] = {
        "deployment_id": {"any_": deployments},
        "state": {"type": {"any_": list(states)}},
        "expected_start_time": {"before_": before.isoformat()},
    }
    for _ in range(_MOST):
        body = {"flow_runs": runs, "limit": _BATCH}
        answer = client.request("POST", _BULK_DELETE, json=body)
        found = len(answer.json()["deleted"])
        yield found
        if found < _BATCH:
            return


__all__ = ["drop_missed", "free_sweep", "sweep", "sweep_now"]
