"""What the HTTP service is measured beside: an answer with nothing behind it, and intake without validation.

The second is the service itself, with its limits, figures and framework, and one route more: it reads the
lines of a body, takes their fields as they are and writes the same rows with the same sums. It asks for no
access token, no run's token, nor whose runs they are, and checks no field. `BARE_DATABASE` names the store
that it writes to. Run by `over_http.py`.
"""

import os
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from lastgood import recorder
from lastgood.outcome import Outcome
from lastgood.recorder import Report
from lastgood.service import lines
from lastgood.service.app import create
from lastgood.service.intake import BatchAnswer
from lastgood.store.connection import Store

#: about the size of an answer of the service
ANSWER = b'{"key": "support", "value": "' + b"x" * 500 + b'"}'
store = Store(os.environ["BARE_DATABASE"])
trusting = create(store)


@trusting.post("/outcomes")
async def outcomes(request: Request) -> BatchAnswer:
    """Write outcomes as they come."""
    return await run_in_threadpool(_write, await request.body())


def _write(sent: bytes) -> BatchAnswer:
    reports = [_report(fields) for _, fields in lines.read(sent).read]
    batch = recorder.record_batch(store, reports)
    return BatchAnswer(new=batch.new, duplicates=len(batch.duplicates), refused=[])


def _report(fields: dict[str, Any]) -> Report:
    run, token = fields.pop("run"), fields.pop("token")
    return Report(run, Outcome(**fields), token=token)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer at once; outcomes go to the other."""
    if scope["type"] != "http" or scope["path"] == "/outcomes":
        await trusting(scope, receive, send)
        return
    while (await receive()).get("more_body"):
        pass
    length = str(len(ANSWER)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})
