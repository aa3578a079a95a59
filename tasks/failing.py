"""Failing runs as the store has them: what they were given, how they failed, and the checks that say so."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lastgood import recorder
from lastgood.checks import (
    ActionsAtMost,
    Check,
    Completes,
    Differs,
    EqualsExpected,
    NoActionOfKind,
    NoEvent,
    NoMalformedCalls,
    Validates,
)
from lastgood.fixtures import ToolFixture
from lastgood.outcome import Outcome
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction
from lastgood.tallies import merged
from lastgood.triggers import TOOL_MALFORMED

#: the event that tells what the output should have been: `report(run_id, event="correction", output=...)`
CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class Failing:
    """One run of the bad bundle."""

    run_id: str
    task_type: str
    bundle_id: str
    #: what it was given, as kept; None where nothing is
    given: Any
    #: why `given` can't be replayed; empty where it can
    unkept: str
    made: Any
    #: None where it never reported
    outcome: Outcome | None
    #: named events with their details
    events: tuple[tuple[str, dict[str, Any]], ...] = ()
    #: kinds of its actions
    actions: tuple[str, ...] = ()
    #: answers of effects that the store has
    recorded: tuple[ToolFixture, ...] = field(default=())

    @property
    def correction(self) -> Any:
        """What a person said that the output should have been; None where nobody did."""
        said = [detail["output"] for name, detail in self.events if name == CORRECTION and "output" in detail]
        return said[-1] if said else None


def read(txn: Transaction, run_id: str) -> Failing:
    """Return a run as the store has it; raises `NotFound`."""
    run = recorder.run_row(txn, run_id)
    row = txn.one(sql.OUTCOME, run_id=run_id)
    late = [json.loads(each["fields"]) for each in txn.all(sql.LATE_REPORTS, run_id=run_id)]
    outcome = None if row is None else merged(recorder.outcome_of(row), late)
    given, unkept = _kept(None if row is None else row["input"])
    actions = txn.all(sql.ACTIONS, run_id=run_id)
    return Failing(
        run_id=run_id,
        task_type=run["task_type"],
        bundle_id=run["bundle_id"],
        given=given,
        unkept=unkept,
        made=None if row is None else _kept(row["output"])[0],
        outcome=outcome,
        events=tuple(
            (each["name"], json.loads(each["detail"])) for each in txn.all(sql.EVENTS, run_id=run_id)
        ),
        actions=tuple(each["kind"] for each in actions),
        recorded=tuple(answer for each in actions if (answer := _answer(each)) is not None),
    )


def _kept(text: str | None) -> tuple[Any, str]:
    """What stands in the store of an input or output, and why it is not the thing itself."""
    if text is None:
        return (
            None,
            "it is not in the store: the policy keeps none (records.keep), or the agent set no run.input",
        )
    value = json.loads(text)
    if isinstance(value, dict) and set(value) == {"ref"}:
        return None, f"it is kept elsewhere, at {value['ref']}"
    if isinstance(value, dict) and set(value) == {"left_out", "limit"}:
        return None, f"it was too large to keep ({value['left_out']}; records.max_bytes)"
    return value, ""


def _answer(action: Row) -> ToolFixture | None:
    """What an effect's tool returned, where the store has that and what it was called with."""
    arguments = json.loads(action["undo"] or "{}").get("arguments")
    if action["tool"] is None or action["result"] is None or not isinstance(arguments, dict):
        return None
    return ToolFixture(action["tool"], arguments, json.loads(action["result"]))


def checks_of(run: Failing, culprits: Sequence[str] = ()) -> tuple[tuple[Check, ...], Any]:
    """Return the checks that say how a run failed, and the output that was expected where that is known.

    `culprits` are the guardrails and triggers that the incident is about.
    """
    outcome = run.outcome or Outcome(status="lost", completed=False)
    found: list[Check] = []
    if outcome.status in {"failed", "lost"} or outcome.completed is False:
        found.append(_broken(run, outcome))
    if outcome.validated is False:
        found.append(Validates())
    if outcome.metrics.get(TOOL_MALFORMED):
        found.append(NoMalformedCalls())
    found += _from_events(run, culprits)
    expected = run.correction
    if expected is not None:
        found.append(EqualsExpected())
    elif (outcome.incidents or outcome.operator_edits or not found) and run.made is not None:
        found.append(Differs(run.made))  # nobody said what is right; that this is wrong is known
    return tuple(dict.fromkeys(found)) if all(map(_hashable, found)) else tuple(found), expected


def _broken(run: Failing, outcome: Outcome) -> Check:
    """A run that a ceiling stopped wanted more actions than it got; any other has to complete."""
    if outcome.error == "CapReached" and run.actions:
        kind = max(set(run.actions), key=run.actions.count)
        return ActionsAtMost(kind, run.actions.count(kind))
    return Completes()


def _from_events(run: Failing, culprits: Sequence[str]) -> Iterable[Check]:
    for name, detail in run.events:
        if name == CORRECTION or (culprits and name not in culprits):
            continue
        kind = detail.get("kind")
        yield NoActionOfKind(kind) if isinstance(kind, str) and kind in run.actions else NoEvent(name)


def _hashable(check: Check) -> bool:
    try:
        hash(check)
    except TypeError:
        return False
    return True


def fewest(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return few runs that stand for every group: at each step the run that stands for most of what is left.

    Each group has its runs in order of preference. The greedy cover is the fewest where groups share no run.
    """
    left = [dict.fromkeys(group) for group in groups if group]
    found: list[str] = []
    while left:
        stands = Counter(run for group in left for run in group)
        best = max(stands, key=stands.__getitem__)  # the first of those that stand for as many
        found.append(best)
        left = [group for group in left if best not in group]
    return found


__all__ = ["CORRECTION", "Failing", "checks_of", "fewest", "read"]
