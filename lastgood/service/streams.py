"""Server-sent events: whoever listens is told to ask again when a control point was moved."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from fastapi.concurrency import run_in_threadpool

from lastgood.roles import Act, Principal
from lastgood.service.desk import Desk

#: seconds between two looks at the epochs; the router itself sees a move of this host at once
EVERY_S = 0.25
#: seconds after which a comment keeps the connection open
_ALIVE_S = 15.0


async def refetches(
    desk: Desk, principal: Principal, environment: str, agents: list[str]
) -> AsyncIterator[str]:
    """Yield an event after each move of these agents' control points, until the client goes away."""
    seen = await run_in_threadpool(epochs, desk, environment, agents)
    yield ": listening\n\n"
    spoke_s = time.monotonic()
    while True:
        await asyncio.sleep(EVERY_S)
        now = await run_in_threadpool(epochs, desk, environment, agents)
        if now != seen:
            seen, spoke_s = now, time.monotonic()
            yield _event(now)
        elif time.monotonic() - spoke_s > _ALIVE_S:
            if not any(principal.may(Act.EVALUATE, agent, environment) for agent in agents):
                return
            spoke_s = time.monotonic()
            yield ": alive\n\n"


def epochs(desk: Desk, environment: str, agents: list[str]) -> dict[str, str]:
    """Return what the routers of these agents serve by now, by agent: epoch and whether it may have moved."""
    found = {}
    for agent in agents:
        decision = desk.serving(agent, environment).router.route("")
        found[agent] = f"{decision.epoch} {decision.reason}"
    return found


def _event(now: dict[str, str]) -> str:
    data = {"type": "refetchEvaluation", "etag": "", "lastModified": int(time.time())}
    return f"event: message\nid: {abs(hash(frozenset(now.items())))}\ndata: {json.dumps(data)}\n\n"
