"""Actions: external effects of a run, gated and recorded before, settled after.

The gate is one durable transaction: stop, fence, ceilings, and the row that a compensation starts from.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from lastgood import incidents, points, recorder, reserving, shapes
from lastgood.decision import CANDIDATE
from lastgood.errors import CapReached, InDoubt, InvalidInput, Refused, StoreError
from lastgood.ids import new_id
from lastgood.moves import ControlPoint
from lastgood.records import unsecret_json, unsecret_key
from lastgood.release import ReleaseState
from lastgood.reserving import Claim
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

log = logging.getLogger("lastgood")
#: microseconds after which a recovery may take an action that is not settled for one in doubt
SLOW_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Effect:
    """An external effect that a run is about to have."""

    kind: str
    #: whom or what it acts on
    target: str = ""
    #: what undoes it
    undo: dict[str, Any] = field(default_factory=dict)
    #: the declared tool that makes it
    tool: str | None = None
    #: the same key again in one run is the same effect; None: every call is its own
    key: str | None = None
    #: whether a call whose end is not known may be made again
    idempotent: bool = False


@dataclass(frozen=True, slots=True)
class Gated:
    """An effect that may happen now, or has happened before."""

    id: str
    #: whether it comes after the bundle was reverted, and the policy lets it finish
    late: bool = False
    #: whether an earlier call with this key had the effect: it must not happen again
    done: bool = False
    #: JSON of what that call returned, where it was kept
    result: str | None = None


@contextmanager
def action(store: Store, run_id: str, kind: str, target: str, undo: dict[str, Any] | None) -> Iterator[str]:
    """Hold an action open: recorded before the effect, settled as done or failed after it.

    Raises `Refused` when the run's bundle was reverted or killed after the run began or the agent is stopped,
    `CapReached` when a ceiling leaves no room; nothing is recorded then, and the effect must not happen.
    """
    gated = reserve(store, run_id, Effect(kind, target, undo or {}))
    try:
        yield gated.id
    except BaseException:
        settle(store, gated.id, "failed")
        raise
    settle(store, gated.id, "done")


def reserve(store: Store, run_id: str, effect: Effect) -> Gated:
    """Let an effect through the gate and record it, or return what an earlier call with its key did.

    Raises as `action`, `InDoubt` when an earlier call with this key never settled (its process died, or is
    still at it), and `InvalidInput` when the key stands for an effect of another kind. No secret is kept:
    one in the target or the undo reads `[secret]`, so let the undo name a reference, for example `env:NAME`.
    """
    effect = replace(effect, target=shapes.masked(effect.target), key=unsecret_key(effect.key))
    with store.transaction(durable=True, at=store.place_of(sql.RUN, id=run_id)) as txn:
        run = recorder.run_row(txn, run_id)
        known = txn.one(sql.ACTION_BY_KEY, run_id=run_id, key=effect.key) if effect.key is not None else None
        if known is not None and known["kind"] != effect.kind:
            raise _other_kind(run_id, effect, known)
        if known is not None and known["state"] == "done":
            return Gated(known["id"], bool(known["late"]), done=True, result=known["result"])
        if known is not None and known["state"] == "reserved" and not effect.idempotent:
            raise _in_doubt(run_id, effect)
        return _let_through(txn, run, effect, known)


def _other_kind(run_id: str, effect: Effect, known: Row) -> InvalidInput:
    """The row says what undoes its effect: another effect under its key would be undone by that."""
    return InvalidInput(
        f"the key {effect.key!r} of run {run_id} stands for a {known['kind']} already: "
        f"give the {effect.kind} a key of its own"
    )


def _in_doubt(run_id: str, effect: Effect) -> InDoubt:
    return InDoubt(
        f"{effect.kind} of run {run_id} with the key {effect.key!r} was begun and never settled: whether it "
        "took effect is not known. Look where it acts; a tool declared `idempotent: true` is called again"
    )


def _let_through(txn: Transaction, run: Row, effect: Effect, known: Row | None) -> Gated:
    point = points.read(txn, run["agent"], run["environment"])
    late = _fence(txn, run, point, effect.kind)
    if late:
        incidents.reopen_in(txn, run)  # a recovery that has ended comes back for it
    begun = known if known is not None and known["state"] == "reserved" else None
    if run["arm"] == CANDIDATE and run["release_id"] is not None:
        _count(txn, run, point, effect.kind, begun)
    if known is not None:
        values = {"id": known["id"], "now_us": txn.now_us, "epoch": point.epoch, "late": late}
        txn.run(sql.REPEAT_ACTION, **values)
        return Gated(known["id"], late)
    action_id = new_id("act_", txn.now_us)
    txn.insert(
        "action",
        {
            "id": action_id,
            "run_id": run["id"],
            "release_id": run["release_id"],
            "kind": effect.kind,
            "target": effect.target,
            "state": "reserved",
            "undo": unsecret_json(json.dumps(effect.undo)),
            "reserved_us": txn.now_us,
            "tool": effect.tool,
            "key": effect.key,
            "epoch": point.epoch,
            "late": late,
        },
    )
    return Gated(action_id, late)


def _fence(txn: Transaction, run: Row, point: ControlPoint, kind: str) -> bool:
    """Return whether the action is late; raise `Refused` where it may not happen at all.

    Asks whether the run's release or bundle was left after the run began; a mere change of epoch refuses
    nothing.
    """
    what = f"{kind} of run {run['id']} is refused"
    stopped = txn.one(sql.STOP, agent=point.agent, environment=point.environment)
    if stopped is not None:
        msg = (
            f"{what}: {point.name} was stopped by {stopped['actor']} ({stopped['reason']}); "
            f"`lastgood stop {point.in_command} --clear` allows external actions again"
        )
        raise Refused(msg)
    left = _left(txn, run, point)
    candidate = run["arm"] == CANDIDATE and run["release_id"] is not None
    if candidate and point.killed and (left is not None or point.release_id == run["release_id"]):
        msg = f"{what}: the kill switch of {point.name} is on; end the run"
        raise Refused(msg)
    if left is None:
        return False
    fence, why = left
    if fence != "finish":
        msg = f"{what}: {why}; end the run"
        raise Refused(msg)
    return True


def _left(txn: Transaction, run: Row, point: ControlPoint) -> tuple[str | None, str] | None:
    """What a run of a bundle that was left may still do, and why it was left; None where it was not."""
    release = txn.one(sql.RELEASE, id=run["release_id"]) if run["release_id"] is not None else None
    if run["arm"] == CANDIDATE and release is not None and release["state"] == ReleaseState.REVERTED:
        return release["fence"], f"its release was reverted ({release['reason']})"
    place = {"agent": point.agent, "environment": point.environment, "bundle_id": run["bundle_id"]}
    served = txn.one(sql.WITHDRAWN_SINCE, **place, since_us=run["assigned_us"])
    return None if served is None else (served["fence"], f"{point.name} was rolled back from its bundle")


def _count(txn: Transaction, run: Row, point: ControlPoint, kind: str, begun: Row | None) -> None:
    """Reserve what the ceilings leave, or raise `CapReached`.

    One that was begun counts for its run already, and for the hour in which that was.
    """
    caps = point.terms.caps
    if begun is None:
        _count_in_run(txn, run, kind, dict(caps.actions_per_run).get(kind))
    per_hour = dict(caps.actions_per_hour).get(kind)
    counted = begun is not None and reserving.window(begun["reserved_us"]) == reserving.window(txn.now_us)
    if per_hour is None or counted:
        return
    claim = Claim(_cap(kind), 1, per_hour, held=False)
    if not reserving.reserve(txn, run["release_id"], claim):
        frees_us = reserving.window(txn.now_us) + reserving.HOUR_US
        msg = (
            f"{kind} of run {run['id']} is refused: the ceiling of {per_hour} an hour is reached; "
            f"it frees in {-(-(frees_us - txn.now_us) // 60_000_000)} min"
        )
        used = reserving.taken(txn, run["release_id"], claim.cap)
        raise CapReached(msg, cap=f"actions_per_hour:{kind}", level=per_hour, used=used, frees_us=frees_us)


def _count_in_run(txn: Transaction, run: Row, kind: str, per_run: int | None) -> None:
    counted = txn.one(sql.ACTION_COUNT, run_id=run["id"], kind=kind)
    if per_run is not None and counted is not None and counted["n"] >= per_run:
        msg = (
            f"{kind} of run {run['id']} is refused: it took {counted['n']}, its ceiling is {per_run} a run; "
            "it frees with the next run"
        )
        raise CapReached(msg, cap=f"actions_per_run:{kind}", level=per_run, used=counted["n"])


def _cap(kind: str) -> str:
    return f"action:{kind}"


def settle(store: Store, action_id: str, state: str, result: str | None = None) -> None:
    """Settle it as `done` or `failed`; one that failed gives back what it took of its hour's ceiling.

    An error here must not make the agent repeat an effect that has happened: it is logged. `result` is JSON;
    a secret in it is not kept.
    """
    result = None if result is None else unsecret_json(result)
    try:
        with store.transaction(durable=True, at=store.place_of(sql.PLACE_OF_ACTION, id=action_id)) as txn:
            row = txn.one(sql.ACTION, id=action_id)
            changed = txn.run(sql.FINISH_ACTION, id=action_id, state=state, now_us=txn.now_us, result=result)
            if not changed or row is None:
                return
            if state == "failed" and row["release_id"] is not None:
                _give_back(txn, row)
            if txn.now_us - row["reserved_us"] > SLOW_US:  # a recovery may have taken it for dead
                incidents.reopen_in(txn, recorder.run_row(txn, row["run_id"]))
    except StoreError as error:
        log.warning("the action %s is %s, and stays `reserved` in the store: %s", action_id, state, error)


def _give_back(txn: Transaction, row: Row) -> None:
    run = recorder.run_row(txn, row["run_id"])
    if run["arm"] == CANDIDATE:
        reserving.give_back(txn, row["release_id"], _cap(row["kind"]), row["reserved_us"])
