"""Suspending: what a run had reported when another process was to go on with it."""

import json
from dataclasses import dataclass
from typing import Any

from lastgood import points
from lastgood.outcome import Outcome
from lastgood.recorder import run_row
from lastgood.records import Ref, kept
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction

#: the event that keeps what a run reported before it was suspended
_SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Held:
    """What a run had when it was suspended: another process goes on with it."""

    outcome: Outcome
    #: seconds that it had been worked on
    worked_s: float
    input: Any = None
    output: Any = None


def suspend(store: Store, run_id: str, held: Held) -> None:
    """Keep what a run reported so far; it stays open."""
    with store.transaction(at=store.place_of(sql.RUN, id=run_id)) as txn:
        run = run_row(txn, run_id)
        records = points.read(txn, run["agent"], run["environment"]).terms.records
        detail = {
            "outcome": held.outcome.columns(),
            "worked_s": held.worked_s,
            "input": kept(held.input, records),
            "output": kept(held.output, records),
        }
        values = {"run_id": run_id, "name": _SUSPENDED, "at_us": txn.now_us, "detail": json.dumps(detail)}
        txn.insert("event", values)


def suspended(txn: Transaction, run_id: str) -> Held | None:
    """Return what a run had when it was last suspended."""
    found = [row for row in txn.all(sql.EVENTS, run_id=run_id) if row["name"] == _SUSPENDED]
    if not found:
        return None
    detail = json.loads(found[-1]["detail"])
    given, made = _thawed(detail["input"]), _thawed(detail["output"])
    return Held(Outcome(**detail["outcome"]), detail["worked_s"], given, made)


def _thawed(text: str | None) -> Any:
    value = None if text is None else json.loads(text)
    return Ref(value["ref"]) if isinstance(value, dict) and set(value) == {"ref"} else value
