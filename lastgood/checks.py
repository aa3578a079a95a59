"""Checks of a regression case: small dataclasses, each with one `why_not`.

`EqualsExpected`, `Equals`, `Contains` and `MaxDuration` are those of pydantic-evals by name, arguments and
meaning; the others look at what a run did, and load there too (`lastgood.evals`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lastgood.errors import InvalidInput
from lastgood.plural import counted
from lastgood.replaying import Played
from lastgood.triggers import TOOL_MALFORMED


@dataclass(frozen=True, slots=True)
class Subject:
    """What a check looks at."""

    played: Played
    inputs: Any = None
    expected: Any = None


class Check(Protocol):
    """One check of a case."""

    def why_not(self, subject: Subject) -> str | None:
        """Say in words why it fails; None where it passes."""


@dataclass(frozen=True)
class Completes:
    """The replay returned, and every run of it completed."""

    def why_not(self, subject: Subject) -> str | None:
        """Name the exception, or the run that did not complete."""
        if subject.played.error is not None:
            return f"it raised {subject.played.error}"
        undone = [one for one in subject.played.outcomes if one.get("completed") is False]
        return (
            f"a run of it did not complete ({undone[0].get('error') or 'by its own word'})"
            if undone
            else None
        )


@dataclass(frozen=True)
class Validates:
    """No run reported `validated=False`, and the replay returned."""

    def why_not(self, subject: Subject) -> str | None:
        """Say that a run did not validate."""
        if subject.played.error is not None:
            return f"it raised {subject.played.error}"
        refused = any(one.get("validated") is False for one in subject.played.outcomes)
        return "a run reported validated=False" if refused else None


@dataclass(frozen=True)
class NoMalformedCalls:
    """Every call of a tool, and its answer, fit the manifest's schemas."""

    def why_not(self, subject: Subject) -> str | None:
        """Say that one did not."""
        bad = any((one.get("metrics") or {}).get(TOOL_MALFORMED) for one in subject.played.outcomes)
        return "a call of a tool, or its answer, did not fit the manifest" if bad else None


@dataclass(frozen=True)
class NotEscalated:
    """No run was escalated to a person."""

    def why_not(self, subject: Subject) -> str | None:
        """Say that one was."""
        return "a run was escalated" if any(o.get("escalated") for o in subject.played.outcomes) else None


@dataclass(frozen=True)
class NoActionOfKind:
    """No external effect of a kind was wanted."""

    kind: str

    def why_not(self, subject: Subject) -> str | None:
        """Name the effect."""
        for act in subject.played.actions:
            if act.kind == self.kind:
                return f"it wanted the action {act.kind} {act.target}".rstrip()
        return None


@dataclass(frozen=True)
class ActionOfKind:
    """An external effect of a kind was wanted, on a target where one is named."""

    kind: str
    target: str | None = None

    def why_not(self, subject: Subject) -> str | None:
        """Say what was wanted instead."""
        acts = [(act.kind, act.target) for act in subject.played.actions]
        if any(kind == self.kind and self.target in {None, target} for kind, target in acts):
            return None
        return (
            f"it wanted no action {self.kind} {self.target or ''}".rstrip() + f"; it wanted {acts or 'none'}"
        )


@dataclass(frozen=True)
class ActionsAtMost:
    """External effects of a kind stay within a number."""

    kind: str
    most: int

    def why_not(self, subject: Subject) -> str | None:
        """Say how many there were."""
        found = sum(act.kind == self.kind for act in subject.played.actions)
        return (
            f"it wanted {counted(found, 'action')} {self.kind}, at most {self.most} are right"
            if found > self.most
            else None
        )


@dataclass(frozen=True)
class NoEvent:
    """No run reported a named event."""

    name: str

    def why_not(self, subject: Subject) -> str | None:
        """Say that one did."""
        found = any(name == self.name for name, _ in subject.played.events)
        return f"a run reported the event {self.name}" if found else None


@dataclass(frozen=True)
class CostsAtMost:
    """All runs together cost at most so many US dollars; a cost that nobody knows is too much."""

    usd: float

    def why_not(self, subject: Subject) -> str | None:
        """Say what they cost."""
        cost = subject.played.cost_usd
        if cost is None:
            return f"what it cost is not known, at most ${self.usd:g} is right"
        return f"it cost ${cost:.4f}, at most ${self.usd:g} is right" if cost > self.usd else None


@dataclass(frozen=True)
class Differs:
    """The output is not a known wrong one."""

    value: Any

    def why_not(self, subject: Subject) -> str | None:
        """Say that it is."""
        same = subject.played.error is None and subject.played.output == self.value
        return "the output is the known wrong one" if same else None


@dataclass(frozen=True)
class EqualsExpected:
    """The output is the case's `expected_output`; passes where the case has none."""

    def why_not(self, subject: Subject) -> str | None:
        """Show both."""
        return None if subject.expected is None else _unequal(subject, subject.expected)


@dataclass(frozen=True)
class Equals:
    """The output is a value."""

    value: Any

    def why_not(self, subject: Subject) -> str | None:
        """Show both."""
        return _unequal(subject, self.value)


@dataclass(frozen=True)
class Contains:
    """The output contains a text, an item of a list, or a map's keys and values."""

    value: Any
    case_sensitive: bool = True
    as_strings: bool = False

    def why_not(self, subject: Subject) -> str | None:
        """Show what is missing."""
        if subject.played.error is not None:
            return f"it raised {subject.played.error}"
        output = subject.played.output
        return (
            None
            if self._within(output)
            else f"the output {_shown(output)} does not contain {_shown(self.value)}"
        )

    def _within(self, output: Any) -> bool:
        if self.as_strings or (isinstance(output, str) and isinstance(self.value, str)):
            whole, part = str(output), str(self.value)
            return part in whole if self.case_sensitive else part.lower() in whole.lower()
        if isinstance(output, dict) and isinstance(self.value, dict):
            return all(name in output and output[name] == item for name, item in self.value.items())
        return isinstance(output, dict | list) and self.value in output


@dataclass(frozen=True)
class MaxDuration:
    """The replay took at most so many seconds."""

    seconds: float

    def why_not(self, subject: Subject) -> str | None:
        """Say how long it took."""
        took = subject.played.seconds
        return f"it took {took:.2f} s, at most {self.seconds:g} s are right" if took > self.seconds else None


def _unequal(subject: Subject, wanted: Any) -> str | None:
    if subject.played.error is not None:
        return f"it raised {subject.played.error}"
    output = subject.played.output
    return None if output == wanted else f"the output is {_shown(output)}, not {_shown(wanted)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


#: checks that look at the output alone, and are pydantic-evals' own
SHARED: tuple[type[Any], ...] = (EqualsExpected, Equals, Contains, MaxDuration)
#: checks that look at what the runs did
OWN: tuple[type[Any], ...] = (
    Completes, Validates, NoMalformedCalls, NotEscalated, NoActionOfKind, ActionOfKind, ActionsAtMost,
    NoEvent, CostsAtMost, Differs,
)  # fmt: skip
Known = Mapping[str, type[Any]]
KNOWN: Known = {kind.__name__: kind for kind in (*SHARED, *OWN)}


def read(entry: Any, what: str, known: Known = KNOWN) -> Check:
    """Build a check from its form in a case file: `Name`, `{Name: value}` or `{Name: {argument: value}}`.

    Raises InvalidInput, which calls its place `what`, for one that is unknown or has other arguments.
    """
    name, given = _split(entry, what)
    kind = known.get(name)
    if kind is None:
        raise InvalidInput(
            f"{what}: no evaluator {name!r} is known here ({', '.join(sorted(known))}); run this file with "
            "pydantic-evals, or name your own class: --lastgood-evaluator package.module:Class"
        )
    names = [field.name for field in dataclasses.fields(kind)]
    takes = f"{what}: {name} takes {', '.join(names) or 'nothing'}"
    # as in pydantic-evals a map names the arguments, and anything else is the first one
    arguments = given if isinstance(given, dict) else dict(zip(names, given, strict=False))
    if not isinstance(given, dict) and len(given) > len(names):
        raise InvalidInput(f"{takes}, and was given {given[0]!r}")
    try:
        check: Check = kind(**arguments)
    except TypeError as error:
        raise InvalidInput(f"{takes}: {error}") from error
    return check


def _split(entry: Any, what: str) -> tuple[str, dict[str, Any] | tuple[Any, ...]]:
    """The name of a check, and its arguments by name or, in a tuple, by place."""
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        [(name, given)] = entry.items()
        named = isinstance(given, dict) and all(isinstance(key, str) for key in given)
        return str(name), given if named else (given,)
    raise InvalidInput(f"{what} is no check; write Name, or {{Name: {{argument: value}}}}")


def write(check: Check) -> Any:
    """Return a check as a case file holds it."""
    name, fields = type(check).__name__, dataclasses.fields(check)  # type: ignore[arg-type]
    given = {
        field.name: getattr(check, field.name)
        for field in fields
        if field.default is dataclasses.MISSING or getattr(check, field.name) != field.default
    }
    return {name: given} if given else name


__all__ = ["KNOWN", "OWN", "SHARED", "Check", "Known", "Subject", "read", "write"]
