"""Run records as frames: what was known of each run when it matured, and nothing later."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from evaluators.rules import Guardrail, Kind
from lastgood.store.connection import Row

#: events: a run that reported without naming them had none
_EVENTS = {"escalated": False, "incidents": 0, "infra_failure": False}
#: columns that every run tells, a silent one by its silence
ALWAYS = frozenset({"completed", "lost", *_EVENTS})
_OUTCOMES = ("completed", "validated", "escalated", "incidents", "infra_failure")
#: outcomes that measure; they come late more often than not (an operator edits the next day)
_AMOUNTS = ("cost_usd", "operator_edits", "latency_s")


def frame(
    rows: Iterable[Row],
    late: Iterable[Row],
    guardrails: tuple[Guardrail, ...],
    *,
    lost_after_us: int,
    maturity_us: int,
) -> pd.DataFrame:
    """Return one record a run, in the order given, as it stood `maturity_us` after its assignment.

    Columns: those of the store, `lost`, the known outcomes and each guardrail's own. A run silent for
    `lost_after_us` is lost, whatever it says later. A client that went away is no failure.
    """
    reports: dict[str, list[Row]] = {}
    for row in late:
        reports.setdefault(row["run_id"], []).append(row)
    records = [
        _record(dict(row), reports.get(row["run_id"], []), guardrails, lost_after_us, maturity_us)
        for row in rows
    ]
    columns = ["seq", "task_type", "block", "arm", "share_bp", "assigned_us", "run_id", "lost", *_OUTCOMES]
    return pd.DataFrame(records, columns=None if records else columns)


def _record(
    row: dict[str, Any],
    late: list[Row],
    guardrails: tuple[Guardrail, ...],
    lost_after_us: int,
    maturity_us: int,
) -> dict[str, Any]:
    received = row["received_us"]
    lost = received is None or received > row["assigned_us"] + lost_after_us
    known: dict[str, Any] = {**row, "lost": lost}
    # a metric may carry any name: it is read only where a guardrail of the policy asks for it, and never
    # instead of what the control point wrote about the run
    own = {g.column for g in guardrails} - known.keys()
    if lost:
        return {**known, **dict.fromkeys((*_OUTCOMES, *_AMOUNTS, *own))}
    known |= _asked_for(json.loads(row["metrics"] or "{}"), own)
    for report in late:
        if report["received_us"] <= row["assigned_us"] + maturity_us:
            fields = json.loads(report["fields"])
            known |= _asked_for(fields.pop("metrics", {}), own) | _asked_for(fields, {*_OUTCOMES, *_AMOUNTS})
    for name, nothing in _EVENTS.items():
        known[name] = nothing if known.get(name) is None else known[name]
    if row["status"] == "disconnected":
        flags = (g for g in guardrails if g.kind is Kind.PROPORTION)
        known |= {g.column: not g.bad for g in flags if known.get(g.column) is None}
        known["disconnected"] = True  # an amount that it did not report is left out, not the worst
    return known


def _asked_for(fields: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in names}


def reported(runs: pd.DataFrame, guardrail: Guardrail) -> bool:
    """Whether any run says something on a guardrail."""
    return guardrail.column in runs and bool(runs[guardrail.column].notna().any())


def plain(values: Mapping[str, Any]) -> str:
    """Return canonical JSON."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
