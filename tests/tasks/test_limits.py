"""Limits: the ceilings are those of the frozen policy before a candidate is served."""

import pytest

from lastgood import points, releasing, reserving
from lastgood.caps import Caps
from lastgood.errors import InvalidMove
from tasks import driving, limits
from tasks.readings import time_of

HOUR = 3_600_000_000
CAPPED = """
name: capped
guardrails: {completion: {margin: 15 points, matures: 10 min}}
caps:
  spend_usd_per_hour: 5
  spend_usd_per_run: 0.5
  runs_per_hour: 9
  actions_per_run: {message: 3}
  actions_per_hour: {message: 20}
steps: [{share: 50%}]
lease: 6 h
"""


def disarm(world, release_id):
    """A control point whose ceilings are not the policy's, sealed: a defect of ours, not a hand's."""
    from dataclasses import replace

    from lastgood.ledger import Entry

    with world.store.transaction(durable=True) as txn:
        point = points.read(txn, "support", "production")
        loose = replace(point, terms=replace(point.terms, caps=Caps(runs_per_hour=None)))
        points.move(txn, point, loose, Entry("test", "test", "planted", release_id))


def test_each_ceiling_is_told_with_its_headroom(world):
    release_id = world.start(CAPPED)
    assert limits.verify(world.store, release_id) == (
        "spend $0.00 of $5.00 this hour",
        "spend of one run at most $0.50",
        "candidate runs 0 of 9 this hour",
        "message actions of one run at most 3",
        "message actions 0 of 20 this hour",
    )


def test_what_is_taken_and_reserved_counts(world):
    release_id = world.start(CAPPED)
    driver = driving.begin(world.store, release_id, "me")
    world.step(driver)
    arms = [world.assign().decision.arm for _ in range(6)]
    taken = arms.count("candidate")
    assert taken > 0
    lines = limits.verify(world.store, release_id)
    assert lines[0] == f"spend ${taken * 0.5:.2f} of $5.00 this hour"
    assert lines[2] == f"candidate runs {taken} of 9 this hour"


def test_the_next_hour_is_free_again(world):
    release_id = world.start(CAPPED)
    driver = driving.begin(world.store, release_id, "me")
    world.step(driver)
    for _ in range(6):
        world.assign()
    world.clock.advance(HOUR)
    assert limits.verify(world.store, release_id)[2] == "candidate runs 0 of 9 this hour"


def test_a_release_that_waits_for_a_ceiling_says_until_when(world):
    release_id = world.start(CAPPED)
    driver = driving.begin(world.store, release_id, "me")
    while not driving.due(world.store, driver).waits:
        world.step(driver)
    assert "ceiling" not in driving.due(world.store, driver).transition.reason
    while world.assign().decision.reason != "cap":
        pass
    world.clock.advance(driving.due(world.store, driver).interval_us)
    said = driving.due(world.store, driver).transition.reason
    ends = time_of(reserving.window(world.clock.now_us()) + HOUR)
    ceiling = "; the ceiling of 9 an hour on candidate runs is reached"
    assert said.endswith(f"{ceiling}, and no run is evidence until {ends:%H:%M} UTC")
    world.clock.advance(HOUR)
    with world.store.reading() as txn:
        assert limits.full(txn, release_id, Caps(runs_per_hour=9)) == ""


def test_a_ceiling_of_spend_is_full_when_one_more_run_does_not_fit(world):
    release_id = world.start(CAPPED.replace("runs_per_hour: 9", "runs_per_hour: 900"))
    driver = driving.begin(world.store, release_id, "me")
    world.step(driver)
    while world.assign().decision.reason != "cap":
        pass
    with world.store.reading() as txn:
        said = limits.full(txn, release_id, Caps(spend_usd_per_hour=5, spend_usd_per_run=0.5))
    assert said.startswith("the ceiling of $5.00 an hour on the candidate's spend is reached")


def test_no_ceiling_says_nothing():
    assert limits.describe(Caps(None, None, None), {}) == ()


def test_ceilings_that_are_not_the_policys_are_refused(world):
    release_id = world.start(CAPPED)
    disarm(world, release_id)
    with pytest.raises(InvalidMove, match="are not those of the policy capped: `lastgood rollback support`"):
        limits.verify(world.store, release_id)


def test_a_candidate_without_its_ceilings_is_never_served(world):
    release_id = world.start(CAPPED)
    disarm(world, release_id)
    driver = driving.begin(world.store, release_id, "me")
    with pytest.raises(InvalidMove):
        world.step(driver)
    assert world.point()["share_bp"] == 0


def test_a_release_whose_ceilings_are_gone_is_not_reopened_and_ends_at_its_horizon(world):
    release_id = world.start(CAPPED)
    driver = driving.begin(world.store, release_id, "me")
    world.until(driver, "compare")
    disarm(world, release_id)
    world.clock.advance(7 * HOUR)
    for _ in range(2):
        with pytest.raises(InvalidMove):
            driving.evaluate(world.store, release_id, "the schedule")
        assert world.point()["share_bp"] == 0
    world.clock.advance(29 * 24 * HOUR)
    driving.evaluate(world.store, release_id, "the schedule")
    assert releasing.ReleaseState(world.row(release_id)["state"]) == "reverted"
