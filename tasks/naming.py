"""Naming: what a flow run is called, tagged with and says while it is under way."""

import json
import logging
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Running

from lastgood import agent, points, registry, releasing
from lastgood.store.connection import Transaction
from tasks import choices
from tasks.driving import Due
from tasks.forms import TAG

log = logging.getLogger("lastgood")
#: hex digits of a bundle's id in the name of a run
_DIGITS = 4


def brief(bundle_id: str) -> str:
    """A bundle as the name of a run shows it: `b-3f2a`."""
    return f"b-{bundle_id[:_DIGITS]}"


def release() -> str:
    """`release support b-3f2a -> b-91c0`; with what was asked for where that can't be found."""
    given = flow_run.get_parameters()
    candidate = choices.reference(given.get("candidate", ""))
    try:
        with agent.store().reading() as txn:
            baseline = points.read(txn, given["agent"], given["environment"]).baseline
            return f"release {given['agent']} {brief(baseline)} -> {_candidate(txn, candidate)}"
    except Exception:  # noqa: BLE001  the preflight says what is wrong; a name must not
        return f"release {given.get('agent')} {candidate}"


def rollback() -> str:
    """`rollback support -> b-3f2a`: where it goes, as far as that is known beforehand."""
    given = flow_run.get_parameters()
    said = f"rollback {given.get('agent')}"
    try:
        with agent.store().reading() as txn:
            point = points.read(txn, given["agent"], given["environment"])
            to = choices.reference(given.get("to", ""))
            if to:
                return f"{said} -> {_candidate(txn, to)}"
            if point.release_id is not None:
                return f"{said} -> {brief(point.baseline)}"
            from lastgood import restoring

            return f"{said} -> {brief(restoring.newest_other(txn, point))}"
    except Exception:  # noqa: BLE001  as above
        return said


def suite() -> str:
    """`regression suite support b-3f2a`, and `part 2/4` where it is one."""
    given = flow_run.get_parameters()
    reference, told = choices.reference(given.get("bundle", "")), given.get("part")
    try:
        part = json.loads(told) if told else {}
        suffix = f" part {part['number']}/{part['of']}" if part else ""
        with agent.store().reading() as txn:
            return f"regression suite {given['agent']} {_candidate(txn, reference)}{suffix}"
    except Exception:  # noqa: BLE001  as above
        return f"regression suite {given.get('agent')} {reference}"


def _candidate(txn: Transaction, reference: str) -> str:
    return brief(registry.resolve(txn, reference))


def label(release_id: str) -> None:
    """Tag the flow run with the agent, the environment and the bundle that it releases."""
    with agent.store().reading() as txn:
        row = releasing.read(txn, release_id)
    tag(row["agent"], row["environment"], brief(row["candidate"]))


def tag(*words: str) -> None:
    """Tag this flow run, beside what it is tagged with already."""
    _tell("tagged", tags=sorted({TAG, *words, *(flow_run.get_tags() or [])}))


def show(what: Due) -> None:
    """Name the flow run's state after the stage, with why it is there as the message."""
    reason = what.transition.reason if what.transition else ""
    state: State[Any] = Running(name=what.label.capitalize(), message=reason)
    try:
        with get_client(sync_client=True) as client:
            # not forced: a run that is being cancelled stays so
            client.set_flow_run_state(_id(), state)
    except Exception as error:  # noqa: BLE001  how a run looks stops nothing
        log.info("the flow run could not show %s: %r", what.label, error)


def _id() -> UUID:
    return UUID(flow_run.get_id())


def _tell(done: str, **fields: Any) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(_id(), **fields)
    except Exception as error:  # noqa: BLE001  as above
        log.info("the flow run could not be %s: %r", done, error)


__all__ = ["brief", "label", "release", "rollback", "show", "suite", "tag"]
