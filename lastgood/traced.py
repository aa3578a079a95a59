"""A run as its trace tells it: what its notes come to, as an outcome, late reports and actions."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood import pricing
from lastgood.bundle import Bundle
from lastgood.decision import Reason
from lastgood.errors import InvalidBundle, InvalidInput
from lastgood.outcome import COUNTS, FLAGS, Outcome
from lastgood.store.connection import Row
from lastgood.telemetry import Note, Root
from lastgood.tool import manifest_of
from lastgood.tool_call import Call, effect_of

#: kind of action that a memory operation is
MEMORY_WRITE = "memory_write"


@dataclass(slots=True)
class Traced:
    """A run that the spans of a request are about."""

    id: str
    agent: str
    environment: str
    bundle: Bundle
    #: the row; None for one that telemetry makes known now
    row: Row | None
    #: whether an outcome stands already
    ended: bool
    root: Root | None = None
    started_us: int = 0
    trace_id: str = ""
    notes: list[Note] = field(default_factory=list)
    unmapped: Counter[str] = field(default_factory=Counter)

    @property
    def place(self) -> tuple[str, str]:
        """Its control point."""
        return self.agent, self.environment

    @property
    def observed(self) -> bool:
        """Whether it is known from telemetry alone."""
        return self.row is None or self.row["reason"] == Reason.TELEMETRY


def outcome_of(run: Traced) -> Outcome:
    """The outcome that a root and its notes say; takes those notes away."""
    root, outcome = run.root, Outcome()
    assert root is not None  # noqa: S101  asked for runs with a root alone
    calls = [note for note in run.notes if note["what"] == "model"]
    whole = [note for note in calls if note.get("whole")]
    outcome.usage = [
        _priced(run.bundle, call) for call in ([c for c in calls if not c.get("whole")] or whole)
    ]
    _fill(outcome, root.fields, run.unmapped)
    for note in run.notes:
        if note["what"] == "evaluation":
            _fill(outcome, _field(note), run.unmapped)
    run.notes = [note for note in run.notes if note["what"] not in {"model", "evaluation"}]
    if root.error is not None:
        outcome.status, outcome.completed, outcome.error = "failed", False, root.error
    elif outcome.completed is None:
        outcome.completed = True
    outcome.settle_cost()
    return outcome


def _fill(outcome: Outcome, fields: Mapping[str, Any], unmapped: Counter[str]) -> None:
    for name, value in fields.items():
        try:
            outcome.take({name: value})
        except InvalidInput:
            unmapped[f"{name} of a value that it can't have"] += 1


def _field(note: Note) -> dict[str, Any]:
    """An evaluation as a report field; a score of 0 or 1 is the truth value or count that the field takes."""
    name, score = note["field"], note["score"]
    if name in COUNTS and float(score).is_integer():
        score = int(score)
    elif name in FLAGS:
        score = bool(score) if score in {0, 1} else score
    return {name: score}


def _priced(bundle: Bundle, note: Note) -> dict[str, Any]:
    call = {name: note[name] for name in ("model", "requested", "tokens_in", "tokens_out", "cost_usd")}
    if call["cost_usd"] is None and None not in {call["tokens_in"], call["tokens_out"]}:
        tokens = call["tokens_in"], call["tokens_out"]
        prices = (_price(bundle, str(model), *tokens) for model in (call["model"], call["requested"]))
        call["cost_usd"] = next((price for price in prices if price is not None), None)
    return call


def _price(bundle: Bundle, model: str, tokens_in: int, tokens_out: int) -> float | None:
    try:
        return pricing.price_usd(bundle, model, tokens_in, tokens_out)
    except InvalidBundle:
        return None


def late_of(run: Traced) -> list[tuple[str, dict[str, Any]]]:
    """What evaluations say of a run that has ended, or whose end is not known yet, each with its key."""
    found = []
    for note in run.notes:
        if note["what"] == "evaluation":
            probe = Outcome()
            _fill(probe, _field(note), run.unmapped)
            if probe != Outcome():
                found.append((note["key"], _field(note)))
    late = sum(note["what"] == "model" and not note.get("whole") for note in run.notes)
    run.unmapped["model call, late: its run has ended"] += late
    run.notes = [note for note in run.notes if note["what"] not in {"model", "evaluation"}]
    return found


def actions_of(run: Traced) -> list[dict[str, Any]]:
    """The rows of what tools and memory operations did."""
    manifest, rows = manifest_of(run.bundle.tools), []
    for note in run.notes:
        values: dict[str, Any]
        if note["what"] == "memory":
            undo = {"memory": note["operation"], "record": note["record"]}
            values = {"kind": MEMORY_WRITE, "target": note["record"], "undo": undo, "tool": None}
        else:
            tool = manifest.tools.get(note["tool"])
            if tool is None:
                run.unmapped["call of a tool that the bundle does not declare"] += 1
                continue
            if tool.kind is None:
                continue  # it changes nothing outside
            effect = effect_of(Call(tool, note["arguments"], None))
            values = {
                "kind": effect.kind,
                "target": effect.target[:500],
                "undo": effect.undo,
                "tool": tool.name,
            }
        values["undo"] = json.dumps(values["undo"])
        state = "failed" if note["failed"] else "done"
        rows.append(values | {"state": state, "key": note["key"], "at_us": note["at_us"]})
    return rows
