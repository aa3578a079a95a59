"""Notifying: sending what people have to be told, by whichever process lives.

`send_due` is a plain function that a driver, the scheduled look, `lastgood up` and `lastgood notices send`
all call; the outbox sees to it that of two of them one sends.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lastgood import outbox
from lastgood.errors import LastgoodError
from lastgood.outbox import Delivery
from lastgood.profile import Route
from lastgood.store.connection import Store
from tasks import paging
from tasks import transports as known
from tasks.transports import Failure, Transport

log = logging.getLogger("lastgood")
#: seconds that one try may take whatever its transport waits for; far less than a claim lasts
PATIENCE_S = 20.0
#: the same where a person waits
_BRIEF_S = 5.0
#: deliveries that are looked at at a time
_MOST = 100


@dataclass(frozen=True, slots=True)
class Told:
    """What one pass did."""

    #: deliveries that got through
    sent: int = 0
    #: tries that failed and will be made again
    postponed: int = 0
    #: deliveries that were given up
    dead: int = 0

    def __add__(self, other: "Told") -> "Told":
        """Both together."""
        return Told(self.sent + other.sent, self.postponed + other.postponed, self.dead + other.dead)


def send_due(
    store: Store,
    limit: int = 100,
    seconds: float = 30.0,
    transports: Mapping[str, Transport] = known.TRANSPORTS,
    patience_s: float | None = None,
) -> Told:
    """Send what is due, at most `limit` deliveries, and begin none after `seconds`.

    One try takes `patience_s` seconds at most, by default `PATIENCE_S`. A route that failed is left alone for
    the rest of the pass. Raises nothing but what the store raises.
    """
    until = time.monotonic() + seconds
    outbox.route_new(store)
    told = Told(dead=outbox.give_up(store, transports))
    broken: set[tuple[str, str]] = set()
    tries = 0
    while tries < limit and time.monotonic() < until:
        rows = outbox.due(store, _MOST, transports)
        rows = [row for row in rows if (row["agent"], row["route"]) not in broken]
        if not rows:
            break
        for row in rows[: limit - tries]:
            if time.monotonic() >= until or (row["agent"], row["route"]) in broken:
                continue
            tries += 1
            done = _send(store, outbox.claim(store, row), transports, patience_s or PATIENCE_S)
            told += done
            if done.postponed or done.dead:
                broken.add((row["agent"], row["route"]))
    return told


def _send(
    store: Store, delivery: Delivery | None, transports: Mapping[str, Transport], patience_s: float
) -> Told:
    if delivery is None:
        return Told()  # another sender was first
    route = outbox.route_of(store, delivery)
    if route is None or route.to not in transports:
        failure: Failure | None = Failure("the route is gone from the agent's profile", final=route is None)
    else:
        failure = _patiently(transports[route.to], route, paging.linked(store, delivery), patience_s)
    if failure is None:
        outbox.sent(store, delivery)
        return Told(sent=1)
    log.warning("%s over %s: %s", delivery.notice.title, delivery.route, failure.error)
    again = outbox.failed(store, delivery, failure.error, final=failure.final, wait_us=failure.wait_us)
    return Told(postponed=1) if again else Told(dead=1)


def _patiently(transport: Transport, route: Route, delivery: Delivery, patience_s: float) -> Failure | None:
    """One try in a thread of its own: a receiver that trickles must not hold up whoever sends."""
    answer: queue.SimpleQueue[Failure | None] = queue.SimpleQueue()
    work = threading.Thread(
        target=lambda: answer.put(known.tried(transport, route, delivery)),
        name=f"lastgood notice {delivery.id}",
        daemon=True,
    )
    work.start()
    try:
        return answer.get(timeout=patience_s)
    except queue.Empty:
        return Failure(f"took longer than {patience_s:g} s")


def send_quietly(
    store: Store,
    seconds: float = 5.0,
    transports: Mapping[str, Transport] = known.TRANSPORTS,
    patience_s: float | None = None,
) -> Told:
    """The same for whoever has other work to do: an outbox that can't be read is logged, no more."""
    try:
        return send_due(store, seconds=seconds, transports=transports, patience_s=patience_s)
    except LastgoodError as error:
        log.warning("people could not be told now: %s", error)
        return Told()


def after_move(store: Store) -> None:
    """What a command does after a move that it made: a person waits for it, so it is brief."""
    told = send_quietly(store, patience_s=_BRIEF_S)
    if told.postponed or told.dead:
        log.warning("not everybody could be told: `lastgood notices list`")


def keep_sending(
    store: Store,
    stop: threading.Event,
    every_s: float = 5.0,
    transports: Mapping[str, Transport] = known.TRANSPORTS,
) -> None:
    """Send what is due until `stop` is set: the body of a background thread; the connection is its own."""
    try:
        while not stop.is_set():
            send_quietly(store, every_s, transports)
            stop.wait(every_s)
    finally:
        store.close()


@contextmanager
def beside(store: Store, transports: Mapping[str, Transport] = known.TRANSPORTS) -> Iterator[None]:
    """Send in the background while the caller works, and once more when it is done.

    A receiver that hangs must hold up neither a look nor a revert, so it is never waited for in between.
    """
    stop = threading.Event()
    name = "lastgood notices"
    sender = threading.Thread(
        target=keep_sending, args=(store, stop, 5.0, transports), name=name, daemon=True
    )
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join(PATIENCE_S)
        send_quietly(store, transports=transports)


__all__ = ["Told", "after_move", "beside", "keep_sending", "send_due", "send_quietly"]
