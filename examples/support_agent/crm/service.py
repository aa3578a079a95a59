"""What the CRM answers: a request in, a status and a body out. The server and the tests share it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from examples.support_agent.crm.books import Books, row_id

#: request of a key that was undone before it arrived
_BARRED = "barred"
#: fields of a ticket that a request may write
_FIELDS = ("status", "address", "resolution")


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    #: the same key again is the same request; None: a read, or a careless client
    key: str | None = None

    @property
    def digest(self) -> str:
        """What tells two requests apart that carry one key."""
        text = json.dumps([self.method, self.path, self.body], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    body: dict[str, Any]


class Wrong(Exception):
    """A request that can't be met; answered as it stands."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """The CRM over one database."""

    def __init__(self, books: Books) -> None:
        self.books = books

    def answer(self, request: Request) -> Answer:
        """Answer a request; one whose key was seen is answered as it was then, and has no effect."""
        try:
            if request.method == "GET":
                return Answer(200, self._routed(request))
            with self.books.changing():
                return self._changed(request)
        except Wrong as wrong:
            return Answer(wrong.status, {"error": str(wrong)})

    def _changed(self, request: Request) -> Answer:
        if request.key is None:
            raise Wrong(400, "a change needs the header Idempotency-Key")
        known = self.books.answer_of(request.key)
        if known is not None and known["request"] not in {request.digest, _BARRED}:
            raise Wrong(422, f"the key {request.key!r} came with another request before")
        if known is not None:
            return Answer(known["status"], json.loads(known["body"]))
        body = self._routed(request)
        self.books.keep_answer(request.key, request.digest, 200, json.dumps(body))
        return Answer(200, body)

    def _routed(self, request: Request) -> dict[str, Any]:
        for method, pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                return handler(self.books, request, *(unquote(word) for word in match.groups()))
        raise Wrong(404, f"there is no {request.method} {request.path}")


def _wanted(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Wrong(422, f"{name} is {value!r}; give a {kind.__name__}")
    return value


def _known(books: Books, table: str, row: str) -> dict[str, Any]:
    found = books.one(f"SELECT * FROM {table} WHERE id = :id", id=row)  # noqa: S608  one of our own tables
    if found is None:
        raise Wrong(404, f"no {table[:-1]} {row!r}")
    return found


def _order(books: Books, _request: Request, order: str) -> dict[str, Any]:
    return {"order": _known(books, "orders", order)}


def _ticket(books: Books, _request: Request, ticket: str) -> dict[str, Any]:
    return {"ticket": _known(books, "tickets", ticket)}


def _notes(books: Books, _request: Request, customer: str) -> dict[str, Any]:
    query = "SELECT topic, text FROM notes WHERE customer = :customer ORDER BY topic"
    return {"notes": books.all(query, customer=customer)}


def _refund(books: Books, request: Request) -> dict[str, Any]:
    order = _known(books, "orders", _wanted(request.body, "order", str))
    cents = _wanted(request.body, "amount_cents", int)
    if not 0 < cents <= 10_000_000:
        raise Wrong(422, f"amount_cents is {cents}; give 1 to 10000000")
    made = row_id("rf", str(request.key))
    books.make(str(request.key), "refunds", made, {"order_id": order["id"], "amount_cents": cents})
    return {"refund": {"id": made, "order": order["id"], "amount_cents": cents}}


def _message(books: Books, request: Request) -> dict[str, Any]:
    ticket = _known(books, "tickets", _wanted(request.body, "ticket", str))
    text = _wanted(request.body, "text", str)
    made = row_id("ms", str(request.key))
    due_us = books.now_us() + books.deliver_after_us
    fields = {"ticket_id": ticket["id"], "text": text, "corrects": None, "deliver_us": due_us}
    books.make(str(request.key), "messages", made, fields)
    return {"message": {"id": made, "ticket": ticket["id"]}}


def _update(books: Books, request: Request, ticket: str) -> dict[str, Any]:
    _known(books, "tickets", ticket)
    wanted = {name: value for name, value in request.body.items() if value is not None}
    unknown = [name for name in wanted if name not in _FIELDS]
    if unknown or not wanted:
        raise Wrong(422, f"a ticket's fields are {', '.join(_FIELDS)}; given: {', '.join(wanted) or 'none'}")
    key = str(request.key)
    before = {name: books.write(key, "tickets", ticket, name, str(value)) for name, value in wanted.items()}
    return {"ticket": _known(books, "tickets", ticket), "before": before}


def _note(books: Books, request: Request, customer: str, topic: str) -> dict[str, Any]:
    text = _wanted(request.body, "text", str)
    before = books.write(str(request.key), "notes", f"{customer}/{topic}", "text", text)
    return {"note": {"customer": customer, "topic": topic, "text": text}, "before": before}


def _undo(books: Books, request: Request, place: str) -> dict[str, Any]:
    """Take a change back by its key; one that never arrived is barred, so that it can't arrive later."""
    key = _wanted(request.body, "of", str)
    known = books.answer_of(key)
    if known is None:
        gone = {"error": f"{key!r} was undone before it arrived"}
        books.keep_answer(key, _BARRED, 409, json.dumps(gone))
        return {"undone": 0}
    if place == "messages":
        return _recall(books, request, key)
    return {"undone": books.undo(key, place)}


def _recall(books: Books, request: Request, key: str) -> dict[str, Any]:
    """A message that still waits is recalled; one that was delivered is corrected by another."""
    made = row_id("ms", key)
    sent = books.one("SELECT * FROM messages WHERE id = :id", id=made)
    if sent is None:
        return {"undone": 0}
    if sent["deliver_us"] > books.now_us():
        return {"undone": books.undo(key, "messages")}
    known = books.one("SELECT id FROM messages WHERE corrects = :id", id=made)
    if known is not None:
        return {"undone": 0, "correction": known["id"]}
    text = request.body.get("correction") or "Our last message was wrong. Please ignore it."
    correction = row_id("ms", str(request.key))
    fields = {"ticket_id": sent["ticket_id"], "text": text, "corrects": made, "deliver_us": books.now_us()}
    books.make(str(request.key), "messages", correction, fields)
    return {"undone": 0, "correction": correction}


def _load(books: Books, request: Request, table: str) -> dict[str, Any]:
    return {"new": books.load(table, _wanted(request.body, "rows", list))}


_ID = "([A-Za-z0-9._%-]{1,100})"
_ROUTES: tuple[tuple[str, str, Callable[..., dict[str, Any]]], ...] = (
    ("GET", f"/orders/{_ID}", _order),
    ("GET", f"/tickets/{_ID}", _ticket),
    ("GET", f"/customers/{_ID}/notes", _notes),
    ("POST", "/refunds", _refund),
    ("POST", "/messages", _message),
    ("PATCH", f"/tickets/{_ID}", _update),
    ("PUT", f"/customers/{_ID}/notes/{_ID}", _note),
    ("POST", "/undo/(refunds|messages|tickets|notes)", _undo),
    ("POST", "/load/(orders|tickets)", _load),
)

__all__ = ["Answer", "Request", "Service"]
