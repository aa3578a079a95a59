"""Checks: the validators that a bundle's policy part names, and what a note of the memory must be."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from examples.support_agent.solving import Draft
from examples.support_agent.tickets import Ticket

_ADDRESS = re.compile(r"[^\d,]+ \d{1,4}, \d{4,5} \w+")
#: a name between braces that nobody filled in
_PLACEHOLDER = re.compile(r"\{+\s*\w+\s*\}+|\$\{?\w+")
#: words of a note that says something
_LEAST_WORDS = 3


def _says_something(_ticket: Ticket, draft: Draft) -> bool:
    return len(draft.answer.split()) >= 5


def _names_a_source(_ticket: Ticket, draft: Draft) -> bool:
    return bool(draft.document)


def _refund_is_the_order(_ticket: Ticket, draft: Draft) -> bool:
    """Nobody pays back on a customer's word alone: the order was read, and it is that amount at most."""
    if draft.refund_cents is None:
        return True
    return draft.order is not None and 0 < draft.refund_cents <= draft.order["amount_cents"]


def _address_is_one(_ticket: Ticket, draft: Draft) -> bool:
    return draft.address is None or bool(_ADDRESS.fullmatch(draft.address))


_VALIDATORS: Mapping[str, Callable[[Ticket, Draft], bool]] = {
    "says_something": _says_something,
    "names_a_source": _names_a_source,
    "refund_is_the_order": _refund_is_the_order,
    "address_is_one": _address_is_one,
}


def failed(ticket: Ticket, draft: Draft, policy: Mapping[str, Any]) -> list[str]:
    """The validators that refuse a draft; LookupError for one that there is not."""
    unknown = [name for name in policy["validators"] if name not in _VALIDATORS]
    if unknown:
        raise LookupError(f"no validator {unknown[0]!r}; there are {', '.join(_VALIDATORS)}")
    return [name for name in policy["validators"] if not _VALIDATORS[name](ticket, draft)]


def is_garbage(note: str) -> bool:
    """Whether a memory note is none: too short to say anything, or a template that nobody filled in."""
    return len(note.split()) < _LEAST_WORDS or bool(_PLACEHOLDER.search(note))
