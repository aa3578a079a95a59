"""The ledger: the append-only, hash-chained record of every change of control, a chain per control point."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from lastgood.errors import CorruptRow
from lastgood.moves import ControlPoint
from lastgood.store import pruning
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction

_HASHED = (
    *("agent", "environment", "seq", "at_us", "actor", "action", "reason"),
    *("epoch", "release_id", "point", "previous"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Who changed what, and why."""

    #: `adopt`, `start`, `share`, `renew`, `lapse`, `takeover`, `promote`, `revert`, `rollback`, `kill`,
    #: `clear`, ...
    action: str
    #: person or process that did it
    actor: str
    reason: str
    release_id: str | None = None


def row_hash(row: dict[str, Any]) -> str:
    """Return the hash that chains a row to the one before it."""
    # `repr`: a row edited by hand may hold bytes, and must not match
    text = json.dumps(
        [row[name] for name in _HASHED], separators=(",", ":"), ensure_ascii=False, default=repr
    )
    return hashlib.sha256(text.encode()).hexdigest()


def append(txn: Transaction, point: ControlPoint, entry: Entry) -> int:
    """Add the row of one move, in the move's own transaction; return its place in the chain."""
    assert txn.at in {None, (point.agent, point.environment)}, "not this transaction's point"  # noqa: S101
    tail = txn.one(sql.LEDGER_TAIL, agent=point.agent, environment=point.environment)
    seq: int = tail["seq"] + 1 if tail else 1
    row: dict[str, Any] = {
        "agent": point.agent,
        "environment": point.environment,
        "seq": seq,
        "at_us": txn.now_us,
        "actor": entry.actor,
        "action": entry.action,
        "reason": entry.reason,
        "epoch": point.epoch,
        "release_id": entry.release_id,
        "point": point.to_json(),
        "previous": tail["hash"] if tail else "",
    }
    txn.insert("ledger", {**row, "hash": row_hash(row)})
    return seq


def _pruned(seq: int, digest: str) -> str:
    return f"rows up to {seq} were pruned; the last of them had the hash {digest}"


def anchored(txn: Transaction, agent: str, environment: str) -> int:
    """Return the place of the last row that was pruned, 0 where none was."""
    row = txn.one(pruning.LEDGER_ANCHOR, agent=agent, environment=environment)
    return int(row["seq"]) if row else 0


def anchor(txn: Transaction, point: ControlPoint, seq: int, actor: str) -> None:
    """Let a chain begin after row `seq`: the chain itself records it, and the rows up to there may go."""
    key = {"agent": point.agent, "environment": point.environment}
    row = txn.one(pruning.LEDGER_ROW, **key, seq=seq)
    if row is None or row["hash"] != row_hash(dict(row)):
        raise _broken(point.agent, point.environment, seq)
    txn.run(pruning.SET_LEDGER_ANCHOR, **key, seq=seq, hash=row["hash"])
    append(txn, point, Entry("prune", actor, _pruned(seq, row["hash"])))


def _broken(agent: str, environment: str, place: int) -> CorruptRow:
    return CorruptRow(
        f"the ledger of {agent} in {environment} is broken at row {place}: "
        "it was edited, removed or added; compare it with a backup"
    )


def verify(store: Store, agent: str, environment: str) -> tuple[int, str]:
    """Check the chain of one control point; return the place of its last row and its head.

    A pruned chain is checked from its anchor on, and has to hold the row that recorded the pruning. Raises
    `CorruptRow` naming the first bad row. A tail that was cut off is only found by comparing the head with
    one exported before.
    """
    with store.reading() as txn:
        return verify_in(txn, agent, environment)


def verify_in(txn: Transaction, agent: str, environment: str) -> tuple[int, str]:
    """Check the chain as this transaction sees it; as `verify`."""
    rows = [dict(row) for row in txn.all(sql.LEDGER, agent=agent, environment=environment)]
    start = txn.one(pruning.LEDGER_ANCHOR, agent=agent, environment=environment)
    place, previous = (start["seq"], start["hash"]) if start else (0, "")
    # what pruning has not come to yet, or never will again
    rows = rows if start is None else [row for row in rows if row["seq"] > place]
    said = None if start is None else _pruned(place, previous)
    recorded = said is None
    for place, row in enumerate(rows, start=place + 1):  # noqa: B020  goes on from the anchor
        if row["seq"] != place or row["previous"] != previous or row["hash"] != row_hash(row):
            raise _broken(agent, environment, place)
        recorded = recorded or (row["action"] == "prune" and row["reason"] == said)
        previous = row["hash"]
    if not recorded:
        raise _broken(agent, environment, start["seq"] if start else 1)
    return place, previous
