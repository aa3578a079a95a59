"""Actions: external effects of a run, fenced and counted before, settled after."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lastgood import points, recorder, reserving
from lastgood.errors import CapReached, Refused, StoreError
from lastgood.ids import new_id
from lastgood.moves import ControlPoint
from lastgood.release import ReleaseState
from lastgood.reserving import Claim
from lastgood.router import CANDIDATE
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

log = logging.getLogger("lastgood")


@contextmanager
def action(store: Store, run_id: str, kind: str, target: str, undo: dict[str, Any] | None) -> Iterator[str]:
    """Hold an action open: recorded before the effect, settled as done or failed after it.

    Raises `Refused` when the run's release was reverted or killed after the run began, `CapReached` when a
    ceiling leaves no room; nothing is recorded then, and the effect must not happen.
    """
    action_id = _reserve(store, run_id, kind, target, undo or {})
    try:
        yield action_id
    except BaseException:
        _settle(store, action_id, "failed")
        raise
    _settle(store, action_id, "done")


def _reserve(store: Store, run_id: str, kind: str, target: str, undo: dict[str, Any]) -> str:
    with store.transaction(durable=True) as txn:
        run = recorder.run_row(txn, run_id)
        point = points.read(txn, run["agent"], run["environment"])
        if run["arm"] == CANDIDATE and run["release_id"] is not None:
            _fence(txn, run, point, kind)
            _count(txn, run, point, kind)
        action_id = new_id("act_", txn.now_us)
        txn.insert(
            "action",
            {
                "id": action_id,
                "run_id": run_id,
                "release_id": run["release_id"],
                "kind": kind,
                "target": target,
                "state": "reserved",
                "undo": json.dumps(undo),
                "reserved_us": txn.now_us,
            },
        )
        return action_id


def _fence(txn: Transaction, run: Row, point: ControlPoint, kind: str) -> None:
    """Refuse a run whose release ended badly or was killed; a mere change of epoch refuses nothing."""
    release = txn.one(sql.RELEASE, id=run["release_id"])
    if release is not None and release["state"] == ReleaseState.REVERTED:
        msg = (
            f"{kind} of run {run['id']} is refused: its release was reverted ({release['reason']}); "
            "end the run"
        )
        raise Refused(msg)
    if point.killed and point.release_id == run["release_id"]:
        msg = f"{kind} of run {run['id']} is refused: the kill switch of {point.name} is on; end the run"
        raise Refused(msg)


def _count(txn: Transaction, run: Row, point: ControlPoint, kind: str) -> None:
    caps = point.terms.caps
    per_run = dict(caps.actions_per_run).get(kind)
    counted = txn.one(sql.ACTION_COUNT, run_id=run["id"], kind=kind)
    if per_run is not None and counted is not None and counted["n"] >= per_run:
        msg = f"{kind} of run {run['id']} is refused: it took {counted['n']}, its ceiling is {per_run} a run"
        raise CapReached(msg)
    per_hour = dict(caps.actions_per_hour).get(kind)
    if per_hour is None:
        return
    if not reserving.reserve(txn, run["release_id"], Claim(f"action:{kind}", 1, per_hour, held=False)):
        frees = -(-(reserving.window(txn.now_us) + reserving.HOUR_US - txn.now_us) // 60_000_000)
        msg = (
            f"{kind} of run {run['id']} is refused: the ceiling of {per_hour} an hour is reached; "
            f"it frees in {frees} min"
        )
        raise CapReached(msg)


def _settle(store: Store, action_id: str, state: str) -> None:
    """Settle it; an error here must not make the agent repeat an effect that has happened."""
    try:
        with store.transaction(durable=True) as txn:
            txn.run(sql.SETTLE_ACTION, id=action_id, state=state, now_us=txn.now_us)
    except StoreError as error:
        log.warning("the action %s is %s, and stays `reserved` in the store: %s", action_id, state, error)
