"""What the scheduled evaluation does to releases that it drives: seldom looks, few writes, no jump."""

import pytest

from lastgood import control
from lastgood.errors import StaleDriver
from tasks import beats, comparison, driving
from tasks.beats import SCHEDULE

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
LONG = """
name: long
lost_after: 1 min
look_every: 10 min
lease: 6 h
guardrails: {completion: {margin: 2 points}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 20%, min_runs: 5000, rule_out: 2}, {share: 50%}]
horizon: {runs: 1000000}
reference: {completion: 0.9}
"""
POINT = "SELECT epoch, lease_seq, driver_term FROM control_point"


def scheduled(world, release_id):
    return driving.evaluate(world.store, release_id, SCHEDULE, MINUTE)


@pytest.fixture
def comparing(world):
    """A release that the schedule drives and that compares."""
    release_id = world.start(LONG)
    scheduled(world, release_id)
    return world, release_id


def written(world):
    tables = ("ledger", "look", "block", "stage", "sealed_tally")
    counts = [world.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables]
    return counts, world.rows(POINT), world.rows("SELECT * FROM evidence")


def test_a_look_without_new_evidence_writes_nothing(comparing):
    world, release_id = comparing
    world.work(40)
    world.clock.advance(70 * MINUTE)  # the last block is closed by the clock
    scheduled(world, release_id)
    before = written(world)
    assert before[0][1] > 0
    for _ in range(6):
        world.clock.advance(11 * MINUTE)
        _, due = scheduled(world, release_id)
        assert due.look.seq == before[0][1]
    assert written(world) == before


def test_between_two_looks_of_the_policy_nothing_is_even_read(comparing, monkeypatch):
    world, release_id = comparing
    world.clock.advance(11 * MINUTE)
    world.work(40)
    assert scheduled(world, release_id) is not None
    # the lease is long: the last sign of life stays what it was
    looked = []
    monkeypatch.setattr(comparison, "look", lambda *_given: looked.append(1))
    world.tamper("UPDATE release SET driver_seen_us = ?", world.clock.now_us())
    for _ in range(8):
        world.clock.advance(MINUTE)
        assert scheduled(world, release_id) is None
    assert looked == []


def test_a_lease_that_would_soon_run_out_is_renewed(comparing):
    world, release_id = comparing
    before = world.rows(POINT)[0]["lease_seq"]
    world.clock.advance(5 * HOUR + 40 * MINUTE)
    scheduled(world, release_id)
    row = world.rows(POINT)[0]
    assert row["lease_seq"] == before + 1
    assert world.point()["lease_until_us"] > world.clock.now_us() + 5 * HOUR


def test_the_schedule_keeps_its_term_and_writes_no_takeover_each_minute(comparing):
    world, release_id = comparing
    terms = {row["driver_term"] for row in world.rows(POINT)}
    for _ in range(3):
        world.clock.advance(11 * MINUTE)
        world.work(5)
        scheduled(world, release_id)
    assert {row["driver_term"] for row in world.rows(POINT)} == terms
    assert world.ledger().count("takeover") == 1


def test_after_an_outage_it_lapses_reopens_and_goes_on_without_a_jump(comparing):
    world, release_id = comparing
    world.work(40)
    world.clock.advance(9 * HOUR)
    scheduled(world, release_id)
    moves = world.ledger()
    assert moves[-4:] == ["lapse", "share", "arm", "compare"] or moves[-5:-1] == [
        "lapse", "share", "arm", "compare"
    ]  # fmt: skip
    epochs = [row["epoch"] for row in world.rows("SELECT DISTINCT epoch FROM ledger ORDER BY epoch")]
    assert epochs == list(range(1, len(epochs) + 1))
    assert world.row(release_id)["step"] == 0


def test_a_flow_hands_its_release_to_a_schedule_that_is_at_work(world):
    release_id = world.start(LONG)
    driver = driving.begin(world.store, release_id, "flow run x")
    world.until(driver, "compare")
    assert not driving.may_hand_over(world.store, driver, MINUTE)  # there never was one
    beats.beat(world.store)
    assert driving.may_hand_over(world.store, driver, MINUTE)
    driving.hand_over(world.store, driver, "long")
    with pytest.raises(StaleDriver):
        driving.due(world.store, driver)
    world.clock.advance(SECOND)
    assert scheduled(world, release_id) is not None or world.row(release_id)["driver"] == SCHEDULE
    world.clock.advance(11 * MINUTE)
    assert scheduled(world, release_id) is not None
    assert world.row(release_id)["driver"] == SCHEDULE


def test_nothing_is_handed_to_a_schedule_that_is_silent_or_too_slow_for_the_lease(world):
    release_id = world.start(LONG)
    driver = driving.begin(world.store, release_id, "flow run x")
    beats.beat(world.store)
    assert not driving.may_hand_over(world.store, driver, 3 * HOUR)
    world.clock.advance(3 * MINUTE)
    assert not driving.may_hand_over(world.store, driver, MINUTE)


def test_a_driver_that_was_overtaken_hands_nothing_over(world):
    release_id = world.start(LONG)
    driver = driving.begin(world.store, release_id, "flow run x")
    driving.begin(world.store, release_id, "another")
    with pytest.raises(StaleDriver, match="was taken over by another"):
        driving.hand_over(world.store, driver, "long")
    assert world.row(release_id)["driver"] == "another"


def test_a_kill_switch_is_seen_between_two_looks_all_the_same(comparing):
    world, release_id = comparing
    control.kill(world.store, "support", "production", actor="ann", reason="drill")
    world.clock.advance(11 * MINUTE)
    _, due = scheduled(world, release_id)
    assert due.transition.reason == "the kill switch is on: no candidate run starts"
