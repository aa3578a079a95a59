"""Server-sent events: whoever listens is told to ask again when a control point was moved.

One watcher serves every stream of the process: it looks at the words that tell of moves, those of this host
and those that are heard of (`lastgood.hearing`), every few milliseconds, asks the routers when one changed
and at intervals, and wakes the streams. It rests while nobody listens.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from fastapi.concurrency import run_in_threadpool

from lastgood.errors import LastgoodError
from lastgood.roles import Principal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lastgood.service.desk import Desk
    from lastgood.snapshot import Serving

log = logging.getLogger("lastgood")
#: seconds between two looks at the words, which cost nothing, and at the routers
TICK_S, EVERY_S = 0.005, 0.1
#: seconds after which a comment keeps the connection open, and the token is asked for again
ALIVE_S = 15.0
#: streams at most: each holds a connection
MOST = 1_000
#: agent and environment
Place: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class Watcher:
    """What the routers serve, of the places that somebody listens to."""

    desk: "Desk"
    #: streams by place
    listening: Counter[Place] = field(default_factory=Counter)
    #: streams in all
    streams: int = 0
    _seen: dict[Place, str] = field(default_factory=dict)
    #: the words when the routers were asked last
    _words: "list[tuple[Serving, int]]" = field(default_factory=list)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    @contextmanager
    def listens(self, places: Iterable[Place]) -> "Iterator[None]":
        """Watch these while the caller listens."""
        mine = list(places)
        self.listening.update(mine)
        self.streams += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield
        finally:
            self.streams -= 1
            self.listening.subtract(mine)
            self.listening = +self.listening
            for place in set(mine) - set(self.listening):
                self._seen.pop(place, None)

    def seen(self, places: Iterable[Place]) -> dict[Place, str]:
        """Return what is known of these places, after `look`."""
        return {place: self._seen.get(place, "") for place in places}

    async def look(self) -> None:
        """Ask the routers of every place that somebody listens to; wake the streams if any was moved."""
        now, self._words = await run_in_threadpool(_asked, self.desk, list(self.listening))
        changed = {place for place, said in now.items() if self._seen.get(place) != said}
        self._seen.update(now)
        if changed:
            self._moved.set()
            self._moved = asyncio.Event()

    async def moved(self, seconds: float) -> None:
        """Wait until any place was moved, or for so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), seconds)

    async def _watch(self) -> None:
        while self.streams:
            await self._rest()
            try:
                await self.look()
            except Exception:
                log.exception("the routers could not be asked; streams go on")

    async def _rest(self) -> None:
        """Wait until the next look at the routers, or until a word has changed."""
        until_s = time.monotonic() + EVERY_S
        while time.monotonic() < until_s:
            await asyncio.sleep(TICK_S)
            if any(serving.word != word for serving, word in self._words):
                return

    def end(self) -> None:
        """Watch nothing more: the service ends."""
        if self._task is not None:
            self._task.cancel()


def _asked(desk: "Desk", places: list[Place]) -> "tuple[dict[Place, str], list[tuple[Serving, int]]]":
    """What each router serves by now: its epoch, and whether the baseline stands in for what it will read.

    The word stands before it: a move that nobody has read yet is told, and told again when it is committed.
    """
    found, words = {}, []
    for place in places:
        try:
            serving = desk.serving(*place)
            router, word = serving.router, serving.word
            words.append((serving, word))
            decision = router.route("")
        except LastgoodError as error:  # a place that can't be read hides none of the others
            found[place] = type(error).__name__
        else:
            found[place] = f"{word} {decision.epoch} {decision.reason}"
    return found, words


async def refetches(
    desk: "Desk", principal: Principal, environment: str, agents: list[str]
) -> AsyncIterator[str]:
    """Yield an event after each move of these agents' control points, until the client goes away."""
    watcher, places = desk.watcher, [(agent, environment) for agent in agents]
    with watcher.listens(places):
        await watcher.look()
        seen = watcher.seen(places)
        yield ": listening\n\n"
        spoke_s = time.monotonic()
        while True:
            now, left_s = watcher.seen(places), spoke_s + ALIVE_S - time.monotonic()
            if now != seen:
                seen, spoke_s = now, time.monotonic()
                yield _event(now)
            elif left_s > 0:
                await watcher.moved(left_s)
            elif await run_in_threadpool(desk.door.stands, principal):
                spoke_s = time.monotonic()
                yield ": alive\n\n"
            else:
                return


def _event(now: dict[Place, str]) -> str:
    tag = hashlib.sha256(repr(sorted(now.items())).encode()).hexdigest()[:16]
    data = {"type": "refetchEvaluation", "etag": tag, "lastModified": int(time.time())}
    return f"event: message\nid: {tag}\ndata: {json.dumps(data)}\n\n"
