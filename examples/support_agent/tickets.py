"""Tickets: what customers write, made from a number, with the truth that an agent never sees.

The same id always makes the same ticket: whoever knows it (the operator, the referee) can look the truth up.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from examples.support_agent.topics import TOPICS
from lastgood.errors import InvalidInput

#: task types, and how often each comes
TASKS = {"faq": 0.5, "refund": 0.2, "address": 0.15, "complaint": 0.15}
#: part of the questions that are asked in other words than the documents'
HARD = 0.15
#: refunds end so many days after the order, and a person decides above so many cents
WINDOW_DAYS, LARGE_CENTS = 30, 20_000
CUSTOMERS = 400
_NAMES = ("Ada", "Ben", "Cem", "Dora", "Eva", "Finn", "Gül", "Hugo", "Ida", "Jan", "Kim", "Lea")
_HELLO = ("", "Hello, ", "Good morning. ", "Hi there! ", "Dear team, ")
_BYE = ("", " Thanks!", " Kind regards, {name}", " Please answer soon.", " Best, {name}")
_STREETS = ("Rosenweg", "Lindenallee", "Am Bach", "Schulgasse", "Kirchplatz", "Gartenstrasse")
_TOWNS = ("50667 Köln", "10115 Berlin", "80331 München", "1010 Wien", "01067 Dresden", "20095 Hamburg")
_HURT = ("My child was hurt by a splinter of it.", "I will hand this to my lawyer.")
_BROKEN = ("arrived broken", "came damaged", "has a broken handle")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What an agent is given."""

    id: str
    customer: str
    #: one of `TASKS`
    task_type: str
    text: str
    #: the order it is about, or None
    order: str | None

    def visible(self) -> dict[str, Any]:
        """As plain data: a run's input."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Truth:
    """What would be right."""

    #: document that answers it, and what stands in a right answer
    document: str
    fact: str
    #: cents to be paid back; None: nothing
    refund_cents: int | None = None
    #: the new address; None: it is about something else
    address: str | None = None
    #: whether a person has to take over
    escalate: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A ticket with its truth."""

    ticket: Ticket
    truth: Truth
    #: the order's row in the CRM, where it is about one
    order: dict[str, Any] | None
    #: `low`, or `high` where much is at stake
    risk: str


def case(ticket_id: str) -> Case:
    """The ticket of an id, `T-SEED-NUMBER`; InvalidInput for another."""
    if not re.fullmatch(r"T-\d{1,9}-\d{1,9}", ticket_id):
        raise InvalidInput(f"{ticket_id!r} is no ticket of the generator; ids are T-SEED-NUMBER")
    draw = random.Random(ticket_id)
    customer = f"C{draw.randrange(CUSTOMERS)}"
    task_type = draw.choices(list(TASKS), list(TASKS.values()))[0]
    return _MAKERS[task_type](draw, ticket_id, customer)


def cases(seed: int, n: int, first: int = 0) -> Iterator[Case]:
    """So many tickets of a seed, from a number on."""
    return (case(f"T-{seed}-{number}") for number in range(first, first + n))


def _said(draw: random.Random, text: str) -> str:
    return draw.choice(_HELLO) + text + draw.choice(_BYE).format(name=draw.choice(_NAMES))


def _faq(draw: random.Random, ticket_id: str, customer: str) -> Case:
    topic = draw.choice(TOPICS)
    text = draw.choice(topic.hard if draw.random() < HARD else topic.easy)
    ticket = Ticket(ticket_id, customer, "faq", _said(draw, text), None)
    return Case(ticket, Truth(topic.document, topic.fact), None, "low")


def _order(draw: random.Random, customer: str) -> dict[str, Any]:
    cents = draw.choice(
        (draw.randrange(500, 9_000), draw.randrange(500, 9_000), draw.randrange(9_000, 30_000))
    )
    number = f"O{draw.randrange(10**9)}"
    return {"id": number, "customer": customer, "amount_cents": cents, "age_days": draw.randrange(2, 50)}


def _refund(draw: random.Random, ticket_id: str, customer: str) -> Case:
    order = _order(draw, customer)
    cents = order["amount_cents"]
    claimed = cents if draw.random() < 0.7 else cents + draw.choice((490, 1_000, -200, 2_500))
    euros = f"{claimed / 100:.2f}"
    words = draw.choice((
        f"please refund order {order['id']}, I paid {euros} euros.",
        f"I sent back order {order['id']} and want my {euros} euros back.",
        f"order {order['id']} was not what I wanted. It was {euros} euros, I would like the money back.",
    ))  # fmt: skip
    late, large = order["age_days"] > WINDOW_DAYS, cents > LARGE_CENTS
    pays = None if late or large else cents
    ticket = Ticket(ticket_id, customer, "refund", _said(draw, words), order["id"])
    truth = Truth("refunds", "30 days" if late else "", pays, escalate=large and not late)
    return Case(ticket, truth, order, "high" if claimed > LARGE_CENTS else "low")


def _address(draw: random.Random, ticket_id: str, customer: str) -> Case:
    order = _order(draw, customer)
    address = f"{draw.choice(_STREETS)} {draw.randrange(1, 120)}, {draw.choice(_TOWNS)}"
    words = draw.choice((
        f"please send order {order['id']} to {address}",
        f"I moved. Order {order['id']} has to go to {address}, and it is not urgent.",
        f"can you send order {order['id']} to {address} instead? I want to be at home when it comes.",
    ))  # fmt: skip
    ticket = Ticket(ticket_id, customer, "address", _said(draw, words), order["id"])
    return Case(ticket, Truth("delivery", "", address=address), order, "low")


def _complaint(draw: random.Random, ticket_id: str, customer: str) -> Case:
    order = _order(draw, customer)
    severe = draw.random() < 0.2
    words = f"the pot of order {order['id']} {draw.choice(_BROKEN)}. " + (
        draw.choice(_HURT) if severe else draw.choice(("I am not happy.", "What now?", "I want a new one."))
    )
    ticket = Ticket(ticket_id, customer, "complaint", _said(draw, words), order["id"])
    return Case(ticket, Truth("damaged", "48 hours", escalate=severe), order, "low")


_MAKERS = {"faq": _faq, "refund": _refund, "address": _address, "complaint": _complaint}

__all__ = ["Case", "Ticket", "Truth", "case", "cases"]
