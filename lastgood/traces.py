"""Traces: what telemetry says of runs, into the store.

A run that the router assigned is named by its own name (`lastgood.entry`, or the evaluation of its flag), or
by `lastgood.run` with its token; its outcome is evidence as any other. A run that is known from its spans
alone is attributed to the bundle that they name, and is no evidence: its outcome counts in no comparison and
fires no trigger, while its actions can be recovered. What names no run and no bundle is counted, never
guessed.

Spans end before their parents and may come in another request: they wait for a day at most. One that is sent
again is known by its ids.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from lastgood import identity, points, registry, trace_rows
from lastgood.bundle import Bundle
from lastgood.decision import Reason
from lastgood.errors import NotFound
from lastgood.store import statements as sql
from lastgood.store import telemetry as sql_of
from lastgood.store.connection import Row, Store, Transaction
from lastgood.telemetry import Batch, Note, Root, Span, said
from lastgood.telemetry_table import Table
from lastgood.trace_rows import Sheet
from lastgood.traced import Traced


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sends telemetry."""

    #: agents that it may speak of, as one text: spans of one trace find each other within it
    scope: str
    #: the environment of what names none
    environment: str
    #: whether it may record runs of an agent there
    may: Callable[[str, str], bool]


@dataclass(slots=True)
class Taken:
    """What became of a request."""

    #: spans that were not taken
    rejected: int = 0
    #: why, the first few
    reasons: list[str] = field(default_factory=list)

    def refuse(self, why: str) -> None:
        """Count one."""
        self.rejected += 1
        if len(self.reasons) < 5 and why not in self.reasons:
            self.reasons.append(why)


def take(store: Store, batch: Batch, table: Table, asker: Asker) -> Taken:
    """Write what a request says; raises `StoreUnavailable` where nothing could be kept of a part of it.

    Repeating it then is right: whatever was written is known by then.
    """
    taken, sheet = Taken(), Sheet()
    for why in batch.refused:
        taken.refuse(why)
    traces: defaultdict[str, list[Span]] = defaultdict(list)
    for span in batch.spans:
        traces[span.trace_id].append(span)
    with store.reading() as txn:
        for trace_id, spans in traces.items():
            _read_trace(txn, store, _Trace(trace_id, spans, table, asker), sheet, taken)
    for run in sheet.runs.values():
        if not run.observed:
            trace_rows.tell(store, run)  # before the spans are known: what fails here is sent again whole
    trace_rows.write(store, sheet, asker.scope)
    return taken


# -- reading: which run is meant


@dataclass(slots=True)
class _Trace:
    id: str
    spans: list[Span]
    table: Table
    asker: Asker


def _read_trace(txn: Transaction, store: Store, trace: _Trace, sheet: Sheet, taken: Taken) -> None:
    key = {"scope": trace.asker.scope, "trace_id": trace.id}
    rows = {row["span_id"]: dict(row) for row in txn.all(sql_of.SPANS_OF_TRACE, **key)}
    sheet.known |= {(trace.id, span_id) for span_id in rows}
    tree = _Tree({span_id: row["parent_id"] for span_id, row in rows.items()})
    for span_id, row in rows.items():
        known = None if row["run_id"] is None else _known_run(txn, sheet, row["run_id"])
        if known is not None:
            tree.roots[span_id] = known
        if row["body"] is not None:
            tree.waiting[span_id] = json.loads(row["body"])
    for span in trace.spans:
        if span.span_id not in tree.parents:  # else it is sent again
            _read_span(txn, store, trace, span, tree, sheet, taken)
    for span_id, notes in tree.waiting.items():
        left: list[Note] = []
        for note in notes:
            run = tree.run_of(span_id) or _named(txn, store, note, trace, sheet)
            (left if run is None else run.notes).append(note)
        values = sheet.spans.setdefault((trace.id, span_id), rows.get(span_id, {}))
        values["body"] = json.dumps(left) if left else None


def _read_span(
    txn: Transaction,
    store: Store,
    trace: _Trace,
    span: Span,
    tree: "_Tree",
    sheet: Sheet,
    taken: Taken,
) -> None:
    found, run = said(span, trace.table), None
    if found.root is not None:
        run = _run_of(txn, store, found.root, span, trace.asker, sheet, taken)
        if run is None:
            return
        tree.roots[span.span_id] = run
        if run.root is None:
            run.root, run.started_us, run.trace_id = found.root, span.start_us, span.trace_id
    tree.parents[span.span_id] = span.parent_id
    sheet.spans[trace.id, span.span_id] = {
        "scope": trace.asker.scope,
        "trace_id": trace.id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "run_id": None if run is None else run.id,
        "body": None,
    }
    (sheet.unmapped if run is None else run.unmapped).update(found.unmapped)
    if found.notes:
        tree.waiting[span.span_id] = found.notes


@dataclass(slots=True)
class _Tree:
    """What is known of one trace, by the ids of its spans."""

    parents: dict[str, str]
    roots: dict[str, Traced] = field(default_factory=dict)
    waiting: dict[str, list[Note]] = field(default_factory=dict)

    def run_of(self, span_id: str) -> Traced | None:
        """The run of the nearest root above; the only one of the trace where the way up is not known."""
        seen: set[str] = set()
        at = span_id
        while at and at not in seen:
            if at in self.roots:
                return self.roots[at]
            seen.add(at)
            at = self.parents.get(at, "")
        runs = {run.id: run for run in self.roots.values()}
        return next(iter(runs.values())) if len(runs) == 1 else None


def _known_run(txn: Transaction, sheet: Sheet, run_id: str) -> Traced | None:
    if run_id in sheet.runs:
        return sheet.runs[run_id]
    row = txn.one(sql.RUN, id=run_id)
    return None if row is None else _of_row(txn, sheet, row)


def _of_row(txn: Transaction, sheet: Sheet, row: Row) -> Traced:
    ended = txn.one(sql.OUTCOME, run_id=row["id"]) is not None
    bundle = _bundle(txn, sheet, row["bundle_id"])[1]
    run = Traced(row["id"], row["agent"], row["environment"], bundle, row, ended)
    return sheet.runs.setdefault(run.id, run)


def _bundle(txn: Transaction, sheet: Sheet, bundle_id: str) -> tuple[str, Bundle]:
    if bundle_id not in sheet.bundles:
        record = registry.read(txn, bundle_id)
        sheet.bundles[bundle_id] = record.agent, record.bundle
    return sheet.bundles[bundle_id]


def _run_of(
    txn: Transaction, store: Store, root: Root, span: Span, asker: Asker, sheet: Sheet, taken: Taken
) -> Traced | None:
    """Return the run of a root span; None where it has none, which is counted or refused."""
    environment = root.environment or asker.environment
    bundle_id = _resolved(txn, root.bundle)
    agent = root.agent or (_bundle(txn, sheet, bundle_id)[0] if bundle_id else None)
    if agent is None:
        sheet.unmapped["run that names neither agent nor bundle"] += 1
        return None
    if not asker.may(agent, environment):
        taken.refuse(f"the token does not reach {agent} in {environment}")
        return None
    found = _meant(txn, store, root, (agent, environment), bundle_id, span.trace_id, sheet)
    if isinstance(found, str):
        taken.refuse(found)
        return None
    return found


def _meant(
    txn: Transaction, store: Store, named: Root, place: tuple[str, str], bundle_id: str | None, trace_id: str,
    sheet: Sheet,
) -> Traced | str | None:  # fmt: skip
    """Return the run that is meant, or why it may not be spoken of; None where there is none, counted."""
    row = _assigned_row(txn, store, named, place)
    if isinstance(row, str):
        return row
    if row is not None:
        return sheet.runs.get(row["id"]) or _of_row(txn, sheet, row)
    return _observed(txn, sheet, place, bundle_id, trace_id)


def _resolved(txn: Transaction, reference: str | None) -> str | None:
    try:
        return None if reference is None else registry.resolve(txn, reference)
    except NotFound:
        return None


def _assigned_row(txn: Transaction, store: Store, named: Root, place: tuple[str, str]) -> Row | str | None:
    """Return the row of a run that the router assigned, or why it may not be spoken of."""
    key = {"agent": place[0], "environment": place[1]}
    if named.run is not None:
        row = txn.one(sql.RUN, id=named.run)
        if row is None or (row["agent"], row["environment"]) != place:
            return f"there is no run {named.run} of {place[0]} in {place[1]}"
        if row["reason"] == Reason.TELEMETRY:
            return row
        wrong = identity.refusal(identity.keys(store), named.token, row, txn.now_us)
        return row if wrong is None else wrong.say(named.run)
    # who may record for the agent is given the run's token when asking under this name
    return txn.one(sql.ENTRY, **key, entry=named.entry) if named.entry is not None else None


def _observed(
    txn: Transaction, sheet: Sheet, place: tuple[str, str], bundle_id: str | None, trace_id: str
) -> Traced | None:
    """Return the run that a trace makes known, attributed to the bundle that it names."""
    agent, environment = place
    if bundle_id is None:
        sheet.unmapped["run that names no registered bundle"] += 1
        return None
    owner, bundle = _bundle(txn, sheet, bundle_id)
    if owner != agent or points.find(txn, agent, environment) is None:
        sheet.unmapped["run of another agent's bundle, or of an agent that was never adopted"] += 1
        return None
    run_id = f"run_otel_{trace_id}_{bundle_id[:8]}"
    if run_id in sheet.runs:
        return sheet.runs[run_id]
    row = txn.one(sql.RUN, id=run_id)
    if row is not None:
        return _of_row(txn, sheet, row)
    return sheet.runs.setdefault(run_id, Traced(run_id, agent, environment, bundle, None, ended=False))


def _named(txn: Transaction, store: Store, note: Note, trace: _Trace, sheet: Sheet) -> Traced | None:
    """Return the run that an evaluation names itself, by W3C baggage for example."""
    if note["what"] != "evaluation" or not ({"run", "entry", "bundle"} & set(note)):
        return None
    environment = note.get("environment") or trace.asker.environment
    bundle_id = _resolved(txn, note.get("bundle"))
    agent = note.get("agent") or (_bundle(txn, sheet, bundle_id)[0] if bundle_id else None)
    if agent is None or not trace.asker.may(agent, environment):
        return None
    root = Root(
        agent=agent, environment=environment, bundle=note.get("bundle"), run=note.get("run"),
        token=note.get("token"), entry=note.get("entry"), unit=None, conversation=None, task_type="default",
        fields={}, error=None,
    )  # fmt: skip
    run = _meant(txn, store, root, (agent, environment), bundle_id, trace.id, sheet)
    if isinstance(run, str):
        return None
    if run is not None and not run.trace_id:
        run.trace_id = trace.id
    return run


def unmapped(txn: Transaction, agent: str, environment: str, most: int = 20) -> dict[str, int]:
    """Return how much telemetry of an agent, and of nobody known, was not mapped, by kind."""
    found: Counter[str] = Counter()
    for row in txn.all(sql_of.UNMAPPED, agent=agent, environment=environment, most=most):
        found[row["kind"]] += row["n"]
    return dict(found)


__all__ = ["Asker", "Taken", "take", "unmapped"]
