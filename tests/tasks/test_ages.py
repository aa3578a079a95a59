"""How long a step has lasted: a wall clock that jumps makes nothing earlier."""

import pytest

from evaluators.stages import Move
from lastgood.moves import ControlPoint, Lease
from tasks import ages, driving

HOUR = 3_600_000_000
POLICY = """
name: timed
lost_after: 1 min
guardrails: {completion: {margin: 30 points}}
alpha: {promote: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 10, min_time: 2 h}]
lease: 6 h
"""


@pytest.fixture
def driver(world):
    """A release that lacks nothing but the time of its step."""
    found = driving.begin(world.store, world.start(POLICY), "me")
    for _ in range(3):
        world.step(found)
    world.work(200, candidate=1.0, every=1_000_000)
    world.clock.advance(60_000_000)
    world.step(found)
    return found


def test_a_wall_clock_that_jumps_ahead_promotes_nothing(world, driver):
    world.clock.wall_us += 3 * HOUR
    assert driving.due(world.store, driver).transition.move is Move.HOLD
    world.clock.advance(2 * HOUR)
    assert driving.due(world.store, driver).transition.move is Move.PROMOTE


def test_a_wall_clock_that_jumps_back_delays_nothing(world, driver):
    world.clock.wall_us -= HOUR
    before = ages.step_age_us(world.store, world.row(driver.release_id))
    world.clock.advance(HOUR)
    assert ages.step_age_us(world.store, world.row(driver.release_id)) == before + HOUR


def test_on_another_boot_the_wall_clock_counts(world, driver):
    row = world.row(driver.release_id)
    world.clock.boot_id = "another"
    assert ages.step_age_us(world.store, row) == world.clock.wall_us - row["step_since_us"]


def test_a_step_whose_ledger_is_gone_is_measured_by_the_wall_clock(world, driver):
    row = world.row(driver.release_id)
    world.tamper("DELETE FROM ledger WHERE action = 'share'")
    world.clock.since_boot_us += HOUR
    assert ages.step_age_us(world.store, row) == world.clock.wall_us - row["step_since_us"]


def test_the_boot_clock_at_a_move_is_told_by_its_lease():
    point = ControlPoint("support", "production", "b", "vouched", lease=Lease(1_100, "here", 600))
    assert ages.began_boot_us(point, 1_000, "here") == 500
    assert ages.began_boot_us(point, 1_000, "there") is None
    assert ages.began_boot_us(ControlPoint("support", "production", "b", "vouched"), 1_000, "") is None
