"""Undoing: one call of a handler that takes an action back, and what its answer means.

A handler is a function (`package.module:function`) or a URL. It is called at least once, each time with the
same key, and makes the effect happen once itself. What it answers decides: done, try again, or left over.
"""

import contextvars
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import httpx

from lastgood import guard
from lastgood.callables import imported
from lastgood.errors import CannotUndo, InvalidInput
from lastgood.redaction import clean

#: what an HTTP status that says "not now" is; every other one from 400 to 499 is a refusal
_LATER = frozenset({408, 409, 425, 429})
#: characters of an error that are kept
_MOST = 500
#: bytes of an answer that are read
_ANSWER = 64_000


@dataclass(frozen=True, slots=True)
class Undo:
    """What a handler is given; a URL gets it as JSON, with the key as the header Idempotency-Key."""

    #: the idempotency key: the same for every call of this compensation, and no other's
    key: str
    #: id of the action that is taken back
    action_id: str
    run_id: str
    agent: str
    environment: str
    #: kind of the action, and whom or what it acted on
    kind: str
    target: str
    #: the declared tool that made it, where one did
    tool: str | None
    #: what the action said undoes it: of a declared tool `tool`, `of` and `arguments`
    undo: Mapping[str, Any]
    #: what the action's call returned, where that was kept
    result: Any
    #: whether nobody knows if the action took effect: then nothing is to be done where it did not
    in_doubt: bool
    #: which call of this compensation this is, from 1
    attempt: int


class Ended(StrEnum):
    """How a call ended."""

    DONE = "done"  #: the action is undone
    AGAIN = "again"  #: it may be undone or not: call again with the same key
    REFUSED = "refused"  #: it will not be undone by calling again


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call."""

    ended: Ended
    #: in words, for a person
    why: str = ""


@dataclass(frozen=True, slots=True)
class Handler:
    """What takes one kind of action back."""

    #: `package.module:function` or a URL
    call: str
    #: whether it may be called where nobody knows if the action took effect
    safe_in_doubt: bool = False


def handler_of(spec: Any) -> Handler:
    """Read what an agent's profile says of one kind: a call, or a map of `call` and `in_doubt`."""
    if isinstance(spec, str):
        return Handler(spec)
    return Handler(spec["call"], spec.get("in_doubt") == "undo")


def is_url(call: str) -> bool:
    """Whether a handler is called over HTTP."""
    return call.startswith(("http://", "https://"))


def function_of(call: str) -> Callable[[Undo], Any]:
    """Import a handler's function, from beside the agent too; raises `InvalidInput` with what is missing."""
    module, _, name = call.partition(":")
    try:
        found: Any = imported(module)
        for step in name.split("."):
            found = getattr(found, step)
    except Exception as error:
        msg = (
            f"the handler {call} can't be imported here ({type(error).__name__}: {error}): start the "
            "recovery where the agent's code is, or correct `undo` in its profile (`lastgood agent set FILE`)"
        )
        raise InvalidInput(msg) from error
    if not callable(found):
        msg = f"the handler {call} is no function; correct `undo` in the profile (`lastgood agent set FILE`)"
        raise InvalidInput(msg)
    return found  # type: ignore[no-any-return]  # it is callable


@dataclass(slots=True)
class Caller:
    """Calls handlers, each within a time; close it with `with`."""

    #: seconds
    timeout_s: float
    _client: httpx.Client | None = field(default=None, repr=False)
    _held: ExitStack = field(default_factory=ExitStack, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client = None
        self._held.close()

    def call(self, handler: str, undo: Undo) -> Answer:
        """Call a handler once; whatever it does, an answer comes back in time."""
        try:
            if is_url(handler):
                return self._post(handler, undo)
            return self._within(function_of(handler), undo)
        except Exception as error:  # noqa: BLE001  whatever a handler raises, the next compensation goes on
            return judged(error)

    def _post(self, url: str, undo: Undo) -> Answer:
        if self._client is None:
            made = guard.client(timeout_s=self.timeout_s, silent_s=self.timeout_s)
            self._client = self._held.enter_context(made)
        headers = {"Idempotency-Key": undo.key}
        with self._client.stream("POST", url, json=asdict(undo), headers=headers) as answered:
            if answered.status_code >= 300:
                return of_status(answered.status_code, url)
            body = b""
            for piece in answered.iter_bytes():
                body += piece
                if len(body) > _ANSWER:
                    return Answer(Ended.DONE)
        return of_result(_json(body))

    def _within(self, function: Callable[[Undo], Any], undo: Undo) -> Answer:
        """Call a function in a thread: one that hangs is left behind, and called again with the same key."""
        found: list[Answer] = []

        def run() -> None:
            try:
                found.append(of_result(function(undo)))
            except Exception as error:  # noqa: BLE001  as above
                found.append(judged(error))

        here = contextvars.copy_context()  # a client that the caller replaced is replaced there too
        name = f"lastgood-undo-{undo.action_id}"
        thread = threading.Thread(target=here.run, args=(run,), name=name, daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        return found[0] if found else Answer(Ended.AGAIN, f"no answer within {self.timeout_s:g} s")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def of_result(result: Any) -> Answer:
    """Judge what a handler returned: a map with `residue` says what it could not take back, and why."""
    if isinstance(result, Mapping) and result.get("residue"):
        return Answer(Ended.REFUSED, _cut(str(result["residue"])))
    return Answer(Ended.DONE)


def of_status(status: int, where: str) -> Answer:
    """Judge an HTTP status of 300 and up."""
    said = f"{where} answered {status}"
    if status >= 500 or status in _LATER:
        return Answer(Ended.AGAIN, said)
    return Answer(Ended.REFUSED, f"{said}: it refuses, so it is not asked again")


def judged(error: Exception) -> Answer:
    """Judge what a handler raised."""
    if isinstance(error, CannotUndo | InvalidInput):
        return Answer(Ended.REFUSED, _cut(str(error)))
    if isinstance(error, httpx.HTTPStatusError):
        return of_status(error.response.status_code, str(error.request.url.copy_with(query=None)))
    return Answer(Ended.AGAIN, _cut(f"{type(error).__name__}: {error}"))


def _cut(text: str) -> str:
    text = clean(text)
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."


__all__ = ["Answer", "Caller", "Ended", "Handler", "Undo", "function_of", "handler_of", "is_url"]
