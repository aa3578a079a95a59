"""Forms: the deployments' parameter schemas in Prefect, kept to what the store offers now."""

import logging
import threading
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse

from lastgood.store.connection import Store
from tasks import choices
from tasks.choices import Choices

log = logging.getLogger("lastgood")
#: what every deployment of ours, and so every run of it, is tagged with
TAG = "lastgood"
#: seconds between two glances at the store
_EVERY_S = 2.0


def ours(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Return the deployments of this pipeline."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return client.read_deployments(deployment_filter=tagged)


def refresh(client: SyncPrefectClient, offered: Choices) -> list[str]:
    """Bring every form up to date; return the deployments whose form changed."""
    changed = []
    for deployment in ours(client):
        schema = dict(deployment.parameter_openapi_schema or {})
        wanted = choices.amended(schema, offered)
        if wanted != schema:
            _write(client, deployment.id, wanted)
            changed.append(deployment.name)
    return changed


def _write(client: SyncPrefectClient, deployment_id: UUID, schema: dict[str, Any]) -> None:
    update = DeploymentUpdate.model_validate({"parameter_openapi_schema": schema})
    client.update_deployment(deployment_id, update)


def reconcile(store: Store) -> list[str]:
    """Refresh the forms where Prefect can be reached: a missed refresh is made up for by the next."""
    offered = choices.read(store)
    with get_client(sync_client=True) as client:
        return refresh(client, offered)


def keep_current(store: Store, stopped: threading.Event) -> None:
    """Refresh the forms within seconds of a registration, until `stopped`; a Prefect that is down waits."""
    shown: Choices | None = None
    while not stopped.wait(_EVERY_S):
        try:
            offered = choices.read(store)
            if offered != shown:
                reconcile(store)
                shown = offered
        except Exception as error:  # noqa: BLE001  forms are a comfort: nothing may stop over them
            log.warning("the forms are not current: %r", error)


__all__ = ["TAG", "keep_current", "ours", "reconcile", "refresh"]
