"""What one request of telemetry changes, as rows: runs, outcomes, actions, and the spans themselves."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lastgood import incidents, points, recorder
from lastgood.bundle import Bundle
from lastgood.decision import Reason
from lastgood.ids import new_id
from lastgood.recorder import Report
from lastgood.store import statements as sql
from lastgood.store import telemetry as sql_of
from lastgood.store.connection import Row, Store, Transaction
from lastgood.traced import Traced, actions_of, late_of, outcome_of

#: arm of a run that nobody assigned
OBSERVED = "observed"
#: microseconds that a span waits for its run, and is known when it comes again
KEPT_US = 24 * 3_600_000_000
#: kinds that are counted one by one
MOST_KINDS = 100
OTHERS = "others"


@dataclass(slots=True)
class Sheet:
    """All that one request changes."""

    runs: dict[str, Traced] = field(default_factory=dict)
    #: rows of `span`, new and changed, by ids
    spans: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    known: set[tuple[str, str]] = field(default_factory=set)
    #: of no run
    unmapped: Counter[str] = field(default_factory=Counter)
    bundles: dict[str, tuple[str, Bundle]] = field(default_factory=dict)


def tell(store: Store, run: Traced) -> None:
    """Record the outcome and the late reports of a run that the router assigned, as anybody's."""
    if run.root is not None and not run.ended:
        recorder.record_batch(store, [Report(run.id, outcome_of(run))])
        run.ended = True
    for key, fields in late_of(run):
        recorder.record_late(store, run.id, fields, key=key)


def write(store: Store, sheet: Sheet, scope: str) -> None:
    """Write it, each control point in a transaction, the spans last."""
    places: defaultdict[tuple[str, str], list[Traced]] = defaultdict(list)
    for run in sheet.runs.values():
        places[run.place].append(run)
    for place in sorted(places):
        with store.transaction(durable=True, at=place) as txn:
            for run in places[place]:
                _write_run(txn, run)
            counted: Counter[str] = Counter()
            for run in places[place]:
                counted.update(run.unmapped)
            _count(txn, place, counted)
    # last: until they are known all of the above may be sent again, and is written once
    with store.transaction(at=(scope, "")) as txn:
        new = [
            {**row, "received_us": txn.now_us} for key, row in sheet.spans.items() if key not in sheet.known
        ]
        changed = [row for key, row in sheet.spans.items() if key in sheet.known]
        txn.many(sql_of.NEW_SPAN, new)
        names = ("scope", "trace_id", "span_id", "run_id", "body")
        txn.many(sql_of.SET_SPAN, [{name: row[name] for name in names} for row in changed])
        before_us = txn.now_us - KEPT_US
        overdue = txn.one(sql_of.OVERDUE_SPANS, before_us=before_us)
        sheet.unmapped["span whose run never came"] += overdue["n"] if overdue else 0
        txn.run(sql_of.DROP_SPANS, before_us=before_us)
        _count(txn, ("", ""), sheet.unmapped)


def _count(txn: Transaction, place: tuple[str, str], counted: Mapping[str, int]) -> None:
    key = {"agent": place[0], "environment": place[1]}
    some = {kind: n for kind, n in counted.items() if n}
    if not some:
        return
    known = {row["kind"] for row in txn.all(sql_of.KINDS_UNMAPPED, **key)}
    for kind in sorted(some):
        name = kind if kind in known or len(known) < MOST_KINDS else OTHERS
        known.add(name)
        txn.run(sql_of.COUNT_UNMAPPED, **key, kind=name, n=some[kind], now_us=txn.now_us)


def _write_run(txn: Transaction, run: Traced) -> None:
    if run.row is None:
        _insert(txn, "run", [_run_row(txn, run)])
    elif run.observed and run.root is not None and not run.ended:
        names = ("id", "unit", "conversation", "task_type", "assigned_us")
        known = _run_row(txn, run)
        txn.run(sql_of.COMPLETE_RUN, **{name: known[name] for name in names})
    if run.observed:
        if run.root is not None and not run.ended:
            outcome = outcome_of(run).columns()
            outcome |= {name: json.dumps(outcome[name]) for name in ("usage", "metrics")}
            _insert(txn, "outcome", [{**outcome, "run_id": run.id, "received_us": txn.now_us}])
        late = [
            {"run_id": run.id, "received_us": txn.now_us, "fields": json.dumps(fields), "key": key}
            for key, fields in late_of(run)
        ]
        _insert(txn, "late_report", late)
    _write_actions(txn, run)


def _insert(txn: Transaction, table: str, rows: Sequence[Mapping[str, Any]]) -> int:
    columns = tuple(rows[0]) if rows else ()
    return txn.insert_new(table, columns, [tuple(row[name] for name in columns) for row in rows])


def _run_row(txn: Transaction, run: Traced) -> dict[str, Any]:
    point = points.read(txn, *run.place)
    root = run.root
    return {
        "id": run.id,
        "agent": run.agent,
        "environment": run.environment,
        "unit": (root and root.unit) or run.trace_id,
        "conversation": root and root.conversation,
        "task_type": root.task_type if root else "default",
        "risk": point.terms.risk_default,
        "bundle_id": run.bundle.id,
        "arm": OBSERVED,
        "epoch": point.epoch,
        "release_id": None,
        "eligible": False,
        "reason": Reason.TELEMETRY,
        "share_bp": 0,
        "block": None,
        # when it was served, so that the window of an incident takes it in
        "assigned_us": min(run.started_us or txn.now_us, txn.now_us),
    }


def _write_actions(txn: Transaction, run: Traced) -> None:
    rows = actions_of(run)
    if not rows:
        return
    row = recorder.run_row(txn, run.id)
    gated = {known["tool"] for known in _gated(txn.all(sql.ACTIONS, run_id=run.id))}
    new = []
    for each in rows:
        at_us = min(each.pop("at_us"), txn.now_us)
        if each["tool"] is not None and each["tool"] in gated:
            continue  # it passed the gate, which wrote it down
        own = {
            "id": new_id("act_", at_us),
            "run_id": run.id,
            "release_id": row["release_id"],
            "epoch": row["epoch"],
        }
        new.append({**each, **own, "reserved_us": at_us, "settled_us": txn.now_us, "late": False})
    if _insert(txn, "action", new):
        incidents.reopen_in(txn, row)  # a recovery that has ended comes back for it


def _gated(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not (row["key"] or "").startswith("otel:")]
