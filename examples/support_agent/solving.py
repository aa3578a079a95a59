"""Solving: a ticket worked on along one path, into a draft. Looks things up, changes nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.support_agent.retrieval import Found, words
from examples.support_agent.settings import Settings
from examples.support_agent.tickets import WINDOW_DAYS, Ticket
from examples.support_agent.wrapper import Tools

_EUROS = re.compile(r"(\d+)\.(\d\d) euros")
_ADDRESS = re.compile(r"(?<= to )[A-Z][\w ]*? \d{1,4}, \d{4,5} \w+")
_SEVERE = re.compile(r"\b(hurt|lawyer|injured|police|burnt)\b")
#: tokens of a word, roughly
_TOKENS = 1.3


@dataclass(frozen=True, slots=True)
class Draft:
    """What is meant to be answered and done."""

    answer: str
    #: document that the answer rests on, and how sure the retrieval is, 0..1
    document: str = ""
    confidence: float = 1.0
    #: cents to pay back; None: nothing
    refund_cents: int | None = None
    #: address to write down; None: none
    address: str | None = None
    #: why a person has to take over; empty: nobody has to
    escalate: str = ""
    #: what was looked up: the order, None where it was not
    order: Mapping[str, Any] | None = None
    #: words that were read on the way
    read: int = field(default=0, compare=False)


def solve(ticket: Ticket, settings: Settings, tools: Tools) -> Draft:
    """Work on a ticket as the routing rules have it done."""
    path = settings.path(ticket.task_type)
    order = None
    if path["looks_up"] and ticket.order is not None:
        order = tools("order", order=ticket.order)
    return _SOLVERS[ticket.task_type](ticket, settings, tools, order)


def tokens(ticket: Ticket, settings: Settings, draft: Draft) -> tuple[str, int, int]:
    """The model of the path, and tokens in and out that its drafts took."""
    path = settings.path(ticket.task_type)
    asked = draft.read + len(words(ticket.text)) + sum(len(words(text)) for text in settings.prompt.values())
    made = len(words(draft.answer))
    drafts = path["drafts"]
    return path["model"], round(drafts * asked * _TOKENS), round(drafts * made * _TOKENS)


def _searched(ticket: Ticket, settings: Settings, tools: Tools) -> tuple[list[Found], int]:
    """What retrieval finds, helped by what is remembered of the customer where it is not sure; words read."""
    path, sure = settings.path(ticket.task_type), settings.policy["confident_from"]
    found = settings.index.find(ticket.text)
    if path["reads_memory"] and (not found or found[0].confidence < sure):
        notes = tools("recall", customer=ticket.customer)["notes"]
        told = " ".join(note["text"] for note in notes)
        found = settings.index.find(f"{ticket.text} {told}")
    there = sum(len(words(each.document.text)) for each in found)
    return found, min(there, path["reads_words"])


def _answered(
    ticket: Ticket, settings: Settings, tools: Tools, order: Mapping[str, Any] | None = None
) -> Draft:
    found, read = _searched(ticket, settings, tools)
    if not found or found[0].confidence < settings.policy["confident_from"]:
        return Draft("", escalate="nothing in the documents answers it", order=order, read=read)
    best = found[0]
    quoted = " ".join(best.document.text.split()[: settings.policy["longest_answer_words"]])
    answer = _worded(settings, ticket.task_type, answer=quoted)
    return Draft(answer, best.document.name, best.confidence, order=order, read=read)


def _worded(settings: Settings, section: str, **given: object) -> str:
    return settings.prompt[section].format(**given)


def _refund(ticket: Ticket, settings: Settings, _tools: Tools, order: Mapping[str, Any] | None) -> Draft:
    claimed = _EUROS.search(ticket.text)
    cents = int(claimed[1]) * 100 + int(claimed[2]) if claimed else 0
    if order is not None:
        if order["age_days"] > WINDOW_DAYS:
            answer = _worded(settings, "too_late", days=WINDOW_DAYS)
            return Draft(answer, "refunds", order=order)
        cents = order["amount_cents"]
    if cents > settings.policy["approval_above_cents"]:
        return Draft("", "refunds", escalate="a person approves large refunds", order=order)
    answer = _worded(settings, "refund", euros=f"{cents / 100:.2f}", order=ticket.order)
    return Draft(answer, "refunds", refund_cents=cents, order=order)


def _address(ticket: Ticket, settings: Settings, _tools: Tools, order: Mapping[str, Any] | None) -> Draft:
    if order is None:
        address = ticket.text.rpartition(" to ")[2].strip()
    else:
        known = _ADDRESS.search(ticket.text)
        address = known[0] if known else ""
    answer = _worded(settings, "address", address=address, order=ticket.order)
    return Draft(answer, "delivery", address=address, order=order)


def _complaint(ticket: Ticket, settings: Settings, tools: Tools, order: Mapping[str, Any] | None) -> Draft:
    if order is not None and _SEVERE.search(ticket.text):
        return Draft("", "damaged", escalate="somebody was hurt, or threatens", order=order)
    return _answered(ticket, settings, tools, order)


def _faq(ticket: Ticket, settings: Settings, tools: Tools, order: Mapping[str, Any] | None) -> Draft:
    return _answered(ticket, settings, tools, order)


_SOLVERS = {"faq": _faq, "refund": _refund, "address": _address, "complaint": _complaint}

__all__ = ["Draft", "solve", "tokens"]
