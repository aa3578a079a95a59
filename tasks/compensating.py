"""Compensating: which actions of a bad window are undone, in what order, and the books of it.

The books (`compensation`) are written before and after each call: what was begun is called again after a
crash, with the same key, and what is recorded as done is never called again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from config.recovery import RecoverySpec
from lastgood.errors import InvalidInput
from lastgood.incidents import Incident
from lastgood.store import aftermath
from lastgood.store.connection import Row, Transaction
from tasks.undoing import Handler, Undo, function_of, handler_of, is_url

_COLUMNS = (
    *("action_id", "incident_id", "run_id", "kind", "target", "covers_us", "doubt", "generation", "key"),
    *("handler", "state", "cause", "attempts", "last_error", "next_try_us", "planned_us", "settled_us"),
)


class Cause(StrEnum):
    """Why something is left over."""

    NONE = ""  #: it is not
    IRREVERSIBLE = "irreversible"  #: nothing is declared that undoes it, or its handler says so
    NO_HANDLER = "no_handler"  #: what undoes it is declared, and nobody here can do that
    IN_DOUBT = "in_doubt"  #: whether it took effect is not known, and its handler can't be called then
    REFUSED = "refused"  #: its handler refuses
    EXHAUSTED = "exhausted"  #: its handler failed as often as it may


#: causes that may be over once a person has seen to them
CURABLE = frozenset({Cause.NO_HANDLER, Cause.REFUSED, Cause.EXHAUSTED, Cause.IN_DOUBT})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of one action."""

    action_id: str
    run_id: str
    #: whom the run was for
    unit: str
    kind: str
    target: str
    reserved_us: int
    #: whether it is not known if it took effect
    doubt: bool
    #: one more for each time that it took effect anew
    generation: int
    #: empty where there is none
    handler: str
    #: why it will be left over; `NONE` where it will be undone
    cause: Cause = Cause.NONE
    why: str = ""

    @property
    def key(self) -> str:
        """The idempotency key of its compensation."""
        return key_of(self.action_id, self.generation)


def key_of(action_id: str, generation: int) -> str:
    """Return the idempotency key of an action's compensation."""
    return f"undo-{action_id}" if generation == 1 else f"undo-{action_id}-{generation}"


class Handlers:
    """What an agent's profile says undoes each kind of action; each function is imported once."""

    def __init__(self, undo: Mapping[str, Any]) -> None:
        self._undo = undo
        self._problems: dict[str, str] = {}

    def find(self, action: Row, declared: Mapping[str, Any]) -> tuple[Handler | None, Cause, str]:
        """Return what takes an action back, or why nothing does, in words."""
        names = [str(name) for name in (declared.get("tool"), declared.get("kind"), action["kind"]) if name]
        spec = next((self._undo[name] for name in names if name in self._undo), None)
        if spec is not None:
            handler = handler_of(spec)
            problem = self._problem(handler.call)
            return (None, Cause.NO_HANDLER, problem) if problem else (handler, Cause.NONE, "")
        if not declared:
            why = f"nothing is declared that undoes a {action['kind']}: declare `undo` in the tools part"
            return None, Cause.IRREVERSIBLE, why
        why = (
            f"no handler for {' or '.join(dict.fromkeys(names))}: name one under `undo` in the agent's "
            "profile (`lastgood agent set FILE`), then recover with --retry"
        )
        return None, Cause.NO_HANDLER, why

    def _problem(self, call: str) -> str:
        if call not in self._problems:
            self._problems[call] = ""
            if not is_url(call):
                try:
                    function_of(call)
                except InvalidInput as error:
                    self._problems[call] = str(error)
        return self._problems[call]


def planned(action: Row, handlers: Handlers, spec: RecoverySpec, now_us: int) -> Plan | None:
    """Decide about one action; None for one that is under way: it may settle yet."""
    if action["state"] == "reserved" and now_us < action["reserved_us"] + spec.in_doubt_after:
        return None
    declared = declared_of(action["undo"])
    handler, cause, why = handlers.find(action, declared)
    doubt = action["state"] != "done"
    if doubt and handler is not None and not handler.safe_in_doubt:
        what = "its call failed" if action["state"] == "failed" else "it never settled"
        cause = Cause.IN_DOUBT
        why = (
            f"{what}, so whether it took effect is not known: look where it acts. A handler that does "
            "nothing where it did not may say `in_doubt: undo`"
        )
    return Plan(
        action_id=action["id"],
        run_id=action["run_id"],
        unit=action["unit"],
        kind=action["kind"],
        target=action["target"],
        reserved_us=action["reserved_us"],
        doubt=doubt,
        generation=(action["generation"] or 0) + 1,
        handler="" if handler is None else handler.call,
        cause=cause,
        why=why,
    )


def declared_of(text: str) -> Mapping[str, Any]:
    """Return what an action said undoes it; nothing where that can't be read."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def unplanned(txn: Transaction, incident: Incident, *, after: int, last: int) -> list[Row]:
    """Return the actions of runs with `after` < seq <= `last` that no compensation covers, oldest first."""
    return txn.all(aftermath.UNDONE_ACTIONS, **incident.window, after=after, last=last)


def write(txn: Transaction, incident: Incident, plans: Sequence[Plan]) -> int:
    """Write plans into the books; what is there already stays. Returns how many are new."""
    new = [_values(txn, incident, plan) for plan in plans if plan.generation == 1]
    count = txn.insert_new("compensation", _COLUMNS, [tuple(row[name] for name in _COLUMNS) for row in new])
    for row in (_values(txn, incident, plan) for plan in plans if plan.generation > 1):
        kept = {name: row[name] for name in row if name not in {"run_id", "kind", "target", "attempts"}}
        count += txn.run(aftermath.PLAN_ANEW, **kept)
    return count


def _values(txn: Transaction, incident: Incident, plan: Plan) -> dict[str, Any]:
    left_over = plan.cause is not Cause.NONE
    return {
        "action_id": plan.action_id,
        "incident_id": incident.id,
        "run_id": plan.run_id,
        "kind": plan.kind,
        "target": plan.target,
        "covers_us": plan.reserved_us,
        "doubt": plan.doubt,
        "generation": plan.generation,
        "key": plan.key,
        "handler": plan.handler,
        "state": "residue" if left_over else "planned",
        "cause": str(plan.cause),
        "attempts": 0,
        "last_error": plan.why,
        "next_try_us": txn.now_us,
        "planned_us": txn.now_us,
        "settled_us": txn.now_us if left_over else None,
    }


class Turn(StrEnum):
    """Whose turn it is."""

    NOW = "now"  #: it may be called
    LATER = "later"  #: it was called, and waits before it is called again
    HELD = "held"  #: it waits for another one, or for a person


@dataclass(slots=True)
class Order:
    """One walk over what is pending, in reverse of the actions.

    What undoes an earlier action waits for what undoes a later one of the same run or on the same target,
    which may rest on it. Others are not held up.
    """

    #: kinds that wait for a person
    asked: frozenset[str]
    _runs: set[str] = field(default_factory=set)
    _targets: set[str] = field(default_factory=set)

    def turn(self, row: Row, now_us: int) -> Turn:
        """Whether it may be called now."""
        behind = row["run_id"] in self._runs or row["target"] in self._targets
        if behind or row["kind"] in self.asked:
            return Turn.HELD
        return Turn.NOW if row["next_try_us"] <= now_us else Turn.LATER

    def hold(self, row: Row) -> None:
        """It is not settled: nothing that it may rest on goes before it."""
        self._runs.add(row["run_id"])
        if row["target"]:
            self._targets.add(row["target"])


def undo_of(row: Row, incident: Incident) -> Undo:
    """Return what the handler of a pending compensation is given."""
    result = row["result"]
    return Undo(
        key=row["key"],
        action_id=row["action_id"],
        run_id=row["run_id"],
        agent=incident.agent,
        environment=incident.environment,
        kind=row["kind"],
        target=row["target"],
        tool=row["tool"],
        undo=declared_of(row["undo"]),
        result=None if result is None else json.loads(result),
        in_doubt=bool(row["doubt"]),
        attempt=row["attempts"] + 1,
    )


def pause_us(spec: RecoverySpec, attempts: int) -> int:
    """Microseconds before the next call after so many."""
    return min(spec.backoff << min(attempts - 1, 40), spec.backoff_most)


__all__ = [
    "CURABLE",
    "Cause",
    "Handlers",
    "Order",
    "Plan",
    "Turn",
    "declared_of",
    "key_of",
    "pause_us",
    "planned",
    "undo_of",
    "unplanned",
    "write",
]
