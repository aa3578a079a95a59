"""What the HTTP service is measured beside: the same server with nothing in it, and without validation.

`BARE_DATABASE` names the store that the second writes to. Run by `over_http.py`.
"""

import json
import os
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from lastgood import recorder
from lastgood.outcome import Outcome
from lastgood.recorder import Report
from lastgood.store.connection import Store

#: about the size of an answer of the service
ANSWER = b'{"key": "support", "value": "' + b"x" * 500 + b'"}'
store = Store(os.environ["BARE_DATABASE"])
trusting = FastAPI()


@trusting.post("/outcomes")
async def outcomes(request: Request) -> dict[str, int]:
    """Write outcomes as they come: no token, no run looked up, no field checked."""
    rows = [json.loads(line) for line in (await request.body()).split(b"\n")]
    return {"new": await run_in_threadpool(_write, rows)}


def _write(rows: list[dict[str, Any]]) -> int:
    reports = [
        Report(row["run"], Outcome(completed=row["completed"], cost_usd=row["cost_usd"])) for row in rows
    ]
    return recorder.record_batch(store, reports).new


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
