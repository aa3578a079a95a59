"""Control points in the store: read with their seal checked, written with compare-and-set."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lastgood import epoch_word, ledger, notices
from lastgood.errors import CorruptRow, NotFound, StaleDriver
from lastgood.listening import payload
from lastgood.moves import ControlPoint, Lease, in_command
from lastgood.release import Terms
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction

_SEALED = (
    *("agent", "environment", "baseline", "standing", "candidate", "release_id", "share_bp", "epoch"),
    *("lease_seq", "lease_until_us", "lease_boot_id", "lease_boot_until_us", "driver_term", "killed"),
    *("terms", "seal"),
)


@dataclass(frozen=True, slots=True)
class Expect:
    """What a driver believes the control point to be; its commit is refused when that is no longer so."""

    epoch: int
    driver_term: int

    @classmethod
    def of(cls, point: ControlPoint) -> "Expect":
        """Return the belief of somebody who has just read `point`."""
        return cls(point.epoch, point.driver_term)


def from_row(row: Row) -> ControlPoint:
    """Build the point of a stored row; raises `CorruptRow` when the row does not match its seal."""
    return _checked(*(row[name] for name in _SEALED))


@lru_cache(maxsize=256, typed=True)
def _checked(*values: Any) -> ControlPoint:
    """Check the same row once: every transaction reads it, and it changes with a move alone."""
    row = dict(zip(_SEALED, values, strict=True))
    point = ControlPoint(
        agent=row["agent"],
        environment=row["environment"],
        baseline=row["baseline"],
        standing=row["standing"],
        candidate=row["candidate"],
        release_id=row["release_id"],
        share_bp=row["share_bp"],
        epoch=row["epoch"],
        lease_seq=row["lease_seq"],
        lease=Lease(row["lease_until_us"], row["lease_boot_id"], row["lease_boot_until_us"]),
        driver_term=row["driver_term"],
        killed=bool(row["killed"]),
        terms=_terms(row["terms"]),
    )
    try:
        sealed = point.seal == row["seal"]
    except TypeError:  # bytes, where only a hand can have put them
        sealed = False
    if not sealed:
        raise _changed(row["agent"], row["environment"], "its seal does not match")
    return point


@lru_cache(maxsize=256)
def _terms(text: str) -> Terms:
    """The terms outlast most moves."""
    return Terms.from_json(text)


def _changed(agent: str, environment: str, how: str) -> CorruptRow:
    return CorruptRow(
        f"the control point of {agent} in {environment} was changed behind the pipeline's back ({how}); "
        f"`lastgood rollback {in_command(agent, environment)}` restores it from the ledger"
    )


def _row(point: ControlPoint, now_us: int) -> dict[str, object]:
    return {
        "agent": point.agent,
        "environment": point.environment,
        "baseline": point.baseline,
        "standing": point.standing,
        "candidate": point.candidate,
        "release_id": point.release_id,
        "share_bp": point.share_bp,
        "epoch": point.epoch,
        "lease_seq": point.lease_seq,
        "lease_until_us": point.lease.until_us,
        "lease_boot_id": point.lease.boot_id,
        "lease_boot_until_us": point.lease.boot_until_us,
        "driver_term": point.driver_term,
        "killed": point.killed,
        "terms": point.terms.to_json(),
        "changed_us": now_us,
        "seal": point.seal,
    }


def find(txn: Transaction, agent: str, environment: str) -> ControlPoint | None:
    """Return the control point, or None where the agent was never adopted; raises `CorruptRow`."""
    row = txn.one(sql.POINT, agent=agent, environment=environment)
    if row is None and txn.one(sql.LEDGER_TAIL, agent=agent, environment=environment) is not None:
        raise _changed(agent, environment, "its row is gone")
    return from_row(row) if row else None


def read(txn: Transaction, agent: str, environment: str) -> ControlPoint:
    """Return the control point; raises `NotFound` where the agent was never adopted."""
    point = find(txn, agent, environment)
    if point is None:
        msg = (
            f"no agent {agent!r} in {environment}: it has no baseline yet; "
            f"register a bundle and `lastgood adopt {in_command(agent, environment)} BUNDLE`"
        )
        raise NotFound(msg)
    return point


def read_or_restore(txn: Transaction, agent: str, environment: str) -> tuple[ControlPoint, bool]:
    """Return the control point, and whether a hand had edited it: the ledger's tail then restores it."""
    try:
        return read(txn, agent, environment), False
    except CorruptRow as error:
        tail = txn.one(sql.LEDGER_TAIL, agent=agent, environment=environment)
        if tail is None or tail["hash"] != ledger.row_hash(dict(tail)):
            msg = f"{error}, but the ledger's last row was changed too: restore the store from a backup"
            raise CorruptRow(msg) from error
        point = ControlPoint.from_json(tail["point"])
        stored = txn.one(sql.POINT, agent=agent, environment=environment)
        if stored is None:
            _insert(txn, point)
        else:
            _update(txn, point, was_epoch=stored["epoch"], was_term=stored["driver_term"], baseline=True)
        _record(txn, None, point, ledger.Entry("restore", "lastgood", str(error).split(";", maxsplit=1)[0]))
        return point, True


def create(txn: Transaction, point: ControlPoint, entry: ledger.Entry) -> None:
    """Write an agent's first control point, its ledger row and what people are told."""
    _insert(txn, point)
    _record(txn, None, point, entry)


def move(
    txn: Transaction, was: ControlPoint, now: ControlPoint, entry: ledger.Entry, expect: Expect | None = None
) -> ControlPoint:
    """Write one move, its ledger row and what people are told of it.

    Raises `StaleDriver` unless `expect` still holds.
    """
    if expect is not None and expect != Expect.of(was):
        msg = (
            f"{was.name} moved on to epoch {was.epoch}, driver term {was.driver_term} since this driver "
            f"looked (epoch {expect.epoch}, term {expect.driver_term}): its commit is refused"
        )
        raise StaleDriver(msg)
    other = now.baseline != was.baseline
    _update(txn, now, was_epoch=was.epoch, was_term=was.driver_term, baseline=other)
    _record(txn, was, now, entry)
    return now


def _record(txn: Transaction, was: ControlPoint | None, now: ControlPoint, entry: ledger.Entry) -> None:
    notices.announce(txn, was, now, entry, ledger.append(txn, now, entry))


def _insert(txn: Transaction, point: ControlPoint) -> None:
    epoch_word.moving(txn, point.agent, point.environment, baseline=True)
    txn.insert("control_point", _row(point, txn.now_us))
    txn.notify(payload(point.agent, point.environment, point.epoch))


def _update(txn: Transaction, point: ControlPoint, *, was_epoch: int, was_term: int, baseline: bool) -> None:
    epoch_word.moving(txn, point.agent, point.environment, baseline=baseline)
    values = _row(point, txn.now_us)
    if txn.run(sql.MOVE_POINT, **values, was_epoch=was_epoch, was_term=was_term) != 1:
        msg = f"{point.name} was moved by somebody else at the same moment; read it again"
        raise StaleDriver(msg)
    txn.notify(payload(point.agent, point.environment, point.epoch))
