"""How each kind of action of this agent is taken back in the CRM.

A handler is given the record of one compensation and returns what the CRM says. It calls with the
compensation's own idempotency key, so a second try has no second effect, and it needs nothing that the bundle
made of the CRM's answer: the CRM knows the change by the key that it came with. A change that never arrived
is barred, so that it may be undone while nobody knows whether it took effect.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from examples.support_agent import http
from examples.support_agent.wrapper import key_of

_CORRECTION = "Our last message to you was wrong. Please ignore it: a person of ours writes to you today."
_DELIVERED = "it was delivered and can't be recalled; a correction was sent after it"


class Undoing(Protocol):
    """What a handler reads of a compensation."""

    @property
    def key(self) -> str:
        """Idempotency key of the compensation itself."""

    @property
    def run_id(self) -> str:
        """The run that acted."""

    @property
    def undo(self) -> Mapping[str, Any]:
        """What the action recorded: `of` (its tool) and `arguments`."""


def refund(action: Undoing) -> dict[str, Any]:
    """Cancel a refund: no money goes out."""
    return _undone(action, "refunds")


def message(action: Undoing) -> dict[str, Any]:
    """Recall a message that still waits; one that was delivered is corrected, and stays: it is left over."""
    found = _undone(action, "messages", correction=_CORRECTION)
    return {**found, "residue": _DELIVERED} if "correction" in found else found


def memory_write(action: Undoing) -> dict[str, Any]:
    """Put back what the memory held before."""
    return _undone(action, "notes")


def ticket_update(action: Undoing) -> dict[str, Any]:
    """Put back the old values of a ticket's fields, under what was written since."""
    return _undone(action, "tickets")


def _undone(action: Undoing, place: str, **more: str) -> dict[str, Any]:
    """Raises `httpx.HTTPError` where the CRM fails or refuses: try again with the same key."""
    of = key_of(action.run_id, action.undo["of"], action.undo["arguments"])
    answer = http.client().post(
        f"/undo/{place}", json={"of": of, **more}, headers={"Idempotency-Key": action.key}
    )
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
