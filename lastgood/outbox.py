"""The outbox: which notices go where, and who sends each of them now.

Deliveries are claimed by a conditional update, so that of two senders one sends. A sender that dies between
sending and saying so leaves its claim behind: when that ends the delivery is made again, under the same id.
"""

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from lastgood import profile
from lastgood.errors import CorruptRow
from lastgood.ids import new_id
from lastgood.notice import Level, Notice
from lastgood.profile import Profile, Route
from lastgood.store import statements as sql
from lastgood.store import telling
from lastgood.store.connection import Row, Store, Transaction

log = logging.getLogger("lastgood")
_S = 1_000_000
#: microseconds that a sender may take; one that takes longer is thought dead
CLAIM_US = 120 * _S
#: microseconds before the second try, and the most between two tries: each waits twice as long as the last
FIRST_WAIT_US, LONGEST_WAIT_US = 15 * _S, 3_600 * _S
_UNTOLD = "nobody is told, no route of %s takes it: %s"
#: new notices of one control point that one transaction routes
_MOST = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice on its way over one route, claimed by one sender."""

    notice: Notice
    notice_id: str
    route: str
    #: microseconds UTC at which it happened
    at_us: int
    #: tries, this one included
    attempts: int
    expires_us: int
    #: what the sender proves with that the claim is its own
    claim: str
    #: where the person who is told can put the last known good back; a secret, made for this one try
    link: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """The same for every try: a receiver that knows it drops the second one."""
        return f"{self.notice_id}/{self.route}"


def route_new(store: Store) -> int:
    """Find the routes of every new notice by its agent's profile; return how many notices were routed."""
    with store.reading() as txn:
        places = [(row["agent"], row["environment"]) for row in txn.all(telling.NEW_PLACES)]
    return sum(_route_place(store, *place) for place in places)


def _route_place(store: Store, agent: str, environment: str) -> int:
    with store.transaction(durable=True, at=(agent, environment)) as txn:
        rows = txn.all(telling.NEW_NOTICES, agent=agent, environment=environment, most=_MOST)
        routes = _profile(txn, agent).routes if rows else ()
        for row in rows:
            taking = [route for route in routes if route.takes(environment, row["kind"], row["level"])]
            for route in taking:
                _deliver(txn, row, route)
            txn.run(telling.ROUTED, id=row["id"], state="routed" if taking else "unrouted")
            if not taking:
                # a team that named no route at all knows; `lastgood status` says it too
                loud = bool(routes) and row["level"] == Level.PAGE
                log.log(logging.WARNING if loud else logging.INFO, _UNTOLD, agent, row["title"])
    return len(rows)


def _profile(txn: Transaction, agent: str) -> Profile:
    try:
        return profile.read(txn, agent)
    except (
        CorruptRow
    ) as error:  # to be told nothing is worse than to hear it late: it waits for a new profile
        log.error("nobody is told of %s: %s", agent, error)  # noqa: TRY400  one line is enough
        return Profile(agent)


def _deliver(txn: Transaction, row: Row, route: Route) -> None:
    txn.run(
        telling.PUT_DELIVERY,
        notice_id=row["id"],
        route=route.name,
        transport=route.to,
        agent=row["agent"],
        environment=row["environment"],
        level=row["level"],
        seq=row["seq"],
        next_try_us=txn.now_us,
        expires_us=txn.now_us + route.retry_for_us,
    )


def due(store: Store, most: int, transports: Collection[str]) -> list[Row]:
    """Return what may be claimed now, pages first; of each route, point and level the oldest alone."""
    if not transports:
        return []
    statement, among = sql.among(telling.DUE_DELIVERIES, sorted(transports))
    with store.reading() as txn:
        return txn.all(statement, **among, now_us=txn.now_us, most=most)


def waiting(store: Store) -> bool:
    """Whether anything may be claimed now, over any transport."""
    with store.reading() as txn:
        return txn.one(telling.ANY_DUE, now_us=txn.now_us) is not None


def claim(store: Store, row: Row) -> Delivery | None:
    """Become the one who sends; None where another sender was first."""
    place = (row["agent"], row["environment"])
    with store.transaction(durable=True, at=place) as txn:
        mine = new_id("snd_", txn.now_us)
        key = {"notice_id": row["notice_id"], "route": row["route"]}
        until = txn.now_us + CLAIM_US
        claimed = txn.run(
            telling.CLAIM_DELIVERY, **key, claimed_by=mine, claimed_until_us=until, now_us=txn.now_us
        )
    if claimed != 1:
        return None
    level = Level(row["level"])
    notice = Notice(*place, row["kind"], row["key"], row["title"], row["text"], level)
    tries = row["attempts"] + 1
    return Delivery(
        notice, **key, at_us=row["at_us"], attempts=tries, expires_us=row["expires_us"], claim=mine
    )


def route_of(store: Store, delivery: Delivery) -> Route | None:
    """Return the route as the agent's profile has it now; None where it is gone."""
    with store.reading() as txn:
        found = _profile(txn, delivery.notice.agent)
    return next((route for route in found.routes if route.name == delivery.route), None)


def sent(store: Store, delivery: Delivery) -> bool:
    """Record that it was sent; return False where the claim had ended and another sender has it."""
    return _end(store, delivery, "sent", "")


def failed(
    store: Store, delivery: Delivery, error: str, *, final: bool = False, wait_us: int | None = None
) -> bool:
    """Record a failed try; return whether it will be tried again.

    `final`: no later try can do better. `wait_us` is what the receiver asked to be left alone for.
    """
    now_us = store.clock.now_us()
    next_us = now_us + max(wait_us or 0, backoff_us(delivery.attempts))
    if final or next_us > delivery.expires_us:
        log.error(
            "nobody was told over %s after %d tries (%s): %s",
            delivery.route,
            delivery.attempts,
            error,
            delivery.notice.title,
        )
        _end(store, delivery, "dead", error)
        return False
    with _at(store, delivery) as txn:
        txn.run(telling.POSTPONE_DELIVERY, **_key(delivery), next_try_us=next_us, error=error[:500])
    return True


def backoff_us(attempts: int) -> int:
    """Microseconds between a failed try and the next: twice as long each time, an hour at most."""
    return min(FIRST_WAIT_US << min(attempts - 1, 20), LONGEST_WAIT_US)


def give_up(store: Store, transports: Collection[str]) -> int:
    """Bury what expired and nobody came to send, of transports that this process has not; return how many."""
    with store.reading() as txn:
        rows = txn.all(telling.EXPIRED_TRANSPORTS, now_us=txn.now_us)
    others = [row["transport"] for row in rows if row["transport"] not in transports]
    if not others:
        return 0
    with store.transaction(durable=True) as txn:
        error = "no process that can send over this transport ran before it expired"
        return sum(
            txn.run(telling.EXPIRE_DELIVERIES, now_us=txn.now_us, error=error, transport=each)
            for each in others
        )


def retry(store: Store, notice_id: str, retry_for_us: int = profile.REROUTED_US) -> int:
    """Make the dead deliveries of a notice due again; return how many."""
    with store.transaction(durable=True) as txn:
        until = txn.now_us + retry_for_us
        return txn.run(telling.RETRY_DELIVERY, notice_id=notice_id, now_us=txn.now_us, expires_us=until)


def standing(txn: Transaction, agent: str, environment: str) -> dict[str, int]:
    """Return how many deliveries wait or died, and how many notices no route took; only what is not 0."""
    key = {"agent": agent, "environment": environment}
    found = {row["state"]: int(row["n"]) for row in txn.all(telling.COUNT_DELIVERIES, **key)}
    unrouted = txn.one(telling.COUNT_UNROUTED, **key)
    if unrouted is not None and unrouted["n"]:
        found["unrouted"] = int(unrouted["n"])
    return found


def _at(store: Store, delivery: Delivery) -> AbstractContextManager[Transaction]:
    return store.transaction(durable=True, at=(delivery.notice.agent, delivery.notice.environment))


def _key(delivery: Delivery) -> dict[str, str]:
    return {"notice_id": delivery.notice_id, "route": delivery.route, "claimed_by": delivery.claim}


def _end(store: Store, delivery: Delivery, state: str, error: str) -> bool:
    with _at(store, delivery) as txn:
        return (
            txn.run(telling.END_DELIVERY, **_key(delivery), state=state, error=error[:500], now_us=txn.now_us)
            == 1
        )
