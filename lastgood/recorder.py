"""The recorder: outcomes, late reports and events into the store, triggers judged in the same transaction.

A candidate run's outcome settles its reservations and may revert the release before the transaction
commits: containment asks no other process.
"""

import json
from dataclasses import dataclass
from typing import Any

from lastgood import points, releasing, reserving
from lastgood.errors import InvalidInput, NotFound
from lastgood.moves import ControlPoint
from lastgood.outcome import Outcome, checked
from lastgood.records import Records, redact
from lastgood.releasing import Ending
from lastgood.router import CANDIDATE
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction


@dataclass(frozen=True, slots=True)
class Ref:
    """Names where an input or output is kept, instead of the thing itself."""

    #: a URL or an object's key
    where: str


def kept(value: Any, records: Records) -> str | None:
    """Return what is stored of an input or output: redacted JSON, a reference, or nothing."""
    if value is None or records.keep == "none":
        return None
    if isinstance(value, Ref):
        return json.dumps({"ref": value.where})
    if records.keep == "reference":
        return None
    text = json.dumps(redact(value, records.redact), ensure_ascii=False)
    size = len(text.encode())
    return (
        text
        if size <= records.max_bytes
        else json.dumps({"left_out": f"{size} bytes", "limit": records.max_bytes})
    )


def run_row(txn: Transaction, run_id: str) -> Row:
    """Return a run's row; raises `NotFound`."""
    row = txn.one(sql.RUN, id=run_id)
    if row is None:
        msg = f"no run {run_id!r} in this store"
        raise NotFound(msg)
    return row


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
    with store.transaction() as txn:
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


def record(store: Store, run_id: str, arm: str, outcome: Outcome, given: Any, made: Any) -> bool:
    """Write a run's outcome, once; return False where it had one already.

    `given` and `made` are the run's input and output, kept as the terms say.
    """
    with store.transaction(durable=arm == CANDIDATE) as txn:
        run = run_row(txn, run_id)
        point = points.read(txn, run["agent"], run["environment"])
        values = outcome.columns()
        for name in ("usage", "metrics"):
            values[name] = json.dumps(values[name])
        values |= {
            "run_id": run_id,
            "received_us": txn.now_us,
            "input": kept(given, point.terms.records),
            "output": kept(made, point.terms.records),
        }
        if txn.run(sql.insert_new("outcome", tuple(values)), **values) == 0:
            return False
        if run["arm"] == CANDIDATE:
            _settle(txn, run, point, outcome)
            _judge_rates(txn, run, point, outcome)
        return True


def _settle(txn: Transaction, run: Row, point: ControlPoint, outcome: Outcome) -> None:
    most = point.terms.caps.spend_usd_per_run
    # a run that does not say what it spent counts as having spent the most that it may
    spent = reserving.most_usd(point.terms.caps) if outcome.cost_usd is None else outcome.cost_usd
    if run["release_id"] is not None:
        reserving.settle(txn, run["release_id"], run["id"], spent)
    if most is not None and spent > most:
        _fire(
            txn, run, point, "overspend", f"run {run['id']} spent ${spent:.2f}, its ceiling was ${most:.2f}"
        )


def _bad(outcome: Outcome) -> dict[str, bool]:
    """What an ended run did badly, by the guardrail that a rate trigger may name."""
    disconnected = outcome.status == "disconnected"
    return {
        "completion": outcome.completed is not True and not disconnected,
        "validation": outcome.validated is not True and not disconnected,
        "escalation": outcome.escalated is True,
        "incidents": bool(outcome.incidents),
    }


def _judge_rates(txn: Transaction, run: Row, point: ControlPoint, outcome: Outcome) -> None:
    bad = _bad(outcome)
    for trigger in point.terms.triggers.rates:
        if trigger.metric not in bad or run["release_id"] is None:
            continue
        values = {"release_id": run["release_id"], "metric": trigger.metric, "bad": int(bad[trigger.metric])}
        count = txn.one(sql.COUNT_TRIGGER, **values)
        if count is not None and trigger.fires(count["n"], count["bad"]):
            said = f"{trigger.metric}: {count['bad']} bad of {count['n']} runs, limit {trigger.limit:g}"
            _fire(txn, run, point, trigger.metric, said)
            return


def _fire(txn: Transaction, run: Row, point: ControlPoint, culprit: str, said: str) -> None:
    """Revert the release that the run belongs to, if it still holds the control point."""
    if point.release_id is None or point.release_id != run["release_id"]:
        return
    now = points.read(txn, point.agent, point.environment)
    if now.release_id == point.release_id:
        ending = Ending("trigger", said, by="trigger", culprits=(culprit,))
        releasing.revert_in(txn, now, ending)


def record_event(store: Store, run_id: str, name: str, detail: dict[str, Any]) -> None:
    """Write a named event of a run; a zero-tolerance event of a candidate reverts in this transaction."""
    with store.transaction(durable=True) as txn:
        run = run_row(txn, run_id)
        point = points.read(txn, run["agent"], run["environment"])
        text = json.dumps(redact(detail, point.terms.records.redact), ensure_ascii=False)
        txn.insert("event", {"run_id": run_id, "name": name, "at_us": txn.now_us, "detail": text})
        if run["arm"] == CANDIDATE and name in point.terms.triggers.zero_tolerance:
            _fire(txn, run, point, name, f"{name} in run {run_id}: no such event is tolerated")


def record_late(store: Store, run_id: str, fields: dict[str, Any]) -> None:
    """Write what arrives for a run after it ended; sealed evidence never changes by it."""
    if not fields:
        msg = f"report of run {run_id}: nothing to report; name at least one outcome, for example edits=3"
        raise InvalidInput(msg)
    text = json.dumps(checked(fields), sort_keys=True)
    with store.transaction() as txn:
        run_row(txn, run_id)
        txn.insert("late_report", {"run_id": run_id, "received_us": txn.now_us, "fields": text})
