"""Failures: what a bad run failed by, and runs grouped by it. Pure functions over what is recorded.

Two runs failed the same way when their signatures are equal: the type of the error and its message without
what differs from run to run, the outcomes that went bad, the tool whose call failed, and the task type.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from lastgood import shapes
from lastgood.outcome import Outcome
from lastgood.redaction import clean
from lastgood.triggers import LOST, TOOL_MALFORMED, bad_outcomes

#: characters of a message that are kept
MOST = 200
#: what differs from run to run, in the order in which it is taken out
_VARYING = (
    (re.compile(r"[a-z][a-z0-9+.-]*://\S+"), "<url>"),
    (re.compile(r"\b[a-z]{2,8}_[0-9A-HJKMNP-TV-Z]{26}\b"), "<id>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b"), "<hex>"),
    # a name as programs have it tells failures apart; any other quoted text is a run's own
    (re.compile(r"'(?![a-z_][a-z0-9_.]{0,40}')[^']*'|\"(?![a-z_][a-z0-9_.]{0,40}\")[^\"]*\""), "<text>"),
    (re.compile(r"(?<![A-Za-z_])[+-]?\d+(?:[.,:]\d+)*"), "<n>"),
)
#: outcomes that are bad for any agent; escalations and corrections are only where the incident says so
_BAD = frozenset({"completion", "validation", "incidents", LOST, TOOL_MALFORMED})


def normalised(text: str) -> str:
    """Return a message without what differs from run to run: numbers, ids, addresses, quoted texts."""
    text = shapes.masked(text[: 100 * MOST])  # first: what is taken out below breaks the shape of a secret
    text = " ".join(text[: 10 * MOST].split())
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return text[:MOST]


def said(error: BaseException) -> str:
    """Return an exception's message, normalised; one that can't be had is empty."""
    try:
        return normalised(clean(str(error)[: 100 * MOST]))
    except Exception:  # noqa: BLE001  whatever an agent's exception does when it is asked, its run ends
        return ""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one run of a bad window."""

    run_id: str
    task_type: str
    #: None where it never reported
    outcome: Outcome | None
    #: whether its time to report was over before it did, if ever
    lost: bool = False
    #: names of its events
    events: tuple[str, ...] = ()
    #: tools, or kinds of actions, whose calls failed
    failed_tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Signature:
    """What tells one way to fail from another; equal for runs that failed the same way."""

    #: type of the exception that ended the run; empty where none did
    error: str
    #: its message, normalised
    message: str
    #: outcomes that went bad, and events that are not tolerated, in order of name
    bad: tuple[str, ...]
    #: the tool whose call failed last; empty where none did
    tool: str
    task_type: str

    @property
    def merely_lost(self) -> bool:
        """Whether nothing else is known to be wrong than that the run was lost."""
        return self.bad == (LOST,) and not self.error

    def __str__(self) -> str:
        what = f"{self.error}: {self.message}" if self.message else self.error
        parts = (what, ", ".join(self.bad), f"tool {self.tool}" if self.tool else "")
        return f"{'; '.join(part for part in parts if part)} ({self.task_type})"


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that failed the same way."""

    signature: Signature
    #: ids, oldest first
    runs: tuple[str, ...]


def signature_of(told: Told, culprits: Collection[str] = ()) -> Signature | None:
    """Return how a run failed, None where it did not.

    `culprits` are the guardrails or triggers that the incident is about: an escalation, a correction or an
    event counts as a failure where it is one of them.
    """
    found = told.outcome
    bad = _bad(told, culprits)
    if not bad and (found is None or found.error is None):
        return None
    return Signature(
        error=(found.error if found else None) or "",
        message=(found.error_text if found else None) or "",
        bad=tuple(sorted(bad)),
        tool=told.failed_tools[-1] if told.failed_tools else "",
        task_type=told.task_type,
    )


def _bad(told: Told, culprits: Collection[str]) -> set[str]:
    found, bad = told.outcome, {LOST} if told.lost else set()
    if found is not None:
        seen = {name for name, is_so in bad_outcomes(found).items() if is_so}
        if found.validated is False:
            seen.add("validation")  # whoever went away after that
        elif "validation" not in culprits:
            seen.discard("validation")  # no agent has to validate, unless that is what went wrong
        bad |= {name for name in seen if name in _BAD or name in culprits}
        bad |= {"infrastructure"} if found.infra_failure and bad else set()
    return bad | {name for name in told.events if name in culprits}


def grouped(runs: Iterable[Told], culprits: Collection[str] = ()) -> Sequence[Group]:
    """Group the runs that failed by how they did, the largest group first."""
    groups: dict[Signature, list[str]] = {}
    for told in runs:
        if (signature := signature_of(told, culprits)) is not None:
            groups.setdefault(signature, []).append(told.run_id)
    made = [Group(signature, tuple(ids)) for signature, ids in groups.items()]
    return sorted(made, key=lambda group: (-len(group.runs), group.signature))


__all__ = ["Group", "Signature", "Told", "grouped", "normalised", "said", "signature_of"]
