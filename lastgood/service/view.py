"""What the page for people shows of one control point, as one frozen value."""

import json
from dataclasses import dataclass

from lastgood import approving, points, restoring
from lastgood.clock import Clock
from lastgood.errors import LastgoodError, NotFound
from lastgood.moves import ControlPoint
from lastgood.shown import percent, short, when
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

#: newest moves that are shown, and rows of the ledger among which they are looked for
_SHOWN, _READ = 8, 200
#: microseconds from which a lease is told in minutes
_MINUTES_US = 120_000_000
#: the moves after which another bundle serves as the baseline
_BASELINES = frozenset({"adopt", "promote", "rollback", "restore"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle by its names."""

    short: str
    name: str


@dataclass(frozen=True, slots=True)
class Move:
    """A row of the ledger, for people."""

    at: str
    action: str
    reason: str
    actor: str
    epoch: int


@dataclass(frozen=True, slots=True)
class View:
    """Who serves, since when, why, what is live, and what a revert would do."""

    agent: str
    environment: str
    epoch: int
    #: for people: time of the reading
    now: str
    baseline: Bundle
    standing: str
    #: the move that made the baseline serve; None where it is older than what is read
    since: Move | None
    candidate: Bundle | None
    #: per cent of the eligible runs that the candidate gets, as text
    share: str
    #: state of the live release, empty without one
    state: str
    #: what is left of the lease, as text; empty without a candidate in service
    lease: str
    killed: bool
    stopped: str
    #: what a person is asked, empty where nobody is
    asked: str
    #: newest first
    moves: tuple[Move, ...]
    #: the bundle that would serve after a revert; None where there is none to go back to
    target: Bundle | None
    #: why there is none
    stuck: str
    #: what is wrong with the control point's row, empty if nothing is
    damage: str = ""


def read(store: Store, agent: str, environment: str) -> View:
    """Read it all in one transaction; raises `NotFound` where the agent was never adopted.

    A control point that was edited by hand is shown as its ledger restores it: a rollback does that.
    """
    with store.reading() as txn:
        tail = txn.one(sql.LEDGER_TAIL, agent=agent, environment=environment)
        try:
            point, damage = points.read(txn, agent, environment), ""
        except NotFound:
            raise
        except LastgoodError as error:
            if tail is None:
                raise
            point, damage = ControlPoint.from_json(tail["point"]), str(error)
        return _view(txn, store.clock, point, damage, 0 if tail is None else int(tail["seq"]))


def _view(txn: Transaction, clock: Clock, point: ControlPoint, damage: str, last: int) -> View:
    key = {"agent": point.agent, "environment": point.environment}
    rows = txn.all(sql.LEDGER_PAGE, **key, after=max(0, last - _READ), most=_READ)[::-1]
    release = txn.one(sql.RELEASE, id=point.release_id) if point.release_id else None
    stopped = txn.one(sql.STOP, **key)
    target, stuck = _target(txn, point)
    told = [row for row in rows if row["action"] not in {"renew", "takeover"}]
    return View(
        **key,
        epoch=point.epoch,
        now=when(txn.now_us, seconds=False),
        baseline=_bundle(txn, point.baseline),
        standing=point.standing,
        since=next((_move(row) for row in rows if _began(row, point)), None),
        candidate=_bundle(txn, point.candidate) if point.candidate else None,
        share=percent(point.share_bp),
        state=str(release["state"]) if release else "",
        lease=_lease(txn, clock, point),
        killed=point.killed,
        stopped="" if stopped is None else f"{stopped['actor']}: {stopped['reason']}",
        asked="" if damage else _asked(txn, point),
        moves=tuple(_move(row) for row in told[:_SHOWN]),
        target=target,
        stuck=stuck,
        damage=damage,
    )


def _target(txn: Transaction, point: ControlPoint) -> tuple[Bundle | None, str]:
    if point.release_id is not None:
        return _bundle(txn, point.baseline), ""
    try:
        return _bundle(txn, restoring.newest_other(txn, point)), ""
    except LastgoodError as error:
        return None, str(error)


def _bundle(txn: Transaction, bundle_id: str) -> Bundle:
    row = txn.one(sql.BUNDLE, id=bundle_id)
    return Bundle(short(bundle_id), str(row["name"]) if row else "its row is missing")


def _began(row: Row, point: ControlPoint) -> bool:
    same = json.loads(row["point"]).get("baseline") == point.baseline
    return row["action"] in _BASELINES and same


def _move(row: Row) -> Move:
    return Move(when(row["at_us"], seconds=False), row["action"], row["reason"], row["actor"], row["epoch"])


def _lease(txn: Transaction, clock: Clock, point: ControlPoint) -> str:
    if not point.share_bp:
        return ""
    left = point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=clock.boot_us())
    if left <= 0:
        return "lapsed: the baseline serves everybody"
    return f"{left / 60_000_000:.0f} min left" if left >= _MINUTES_US else f"{left / 1_000_000:.0f} s left"


def _asked(txn: Transaction, point: ControlPoint) -> str:
    row = approving.open_question(txn, point.agent, point.environment)
    return "" if row is None else f"{row['what']}, until {when(row['expires_us'], seconds=False)}"
