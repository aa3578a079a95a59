"""How our errors read over HTTP: one JSON object, a status that a client can act on."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lastgood.errors import (
    BadToken,
    CapReached,
    Conflict,
    CorruptRow,
    Forbidden,
    InvalidInput,
    LastgoodError,
    NotFound,
    Refused,
    StoreError,
    Unauthenticated,
)
from lastgood.records import storable

log = logging.getLogger("lastgood")

#: the first that fits counts. A ceiling is 409: a client that meets 429 pauses every flag
_STATUS: tuple[tuple[type[LastgoodError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (BadToken, 403),
    (InvalidInput, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 409),
    (CorruptRow, 503),
    (StoreError, 503),
)


class TooMuch(InvalidInput):
    """A body is larger, or a batch longer, than the service takes at once."""


class TooOften(Refused):
    """A token sends more requests than the service takes of one client."""


class NotHere(Refused):
    """The service does not run in a checkout, whose folders would decide this."""


def status_of(error: LastgoodError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, TooMuch):
        return 413
    if isinstance(error, NotHere):
        return 501
    if isinstance(error, TooOften):
        return 429
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def headers_of(status: int) -> Mapping[str, str]:
    """Return what a status asks for: how to authenticate, when to come again."""
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": "1"} if status in {429, 503} else {}


def body_of(error: LastgoodError) -> dict[str, Any]:
    """Return the object that says what happened; a ceiling's fields stand in it by name."""
    said: dict[str, Any] = {"error": type(error).__name__, "message": storable(str(error))}
    if isinstance(error, CapReached):
        said |= {"cap": error.cap, "level": error.level, "used": error.used, "frees_us": error.frees_us}
    return said


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LastgoodError)  # noqa: S101  registered for these alone
    if (noting := getattr(request.state, "refused", None)) is not None:
        await run_in_threadpool(noting, error)
    status = status_of(error)
    return JSONResponse(body_of(error), status, dict(headers_of(status)))


async def _unfit(_request: Request, error: Exception) -> JSONResponse:
    """What the models refuse; the values themselves are not sent back."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']}" for each in error.errors()]
    return JSONResponse({"error": "InvalidInput", "message": "; ".join(found)[:2_000]}, 400)


async def _plain(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    body = {"error": "NotFound" if error.status_code == 404 else "Refused", "message": str(error.detail)}
    return JSONResponse(body, error.status_code, error.headers)


async def _deep(_request: Request, _error: Exception) -> JSONResponse:
    """A value that can be read but not written again; nothing of it was."""
    return JSONResponse({"error": "InvalidInput", "message": "the body is nested too deeply"}, 400)


async def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    """A defect of ours: it is in the log, and nothing of it goes out."""
    log.error("the service failed: %r", error, exc_info=error)
    return JSONResponse({"error": "Unforeseen", "message": "the service failed; its log says why"}, 500)


def install(app: FastAPI) -> None:
    """Answer every error of ours, of the models and of the framework as an object."""
    app.add_exception_handler(LastgoodError, _ours)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(RecursionError, _deep)
    app.add_exception_handler(Exception, _unforeseen)
