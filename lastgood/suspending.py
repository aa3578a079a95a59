"""Suspending: what a run had reported when another process was to go on with it."""

import json
from dataclasses import dataclass
from typing import Any

from lastgood import identity, points
from lastgood.bundle import Bundle
from lastgood.errors import BadToken, InvalidMove, Refused
from lastgood.outcome import Outcome
from lastgood.recorder import run_row
from lastgood.records import Ref, kept
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

#: the event that keeps what a run reported before it was suspended, and what tells it from an agent's own
#: event of this name (as `aftermath.SUSPENDED` does)
_SUSPENDED = "suspended"
_KEPT = frozenset({"outcome", "worked_s", "input", "output"})


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
    rows = [row for row in txn.all(sql.EVENTS, run_id=run_id) if row["name"] == _SUSPENDED]
    found = [detail for row in rows if set(detail := json.loads(row["detail"])) == _KEPT]
    if not found:
        return None
    detail = found[-1]
    given, made = thawed(detail["input"]), thawed(detail["output"])
    return Held(Outcome(**detail["outcome"]), detail["worked_s"], given, made)


def thawed(text: str | None) -> Any:
    """Return what a run was given or made, as its agent had it, of the JSON that was kept."""
    value = None if text is None else json.loads(text)
    return Ref(value["ref"]) if isinstance(value, dict) and set(value) == {"ref"} else value


def reopened(txn: Transaction, store: Store, run_id: str, token: str | None) -> tuple[Row, Held | None]:
    """Return the row of a run that may be gone on with, and what it had; a `token` of None is not asked for.

    Raises `NotFound` for an unknown run, `BadToken` for another run's token, `InvalidMove` for one that has
    ended.
    """
    row = run_row(txn, run_id)
    wrong = None if token is None else identity.refusal(identity.keys(store), token, row, txn.now_us)
    if wrong is not None:
        raise BadToken(wrong.say(run_id))
    if txn.one(sql.OUTCOME, run_id=run_id) is not None:
        msg = f"run {run_id} has ended; report what comes later with lastgood.report({run_id!r}, ...)"
        raise InvalidMove(msg)
    return row, suspended(txn, run_id)


def check_runtime(run_id: str, bundle: Bundle, runtimes: frozenset[str]) -> None:
    """Raise `Refused` where a process that is these runtimes is not what the run's bundle needs."""
    if not bundle.runtimes <= runtimes:
        msg = (
            f"run {run_id} is on {bundle.short}, which needs {', '.join(sorted(bundle.runtimes))}; "
            "resume it in a process that announces this runtime in LASTGOOD_RUNTIME"
        )
        raise Refused(msg)
