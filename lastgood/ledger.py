"""The ledger: the append-only, hash-chained record of every change of control, a chain per control point."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from lastgood.errors import CorruptRow
from lastgood.moves import ControlPoint
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


def append(txn: Transaction, point: ControlPoint, entry: Entry) -> None:
    """Add the row of one move, in the move's own transaction."""
    tail = txn.one(sql.LEDGER_TAIL, agent=point.agent, environment=point.environment)
    row: dict[str, Any] = {
        "agent": point.agent,
        "environment": point.environment,
        "seq": tail["seq"] + 1 if tail else 1,
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


def verify(store: Store, agent: str, environment: str) -> tuple[int, str]:
    """Check the chain of one control point; return how many rows it has and its head.

    Raises `CorruptRow` naming the first bad row. A tail that was cut off is only found by comparing the
    head with one exported before.
    """
    with store.reading() as txn:
        rows = [dict(row) for row in txn.all(sql.LEDGER, agent=agent, environment=environment)]
    previous = ""
    for place, row in enumerate(rows, start=1):
        if row["seq"] != place or row["previous"] != previous or row["hash"] != row_hash(row):
            msg = (
                f"the ledger of {agent} in {environment} is broken at row {place}: "
                "it was edited, removed or added; compare it with a backup"
            )
            raise CorruptRow(msg)
        previous = row["hash"]
    return len(rows), previous
