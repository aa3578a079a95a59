"""Publishing: the report of a release as artifacts in Prefect, one of each kind, brought up to date in place.

They belong to the flow run that started the release, whoever drives it since: that is where people look, and
runs of the schedule are deleted after hours.
"""

import json
import logging
import re
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact, State, StateType
from prefect.exceptions import ObjectNotFound

from lastgood import agent
from lastgood.redaction import clean
from lastgood.store.connection import Row, Store
from tasks import driving, index, pictures, report
from tasks.driving import Driver
from tasks.report import Report

log = logging.getLogger("lastgood")
_STARTED_BY = re.compile(r"flow run .* \((?P<id>[0-9a-f-]{36})\)")
_IMAGE = re.compile(r"!\[(?P<name>[^\]]*) by candidate runs\]\((?P<to>data:image/png;base64,[^)]*)\)")


def publish(driver: Driver, *, illustrated: bool = True) -> Report:
    """Write the report of a release; drawing its pictures takes a second, else those of the last time stay.

    A report that Prefect can't take stops nothing: it is logged.
    """
    return publish_release(agent.store(), driver.release_id, illustrated=illustrated)


def publish_release(store: Store, release_id: str, *, illustrated: bool) -> Report:
    """As `publish`, by the release's id."""
    made = report.build(store, release_id)
    row, _ = driving.read(store, release_id)
    owner = flow_run_of(row)
    try:
        with get_client(sync_client=True) as client:
            last = _latest(client, made.key)
            if illustrated:
                made = pictures.illustrated(store, release_id)
            elif kept := _pictures_of(last):
                made = report.build(store, release_id, kept)
            _put(client, last, made.key, "markdown", made.markdown, made.headline, owner)
            if made.table:
                figures = f"{made.key}-figures"
                table = json.dumps(made.table)
                _put(client, _latest(client, figures), figures, "table", table, made.headline, owner)
            _put_index(client, store)
    except Exception as error:  # noqa: BLE001  as said above
        log.warning("the report of %s could not be published: %r", release_id, error)
    return made


def publish_index(store: Store) -> None:
    """Bring the table of all live releases up to date; what Prefect can't take is logged."""
    try:
        with get_client(sync_client=True) as client:
            _put_index(client, store)
    except Exception as error:  # noqa: BLE001  as said above
        log.warning("the index of live releases could not be published: %r", error)


def _put_index(client: SyncPrefectClient, store: Store) -> None:
    """Nothing is written where it stands there already."""
    keys = [report.key_of(release_id) for release_id in driving.live_releases(store)]
    known = (
        client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys)))
        if keys
        else []
    )
    made = index.build(store, {str(each.key): str(each.id) for each in known})
    last = _latest(client, index.KEY)
    if last is None or last.data != made.markdown:
        _put(client, last, index.KEY, "markdown", made.markdown, made.headline, None)


def flow_run_of(release: Row) -> UUID | None:
    """The flow run that started a release; None where a command or a person did."""
    found = _STARTED_BY.fullmatch(release["started_by"])
    return UUID(found["id"]) if found else None


def _latest(client: SyncPrefectClient, key: str) -> Artifact | None:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    found = client.read_artifacts(artifact_filter=wanted)
    return max(found, key=lambda each: str(each.created), default=None)


def _pictures_of(last: Artifact | None) -> dict[str, str]:
    """The pictures of an artifact by short name."""
    text = last.data if last is not None and isinstance(last.data, str) else ""
    return {found["name"].replace(" ", "-"): found["to"] for found in _IMAGE.finditer(text)}


def _put(
    client: SyncPrefectClient,
    last: Artifact | None,
    key: str,
    kind: str,
    data: str,
    description: str,
    owner: UUID | None,
) -> None:
    data, description = clean(data), clean(description)
    if last is not None:
        client.update_artifact(last.id, ArtifactUpdate(data=data, description=description))
        return
    client.create_artifact(
        ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=owner)
    )


def put_page(key: str, markdown: str, headline: str) -> None:
    """A page of no release, as an artifact of its own; what Prefect can't take is logged."""
    try:
        with get_client(sync_client=True) as client:
            _put(client, _latest(client, key), key, "markdown", markdown, headline, None)
    except Exception as error:  # noqa: BLE001  as said above
        log.warning("%s could not be published: %r", key, error)


def settle(store: Store, release_id: str) -> None:
    """Show on the flow run that started a release how it stands since somebody else drives it.

    A run that still claims to be at work although its release was taken from it has died unnoticed. One that
    ended or crashed keeps its type: how the release ended is its name and message.
    """
    row, _ = driving.read(store, release_id)
    owner = flow_run_of(row)
    if owner is None:
        return
    made = report.build(store, release_id)
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(owner).state
            shown = None if state is None else _shown(state, made, ended=row["ended_us"] is not None)
            if shown is not None:
                client.set_flow_run_state(owner, shown, force=True)
    except ObjectNotFound:
        return  # its record was deleted, or all of Prefect's were
    except Exception as error:  # noqa: BLE001  how a run looks stops nothing
        log.warning("the flow run of %s could not be brought up to date: %r", release_id, error)


def _shown(state: State[Any], made: Report, *, ended: bool) -> State[Any] | None:
    """The state to show; None where the present one says it already."""
    if state.type is StateType.RUNNING:
        message = f"its process is gone; the schedule goes on. {made.headline}"
        return State(type=StateType.CRASHED, message=message)
    name = made.state if ended and state.type is StateType.COMPLETED else state.name
    if not state.is_final() or (state.name, state.message) == (name, made.headline):
        return None
    return State(type=state.type, name=name, message=made.headline)


__all__ = ["flow_run_of", "publish", "publish_index", "publish_release", "put_page", "settle"]
