"""A release's moves of the control point: start, share, renew, take over, promote, revert.

Each is one durable transaction: the control point, the release's row, the stage row that makes a retry
find the effect done, and the ledger. A driver passes what it `expect`s; a stale one is refused.
"""

import json
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

from lastgood import incidents, moves, points, registry, standing
from lastgood.errors import InvalidMove, LiveRelease, NotFound, StaleDriver
from lastgood.ids import new_id
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint, Lease
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction


@dataclass(frozen=True, slots=True)
class Start:
    """Everything a release is started with; frozen from here on."""

    agent: str
    environment: str
    candidate: str
    policy_name: str
    policy_digest: str
    #: canonical JSON of the policy
    policy: str
    #: JSON of the baseline's reference counts
    history: str
    terms: Terms
    actor: str
    approver: str = ""
    note: str = ""
    #: JSON of the answers to the seven questions, and the share that they allow; empty: not asked
    readiness: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a release ends, and by what."""

    actor: str
    reason: str
    #: `evidence`, `trigger`, `hand`, `lapse`, `undecided`, `baseline` (its baseline was left): the first two
    #: quarantine, the others cool down
    by: str
    #: guardrails or triggers at fault, worst first
    culprits: tuple[str, ...] = ()

    @property
    def quarantines(self) -> bool:
        """Whether the candidate stays out until it is re-admitted."""
        return self.by in {"evidence", "trigger"}


def read(txn: Transaction, release_id: str) -> Row:
    """Return a release's row; raises `NotFound`."""
    row = txn.one(sql.RELEASE, id=release_id)
    if row is None:
        msg = f"no release {release_id!r}; see `lastgood status` for the live ones"
        raise NotFound(msg)
    return row


def _moving(store: Store, release_id: str) -> AbstractContextManager[Transaction]:
    """The transaction of a move: before all writers that wait, and beside those of other points."""
    return store.transaction(durable=True, first=True, at=store.place_of(sql.RELEASE, id=release_id))


def _live(txn: Transaction, release_id: str, move: str) -> tuple[Row, ControlPoint]:
    row = read(txn, release_id)
    if row["ended_us"] is not None:
        msg = f"can't {move} {release_id}: it ended as {row['state']} ({row['reason']}); start a new release"
        raise InvalidMove(msg)
    return row, points.read(txn, row["agent"], row["environment"])


def start(store: Store, start: Start) -> str:
    """Record a release and hold the control point for it; nothing is served differently yet.

    Raises `LiveRelease` naming the live one, `Refused` (the agent cools down), `Quarantined`, `InvalidMove`
    (candidate is the baseline, kill switch on) or `NotFound`.
    """
    with store.transaction(durable=True, first=True, at=(start.agent, start.environment)) as txn:
        registry.read(txn, start.candidate)
        point = points.read(txn, start.agent, start.environment)
        registry.read(txn, point.baseline)
        refuse_second(txn, start.agent, start.environment)
        standing.refuse_cooling(txn, start.agent, start.environment)
        standing.refuse_quarantined(txn, start.agent, start.environment, start.candidate)
        release_id = new_id("rel_", txn.now_us)
        claimed = moves.claim(point, release_id=release_id, candidate=start.candidate, terms=start.terms)
        _insert(txn, release_id, point.baseline, start)
        points.move(txn, point, claimed, Entry("start", start.actor, start.note, release_id))
        return release_id


def refuse_second(txn: Transaction, agent: str, environment: str) -> None:
    """Raise `LiveRelease` when this control point has a live release; the message names it."""
    live = txn.one(sql.LIVE_RELEASE, agent=agent, environment=environment)
    if live is not None:
        msg = (
            f"{agent} in {environment} has a live release: {live['id']} (b-{live['baseline'][:8]} -> "
            f"b-{live['candidate'][:8]}, {live['state']}); wait for it, or "
            f"`lastgood rollback {moves.in_command(agent, environment)}`"
        )
        raise LiveRelease(msg)


def _insert(txn: Transaction, release_id: str, baseline: str, start: Start) -> None:
    txn.insert(
        "release",
        {
            "id": release_id,
            "agent": start.agent,
            "environment": start.environment,
            "baseline": baseline,
            "candidate": start.candidate,
            "policy_name": start.policy_name,
            "policy_digest": start.policy_digest,
            "policy": start.policy,
            "history": start.history,
            "state": ReleaseState.OPENED,
            "step": 0,
            "started_by": start.actor,
            "approver": start.approver,
            "note": start.note,
            "started_us": txn.now_us,
            "step_since_us": txn.now_us,
            "driver": "",  # nobody yet: whoever looks first drives it
            "driver_seen_us": txn.now_us,
            "reason": "",
            "culprits": "[]",
            "readiness": start.readiness or None,
        },
    )


def new_lease(store: Store, now_us: int, lease_us: int) -> Lease:
    """Return a lease of `lease_us` microseconds from now, on both clocks."""
    clock = store.clock
    return Lease(now_us + lease_us, clock.boot_id, clock.boot_us() + lease_us)


#: what a move does besides, in its own transaction
Also: TypeAlias = Callable[[Transaction, Row, ControlPoint], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a move takes a release; the key makes the effect happen once."""

    key: str
    state: ReleaseState
    step: int


def _done(txn: Transaction, release_id: str, stage: Stage, point: ControlPoint, expect: Expect) -> bool:
    """Whether the stage was entered before; what another driver entered is no retry of this one's."""
    if txn.one(sql.STAGE, release_id=release_id, key=stage.key) is None:
        return False
    if expect.driver_term != point.driver_term:
        msg = (
            f"{release_id} was taken over (driver term {point.driver_term}, this driver holds "
            f"{expect.driver_term}): its commit is refused"
        )
        raise StaleDriver(msg)
    return True


def _enter(txn: Transaction, row: Row, stage: Stage, point: ControlPoint, detail: str) -> None:
    since = (
        txn.now_us
        if stage.step != row["step"] or row["state"] == ReleaseState.OPENED
        else row["step_since_us"]
    )
    txn.run(sql.MOVE_RELEASE, id=row["id"], state=stage.state, step=stage.step, step_since_us=since)
    txn.insert(
        "stage",
        {
            "release_id": row["id"],
            "key": stage.key,
            "at_us": txn.now_us,
            "epoch": point.epoch,
            "detail": detail,
        },
    )


def set_share(
    store: Store,
    release_id: str,
    stage: Stage,
    *,
    share_bp: int,
    lease_us: int,
    entry: Entry,
    expect: Expect,
    also: Also | None = None,
) -> ControlPoint:
    """Serve the candidate to `share_bp` basis points under a lease of `lease_us`; once per stage key.

    `also` is done in the same transaction.
    """
    with _moving(store, release_id) as txn:
        row, point = _live(txn, release_id, "set the share of")
        if _done(txn, release_id, stage, point, expect):
            return point
        lease = new_lease(store, txn.now_us, lease_us)
        served = moves.share(point, release_id=release_id, share_bp=share_bp, lease=lease)
        point = points.move(txn, point, served, entry, expect)
        _enter(txn, row, stage, point, json.dumps({"share_bp": share_bp, "reason": entry.reason}))
        if also is not None:
            also(txn, row, point)
        return point


def enter(
    store: Store,
    release_id: str,
    stage: Stage,
    *,
    entry: Entry,
    expect: Expect,
    detail: str = "{}",
    also: Also | None = None,
) -> None:
    """Move a release on without changing who is served; once per stage key. `also` is in its transaction."""
    with _moving(store, release_id) as txn:
        row, point = _live(txn, release_id, "move")
        if not _done(txn, release_id, stage, point, expect):
            points.move(txn, point, point, entry, expect)
            _enter(txn, row, stage, point, detail)
            if also is not None:
                also(txn, row, point)


def renew(
    store: Store, release_id: str, *, lease_us: int, driver: str, reason: str, expect: Expect
) -> ControlPoint:
    """Renew the lease after a completed look, and show that its driver lives.

    A lease that lapsed while the look was made stays as it is: the baseline serves already, and the candidate
    comes back by a new share, at a new epoch.
    """
    with _moving(store, release_id) as txn:
        _, point = _live(txn, release_id, "renew the lease of")
        clock = store.clock
        left_us = point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=clock.boot_us())
        lapsed = point.share_bp > 0 and left_us <= 0
        lease = point.lease if lapsed else new_lease(store, txn.now_us, lease_us)
        renewed = moves.renew(point, release_id=release_id, lease=lease)
        txn.run(sql.DRIVE_RELEASE, id=release_id, driver=driver, now_us=txn.now_us)
        return points.move(txn, point, renewed, Entry("renew", driver, reason, release_id), expect)


def take_over(
    store: Store, release_id: str, *, driver: str, reason: str, expect: Expect | None = None
) -> ControlPoint:
    """Become the only driver whose commits are accepted."""
    with _moving(store, release_id) as txn:
        _, point = _live(txn, release_id, "take over")
        taken = moves.take_over(point, release_id=release_id)
        txn.run(sql.DRIVE_RELEASE, id=release_id, driver=driver, now_us=txn.now_us)
        return points.move(txn, point, taken, Entry("takeover", driver, reason, release_id), expect)


def _end(txn: Transaction, release_id: str, state: ReleaseState, ending: Ending, epoch: int) -> None:
    txn.run(
        sql.END_RELEASE,
        id=release_id,
        state=state,
        now_us=txn.now_us,
        reason=ending.reason,
        culprits=json.dumps(ending.culprits),
    )
    key = "promote" if state is ReleaseState.PROMOTED else "revert"
    detail = json.dumps({"by": ending.by, "reason": ending.reason})
    txn.insert(
        "stage", {"release_id": release_id, "key": key, "at_us": txn.now_us, "epoch": epoch, "detail": detail}
    )


def promote(
    store: Store, release_id: str, *, proven: bool, ending: Ending, expect: Expect | None
) -> ControlPoint:
    """Make the candidate the last known good, proven by evidence or vouched for; ends the release."""
    with _moving(store, release_id) as txn:
        return promote_in(txn, release_id, proven=proven, ending=ending, expect=expect)


def promote_in(
    txn: Transaction, release_id: str, *, proven: bool, ending: Ending, expect: Expect | None = None
) -> ControlPoint:
    """Promote inside a transaction that is under way and waits for the disk."""
    row, point = _live(txn, release_id, "promote")
    standing.refuse_quarantined(txn, point.agent, point.environment, row["candidate"])
    registry.read(txn, row["candidate"])
    promoted = moves.promote(point, release_id=release_id, standing="proven" if proven else "vouched")
    entry = Entry("promote", ending.actor, ending.reason, release_id)
    point = points.move(txn, point, promoted, entry, expect)
    _end(txn, release_id, ReleaseState.PROMOTED, ending, point.epoch)
    standing.record_served(txn, point, release_id)
    return point


def revert(store: Store, release_id: str, ending: Ending, expect: Expect | None = None) -> ControlPoint:
    """Put the baseline back and end the release; from every live state, asking nobody."""
    with _moving(store, release_id) as txn:
        _, point = _live(txn, release_id, "revert")
        return revert_in(txn, point, ending, expect)


def fence_of(point: ControlPoint, culprits: Collection[str] = ()) -> str:
    """What runs of a bundle that is left now may still do: `abort` or `finish`.

    A kill and an event that is not tolerated always abort, else the policy's `on_revert` says.
    """
    forced = point.killed or not set(culprits).isdisjoint(point.terms.triggers.zero_tolerance)
    return "abort" if forced else point.terms.on_revert


def revert_in(
    txn: Transaction, point: ControlPoint, ending: Ending, expect: Expect | None = None
) -> ControlPoint:
    """Revert the point's live release inside a transaction that is under way (a trigger's, for example).

    Its incident is opened with it.
    """
    release_id, candidate = point.release_id, point.candidate
    if release_id is None or candidate is None:
        msg = f"{point.name} has no live release to revert"
        raise InvalidMove(msg)
    entry = Entry("revert", ending.actor, ending.reason, release_id)
    reverted = points.move(txn, point, moves.revert(point, release_id=release_id), entry, expect)
    _end(txn, release_id, ReleaseState.REVERTED, ending, reverted.epoch)
    txn.run(sql.FENCE_RELEASE, id=release_id, fence=fence_of(point, ending.culprits))
    said = f"reverted by {ending.by}: {ending.reason}"
    standing.keep_out(txn, point, candidate, said, cooling=not ending.quarantines, release_id=release_id)
    _open_incident(txn, reverted, release_id, candidate, ending)
    return reverted


def _open_incident(
    txn: Transaction, point: ControlPoint, release_id: str, candidate: str, ending: Ending
) -> None:
    opening = incidents.Opening(
        point.agent,
        point.environment,
        bad=candidate,
        good=point.baseline,
        from_us=read(txn, release_id)["started_us"],
        by=ending.by,
        reason=ending.reason,
        actor=ending.actor,
        release_id=release_id,
        culprits=ending.culprits,
    )
    incidents.open_in(txn, opening)
