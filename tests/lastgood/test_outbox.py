"""Deliveries: routed by the profile, claimed once, tried again, given up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.profile import Profile
from lastgood import notices, outbox, profile
from lastgood.notices import Level, Notice

KEY = ("support", "production")
SECOND, HOUR = 1_000_000, 3_600_000_000
ROUTES = """
agent: support
routes:
  - {to: webhook, name: all, url: http://localhost/x, retry_for: 1 h}
  - {to: slack, name: pages, url: env:HOOK, levels: [page], retry_for: 1 h}
"""


def set_profile(store, text=ROUTES):
    with store.transaction(durable=True) as txn:
        profile.store_body(txn, "support", Profile.load(text).to_json(), actor="ann")


def put(store, key, level=Level.PAGE, kind="residue", environment="production"):
    with store.transaction(at=("support", environment)) as txn:
        notices.put(txn, Notice("support", environment, kind, key, key, "text", level))


def rows(store, table="delivery"):
    with store.reading() as txn:
        return [dict(row) for row in txn.all(f"SELECT * FROM {table} ORDER BY seq, route")]


def states(store):
    return {row["route"]: row["state"] for row in rows(store)}


ALL = ("slack", "webhook")


def due(store, most=50, transports=ALL):
    return [(row["key"], row["route"]) for row in outbox.due(store, most, transports)]


def claim(store, route="all"):
    return next(outbox.claim(store, row) for row in outbox.due(store, 50, ALL) if row["route"] == route)


@pytest.fixture
def box(store):
    set_profile(store)
    return store


def test_a_notice_goes_over_every_route_that_takes_it(box):
    put(box, "a")
    put(box, "b", Level.INFORM)
    assert outbox.route_new(box) == 2
    found = {(row["route"], row["level"], row["transport"]) for row in rows(box)}
    assert found == {("all", "page", "webhook"), ("pages", "page", "slack"), ("all", "inform", "webhook")}


def test_routing_again_adds_nothing(box):
    put(box, "a")
    outbox.route_new(box)
    assert outbox.route_new(box) == 0
    assert len(rows(box)) == 2


def test_what_no_route_takes_is_shown_and_waits_for_a_profile(store):
    put(store, "a")
    outbox.route_new(store)
    with store.reading() as txn:
        assert outbox.standing(txn, *KEY) == {"unrouted": 1}
    set_profile(store)
    assert outbox.route_new(store) == 1
    assert due(store) == [("a", "all"), ("a", "pages")]


@pytest.mark.parametrize(
    ("text", "level", "loud"),
    [
        ("agent: support", Level.PAGE, False),
        (ROUTES.replace("name: all,", "name: all, kinds: [drift],"), Level.INFORM, False),
        (ROUTES.replace("retry_for: 1 h", "kinds: [drift]"), Level.PAGE, True),
    ],
)
def test_a_page_that_the_routes_leave_out_is_a_warning(store, caplog, text, level, loud):
    set_profile(store, text)
    put(store, "a", level)
    outbox.route_new(store)
    assert ("nobody is told, no route of support takes it: a" in caplog.text) is loud


def test_what_no_route_took_for_a_day_is_left_alone(store, clock):
    put(store, "a")
    outbox.route_new(store)
    clock.advance(25 * HOUR)
    set_profile(store)
    assert outbox.route_new(store) == 0


def test_a_profile_that_a_hand_edited_loses_no_notice(box, hand):
    hand(box, "UPDATE agent_profile SET body = '{}'")
    put(box, "a")
    outbox.route_new(box)
    set_profile(box)
    assert outbox.route_new(box) == 1


def test_pages_come_first(box):
    put(box, "a", Level.INFORM)
    put(box, "b")
    outbox.route_new(box)
    assert due(box) == [("b", "all"), ("b", "pages"), ("a", "all")]


def test_of_a_route_and_level_the_oldest_goes_first(box):
    put(box, "a")
    put(box, "b")
    outbox.route_new(box)
    assert due(box) == [("a", "all"), ("a", "pages")]
    outbox.sent(box, claim(box))
    assert due(box) == [("a", "pages"), ("b", "all")]


def test_what_is_being_sent_holds_back_what_came_after_it(box):
    put(box, "a")
    put(box, "b")
    outbox.route_new(box)
    claim(box)
    assert due(box) == [("a", "pages")]


def test_a_sender_gets_what_it_has_a_transport_for(box):
    put(box, "a")
    outbox.route_new(box)
    assert due(box, transports=("slack",)) == [("a", "pages")]
    assert due(box, transports=()) == []


def test_environments_do_not_wait_for_each_other(box):
    put(box, "a")
    put(box, "b", environment="staging")
    outbox.route_new(box)
    assert {("a", "all"), ("b", "all")} <= set(due(box))


def test_a_delivery_is_claimed_once(box):
    put(box, "a")
    outbox.route_new(box)
    row = outbox.due(box, 1, ALL)[0]
    assert outbox.claim(box, row) is not None
    assert outbox.claim(box, row) is None


def test_of_many_senders_one_gets_the_claim(box):
    put(box, "a")
    outbox.route_new(box)
    row = outbox.due(box, 1, ALL)[0]
    ready = threading.Barrier(6)

    def race():
        ready.wait()
        try:
            return outbox.claim(box, row)
        finally:
            box.close()

    with ThreadPoolExecutor(6) as pool:
        won = [found for found in pool.map(lambda _: race(), range(6)) if found is not None]
    assert len(won) == 1


def test_a_sender_that_died_leaves_its_claim_to_the_next(box, clock):
    put(box, "a")
    outbox.route_new(box)
    dead = claim(box)
    clock.advance(outbox.CLAIM_US - 1)
    assert ("a", "all") not in due(box)
    clock.advance(1)
    again = claim(box)
    assert (again.id, again.attempts) == (dead.id, 2)
    assert not outbox.sent(box, dead), "its claim is another sender's by now"
    assert outbox.sent(box, again)
    assert states(box)["all"] == "sent"


def test_a_failed_try_waits_twice_as_long_each_time(box, clock):
    put(box, "a")
    outbox.route_new(box)
    for wait in (15, 30, 60):
        delivery = claim(box)
        assert outbox.failed(box, delivery, "500")
        clock.advance(wait * SECOND - 1)
        assert ("a", "all") not in due(box)
        clock.advance(1)
    assert rows(box)[0]["error"] == "500"


def test_the_wait_between_two_tries_is_an_hour_at_most():
    assert [outbox.backoff_us(n) // SECOND for n in (1, 2, 5, 9, 99)] == [15, 30, 240, 3_600, 3_600]


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(box, clock):
    put(box, "a")
    outbox.route_new(box)
    outbox.failed(box, claim(box), "429", wait_us=90 * SECOND)
    clock.advance(89 * SECOND)
    assert ("a", "all") not in due(box)
    clock.advance(SECOND)
    assert ("a", "all") in due(box)


def test_a_delivery_that_expires_is_dead_and_lets_the_next_one_go(box, clock):
    put(box, "a")
    put(box, "b")
    outbox.route_new(box)
    clock.advance(HOUR)
    assert not outbox.failed(box, claim(box), "500")
    assert rows(box)[0]["state"] == "dead"
    assert ("b", "all") in due(box)
    with box.reading() as txn:
        assert outbox.standing(txn, *KEY) == {"dead": 1, "waiting": 3}


def test_what_no_try_can_mend_is_dead_at_once(box):
    put(box, "a")
    outbox.route_new(box)
    assert not outbox.failed(box, claim(box), "404", final=True)
    assert states(box)["all"] == "dead"


def test_a_dead_delivery_may_be_tried_again(box):
    put(box, "a")
    outbox.route_new(box)
    delivery = claim(box)
    outbox.failed(box, delivery, "404", final=True)
    assert outbox.retry(box, delivery.notice_id) == 1
    assert ("a", "all") in due(box)


def test_what_nobody_could_send_is_buried_when_it_expires(box, clock):
    put(box, "a")
    outbox.route_new(box)
    assert outbox.give_up(box, ("webhook",)) == 0
    clock.advance(HOUR)
    assert outbox.give_up(box, ALL) == 0
    assert outbox.give_up(box, ("webhook",)) == 1
    assert states(box) == {"all": "waiting", "pages": "dead"}


@pytest.mark.parametrize("postponed", [True, False])
def test_what_was_tried_once_is_buried_too_where_nobody_comes_for_the_next_try(postponed, box, clock):
    put(box, "a")
    outbox.route_new(box)
    delivery = claim(box, "pages")
    if postponed:  # else the sender died over it
        outbox.failed(box, delivery, "500")
    clock.advance(HOUR)
    assert outbox.give_up(box, ("webhook",)) == 1
    assert states(box) == {"all": "waiting", "pages": "dead"}
    assert outbox.give_up(box, ("webhook",)) == 0


def test_the_route_is_read_when_it_is_sent(box):
    put(box, "a")
    outbox.route_new(box)
    delivery = claim(box)
    set_profile(box, ROUTES.replace("localhost/x", "localhost/y"))
    assert outbox.route_of(box, delivery).settings == {"url": "http://localhost/y"}
    set_profile(box, "agent: support")
    assert outbox.route_of(box, delivery) is None
