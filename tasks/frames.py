"""Run records as frames: what was known of each run when it matured, and nothing later."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluators.referees import DIGEST, SAMPLED, Sampler
from evaluators.rules import Guardrail, Kind, Rules
from evaluators.scoring import INFRA
from lastgood.store.connection import Row
from lastgood.triggers import is_lost

#: events: a run that reported without naming them had none
_EVENTS = {"escalated": False, "incidents": 0, "infra_failure": False}
#: columns that every run tells, a silent one by its silence
ALWAYS = frozenset({"completed", "lost", *_EVENTS})
_OUTCOMES = ("completed", "validated", "escalated", "incidents", "infra_failure")
#: outcomes that measure; they come late more often than not (an operator edits the next day)
_AMOUNTS = ("cost_usd", "operator_edits", "latency_s")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is read of each run."""

    guardrails: tuple[Guardrail, ...]
    #: microseconds after the assignment
    lost_after_us: int
    maturity_us: int
    #: whether a guardrail of the policy watches infrastructure failures
    infra_watched: bool
    #: which runs a referee was asked for, where one of the guardrails counts on it
    sampler: Sampler | None


def frame(
    rows: Iterable[Row],
    late: Iterable[Row],
    guardrails: tuple[Guardrail, ...],
    *,
    lost_after_us: int,
    maturity_us: int,
    infra_watched: bool = True,
    sampler: Sampler | None = None,
) -> pd.DataFrame:
    """Return one record a run, in the order given, as it stood `maturity_us` after its assignment.

    Columns: those of the store, `lost`, the known outcomes and each guardrail's own. A run silent for
    `lost_after_us` is lost, whatever it says later. A client that went away is an infrastructure failure;
    where nothing watches those, no run is left out for one: a bundle could drop its failures so. The column
    that a referee fills holds its marks alone, whatever the run says of itself; beside it stand, under its
    name with SAMPLED and DIGEST, whether the run was drawn and who judged it.
    """
    reports: dict[str, list[Row]] = {}
    for row in late:
        reports.setdefault(row["run_id"], []).append(row)
    if sampler is not None and not any(counts_on(g, sampler.column) for g in guardrails):
        sampler = None
    asked = _Asked(guardrails, lost_after_us, maturity_us, infra_watched, sampler)
    records = [_record(dict(row), reports.get(row["run_id"], []), asked) for row in rows]
    columns = ["seq", "task_type", "block", "arm", "share_bp", "assigned_us", "run_id", "lost", *_OUTCOMES]
    return pd.DataFrame(records, columns=None if records else columns)


def infra_watched(rules: Rules) -> bool:
    """Whether a guardrail watches infrastructure failures."""
    return any(g.column == INFRA for g in rules.guardrails)


def counts_on(guardrail: Guardrail, column: str) -> bool:
    """Whether a guardrail reads a column."""
    return guardrail.column == column or (guardrail.kind is Kind.RATIO and guardrail.per == column)


def _record(row: dict[str, Any], late: list[Row], asked: _Asked) -> dict[str, Any]:
    lost = is_lost(row["assigned_us"], row["received_us"], asked.lost_after_us)
    known: dict[str, Any] = {**row, "lost": lost}
    # a metric may carry any name: it is read only where a guardrail of the policy asks for it, and never
    # instead of what the control point wrote about the run
    own = {g.column for g in asked.guardrails} - known.keys()
    in_time = [
        json.loads(r["fields"]) for r in late if r["received_us"] <= row["assigned_us"] + asked.maturity_us
    ]
    if lost:
        known |= dict.fromkeys((*_OUTCOMES, *_AMOUNTS, *own))
        return _refereed(known, [], asked)
    known |= _asked_for(json.loads(row["metrics"] or "{}"), own)
    for fields in in_time:
        known |= _asked_for(fields.get("metrics", {}), own) | _asked_for(fields, {*_OUTCOMES, *_AMOUNTS})
    for name, nothing in _EVENTS.items():
        known[name] = nothing if known.get(name) is None else known[name]
    known = _refereed(known, in_time, asked)
    if not asked.infra_watched:
        known["infra_failure"] = False
    elif row["status"] == "disconnected":
        known["infra_failure"] = True
        known["disconnected"] = True  # an amount that it did not report is left out, not the worst
    return known


def _refereed(known: dict[str, Any], late: list[dict[str, Any]], asked: _Asked) -> dict[str, Any]:
    """A record with the referee's mark in place of what the run said of itself.

    A run whose client went away before there was anything to judge was not drawn.
    """
    if asked.sampler is None:
        return known
    column = asked.sampler.column
    marks = [fields["judgement"] for fields in late if fields.get("judgement", {}).get("column") == column]
    mark = marks[0] if marks else {"mark": None, "digest": None}
    drawn = asked.sampler.draws(known["run_id"])
    gone = known["status"] == "disconnected" and not marks
    found = {column: mark["mark"], column + DIGEST: mark["digest"], column + SAMPLED: drawn and not gone}
    return {**known, **found}


def _asked_for(fields: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in names}


def reported(runs: pd.DataFrame, guardrail: Guardrail) -> bool:
    """Whether any run says something on a guardrail."""
    return guardrail.column in runs and bool(runs[guardrail.column].notna().any())


def plain(values: Mapping[str, Any]) -> str:
    """Return canonical JSON."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
