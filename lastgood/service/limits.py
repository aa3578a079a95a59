"""Limits of what the service takes at once: bytes of a body, seconds to send it, requests of a token."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: bytes of a body
MOST_BYTES = 8_000_000
#: seconds in which a body has to be there
BODY_S = 20.0
_PIECES = 10_000


class Bodies:
    """ASGI middleware: reads a body whole, within its limits, before anything looks at it.

    A body that stops half-way, comes too slowly or is too large never reaches a route.
    """

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES, seconds: float = BODY_S) -> None:
        self._app, self._most, self._seconds = app, most_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body in one piece."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await _whole(receive, self._most)
        except TimeoutError:
            await _refuse(scope, receive, send, 408, f"the body was not there within {self._seconds:g} s")
            return
        if body is None:
            return  # the client has gone
        if len(body) > self._most:
            await _refuse(
                scope, receive, send, 413, f"a body of more than {self._most:,} bytes; send it in batches"
            )
            return
        await self._app(_as_json(scope), _again(body, receive), send)


#: what a client sends that did not say what it sends; `curl -d` says the second
_UNSAID = frozenset({b"", b"application/x-www-form-urlencoded", b"text/plain"})


def _as_json(scope: Scope) -> Scope:
    """Take a body of the API for JSON where its client named no other type.

    A page of another site can send such a body too, but no token along with it.
    """
    sent = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if not scope["path"].startswith("/v1/") or sent not in _UNSAID:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*others, (b"content-type", b"application/json")]}


async def _whole(receive: Receive, most: int) -> bytes | None:
    """Return the body, more than `most` bytes of it if it is longer, None where the client went away."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > most or not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    error = "TooMuch" if status == 413 else "TooSlow"
    answer = JSONResponse({"error": error, "message": message}, status, {"Connection": "close"})
    await answer(scope, receive, send)


@dataclass(slots=True)
class Pace:
    """A bucket a token: `per_s` requests a second on average, `burst` at once."""

    per_s: float = 1_000.0
    burst: float = 5_000.0
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, token_id: str, now_s: float | None = None) -> float:
        """Take one; return 0, or the seconds after which to come again."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            level = self._level(token_id, now_s)
            left = level - 1
            self._keep(token_id, level if left < 0 else left, now_s)
        return 0.0 if left >= 0 else -left / self.per_s

    def charge(self, token_id: str, count: int, now_s: float | None = None) -> None:
        """Take so many more for what was found of no use; at most a burst is owed."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._lock:
            self._keep(token_id, max(-self.burst, self._level(token_id, now_s) - count), now_s)

    def _level(self, token_id: str, now_s: float) -> float:
        level, at_s = self._buckets.get(token_id, (self.burst, now_s))
        return min(self.burst, level + (now_s - at_s) * self.per_s)

    def _keep(self, token_id: str, level: float, now_s: float) -> None:
        self._buckets[token_id] = (level, now_s)
        self._buckets.move_to_end(token_id)
        while len(self._buckets) > _PIECES:
            self._buckets.popitem(last=False)


@dataclass(slots=True)
class Lanes:
    """How many batches of one token are worked on at once; whoever floods waits for himself.

    A batch keeps a thread busy; without this one client's would leave none to the others.
    """

    wide: int = 2
    #: batches that may wait
    most: int = 32
    #: by token: its turns, and how many batches are there
    _held: dict[str, tuple[asyncio.Semaphore, list[None]]] = field(default_factory=dict)

    @asynccontextmanager
    async def enter(self, token_id: str) -> AsyncIterator[bool]:
        """Wait for a turn; yield False at once where too many wait already."""
        turns, there = self._held.setdefault(token_id, (asyncio.Semaphore(self.wide), []))
        if len(there) >= self.wide + self.most:
            yield False
            return
        there.append(None)
        try:
            async with turns:
                yield True
        finally:
            there.pop()
            if not there:
                self._held.pop(token_id, None)
