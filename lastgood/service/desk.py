"""What every route of the service works with: the store, the door, and the agents that it serves."""

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from lastgood import registry
from lastgood.bundle import BundleRecord, check_name
from lastgood.errors import Conflict, Forbidden, InvalidMove, LastgoodError, Refused
from lastgood.redaction import clean
from lastgood.roles import Act, Principal
from lastgood.service.door import Door
from lastgood.service.figures import Figures
from lastgood.service.limits import Lanes, Pace
from lastgood.service.problems import TooOften
from lastgood.service.streams import Watcher
from lastgood.snapshot import Serving, announced_runtimes
from lastgood.store.connection import Store

_bearer = HTTPBearer(auto_error=False, description="An access token: `lastgood token make`.")
_api_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, for OFREP clients.")

#: what moves control: each refusal of it is in the ledger
MOVING = frozenset({Act.REVERT, Act.RESUME, Act.START, Act.APPROVE, Act.PROMOTE})
#: agents, environments and runtimes that are served at once
_MOST_SERVING = 1_000


@dataclass(slots=True)
class Desk:
    """The service's own state; nothing of it is needed after a restart."""

    store: Store
    door: Door
    #: where a request that names no environment goes
    environment: str
    figures: Figures = field(default_factory=Figures)
    watcher: Watcher = field(init=False)
    #: what one token may send of runs, outcomes and actions; evaluation is never slowed: a client that meets
    #: 429 there pauses every flag
    pace: Pace = field(default_factory=Pace)
    lanes: Lanes = field(default_factory=Lanes)
    _serving: dict[tuple[str, str, frozenset[str]], Serving] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self)

    def at_hand(self, agent: str, environment: str) -> Serving | None:
        """Return how this process serves an agent, where a decision now would ask no store."""
        found = self._serving.get((agent, environment, announced_runtimes()))
        if found is None or not found.at_hand:
            return None
        return found if all(bundle.id in self._names for bundle in found.bundles) else None

    def learn(self, serving: Serving) -> None:
        """Have the names at hand of whoever may be served next; one that can't be read fails nobody."""
        with suppress(LastgoodError):
            for bundle in serving.bundles:
                self.name_of(bundle.id)

    def name_of(self, bundle_id: str) -> str:
        """Return a bundle's readable name; it never changes."""
        if bundle_id not in self._names:
            self._names[bundle_id] = registry.load(self.store, bundle_id).name
        return self._names[bundle_id]

    def bundle(self, principal: Principal, reference: str) -> BundleRecord:
        """Return a bundle for whoever may speak of its agent; raises `Forbidden`, `NotFound`."""
        record = registry.load(self.store, reference)
        if not principal.knows(record.agent):
            raise Forbidden(f"the token of {principal.name} does not reach {record.agent}")
        return record

    def serving(self, agent: str, environment: str, runtimes: frozenset[str] | None = None) -> Serving:
        """Return how this process serves an agent, or one that is these runtimes.

        Raises `InvalidInput` for a name that can't be.
        """
        key = (agent, environment, announced_runtimes() if runtimes is None else runtimes)
        found = self._serving.get(key)
        if found is None:
            check_name(agent, "the agent")
            check_name(environment, "the environment")
            with self._lock:
                if len(self._serving) >= _MOST_SERVING:  # clients name runtimes as they like
                    self._serving.clear()
                found = self._serving.setdefault(key, Serving(self.store, *key))
        return found


async def desk_of(request: Request) -> Desk:
    """Return the desk of the application that a request came to."""
    desk: Desk = request.app.state.desk
    return desk


DeskOf = Annotated[Desk, Depends(desk_of)]


# What a request is let in by waits for a thread only where it asks the store.


async def _principal(
    desk: DeskOf,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    api_key: Annotated[str | None, Depends(_api_key)],
) -> Principal:
    text = bearer.credentials if bearer else api_key
    known = desk.door.known(text)
    return known if known is not None else await run_in_threadpool(desk.door.principal, text)


#: who a request comes from; a request without a valid token ends with 401 before anything else of it is read
Caller = Annotated[Principal, Depends(_principal)]


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that may do what it asks, to one control point."""

    desk: Desk
    principal: Principal
    agent: str
    environment: str
    #: what it asks to do
    act: Act

    @property
    def store(self) -> Store:
        """The store."""
        return self.desk.store

    @property
    def actor(self) -> str:
        """How the ledger names who asks."""
        return self.principal.actor

    def refused(self, error: LastgoodError) -> None:
        """Record that the policy or the store refused a move that the caller's role allows."""
        kinds = Refused | Conflict | InvalidMove
        if self.act in MOVING and isinstance(error, kinds) and not isinstance(error, Forbidden):
            place = (self.agent, self.environment)
            self.desk.door.note(self.actor, self.act, *place, "refused", clean(str(error)))


def allowed(act: Act) -> Callable[..., Awaitable[Visit]]:
    """Return the dependency that lets a request do `act` to the agent in its path."""

    async def visit(
        request: Request, desk: DeskOf, principal: Caller, agent: str, environment: str | None = None
    ) -> Visit:
        place = environment or desk.environment
        if not principal.may(act, agent, place):
            await run_in_threadpool(desk.door.admit, principal, act, agent, place)
        found = _let_in(desk, principal, act, agent, place)
        request.state.refused = found.refused  # whatever answers an error tells it
        return found

    return visit


def visited(desk: Desk, principal: Principal, act: Act, agent: str, place: str) -> Visit:
    """Return the visit of somebody who may do `act` there; raises `Forbidden`, `TooOften`, `InvalidInput`."""
    desk.door.admit(principal, act, agent, place)
    return _let_in(desk, principal, act, agent, place)


def _let_in(desk: Desk, principal: Principal, act: Act, agent: str, place: str) -> Visit:
    check_name(agent, "the agent")
    check_name(place, "the environment")
    if act is Act.RECORD and (wait_s := desk.pace.take(principal.token_id)):
        raise TooOften(
            f"{principal.name} sends too often: again in {wait_s:.1f} s, or more at once in batches"
        )
    return Visit(desk, principal, agent, place, act)
