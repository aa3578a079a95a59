"""A driver that is killed at any commit of a release: the next one goes on, and nothing is done twice."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from lastgood.clock import ManualClock
from tasks import driving

SCRIPT = Path(__file__).with_name("crashing.py")
MINUTE, SECOND = 60_000_000, 1_000_000
#: the newest time that the store holds
LATEST = """
SELECT max(at_us) AS us FROM (SELECT max(at_us) AS at_us FROM ledger UNION SELECT max(assigned_us) FROM run
UNION SELECT max(received_us) FROM outcome UNION SELECT max(at_us) FROM look)
"""
UNITS = """
SELECT count(*) AS n FROM run WHERE block IS NOT NULL AND block <= (
  SELECT max(block) FROM block WHERE guardrail = 'assigned' AND block.release_id = run.release_id)
"""
COUNTED = "SELECT coalesce(sum(n_c + n_b), 0) AS n FROM block WHERE guardrail = 'assigned'"


#: a good and a bad candidate; up to its first look the second story is the first one
STORIES = {"promote": (1.0, "promoted", 1), "revert": (0.0, "reverted", 8)}


@pytest.fixture(scope="module", params=STORIES.values(), ids=STORIES)
def crashed(request, stores, tmp_path_factory):
    """The crash points of one story: their stores as the kill left them, and how it should end."""
    good, end, first = request.param
    world, place = stores["seasoned"], tmp_path_factory.mktemp("crashes")
    words = [sys.executable, str(SCRIPT), str(world.store.path), str(place)]
    words += [str(world.clock.wall_us), str(good), str(first)]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    points = [json.loads(line) for line in made.stdout.splitlines()]
    return world, points, good, end


def reopened(world, point):
    """The store of a point, opened by this process after the killed driver's time-out."""
    store = type(world.store)(f"sqlite:///{point['store']}", ManualClock(boot_id="after"))
    found = replace(world, store=store, clock=store.clock, served=20_000)
    store.clock.wall_us = found.rows(LATEST)[0]["us"] + 3 * MINUTE
    return found


def faults(world):
    """What must never be seen: half a move, an effect twice, an epoch left out."""
    moves = world.ledger()
    epochs = [row["epoch"] for row in world.rows("SELECT epoch FROM ledger ORDER BY seq")]
    point, releases = world.point(), world.rows("SELECT * FROM release")
    live = [row for row in releases if row["ended_us"] is None]
    expected = world.candidate if "promote" in moves else world.baseline
    return {
        "ends twice": moves.count("promote") + moves.count("revert") > 1,
        "starts twice": moves.count("start") > 1 or len(releases) > 1,
        "an epoch is left out": any(b - a not in {0, 1} for a, b in pairwise(epochs)),
        "the point is not the ledger's": point["epoch"] != epochs[-1],
        "the wrong baseline": point["baseline"] != expected,
        "held by nobody": point["release_id"] != (live[0]["id"] if live else None),
        "a run counted twice or not at all": world.rows(UNITS)[0]["n"] != world.rows(COUNTED)[0]["n"],
    }


def recovered(world, good):
    """Let the schedule drive to the end; every state from the kill to there is whole."""
    assert not any(faults(world).values()), faults(world)
    for _ in range(30):
        live = driving.live_releases(world.store)
        if live:
            driving.evaluate(world.store, live[0], "the schedule")
        assert not any(faults(world).values()), faults(world)
        if not driving.live_releases(world.store):
            return world.rows("SELECT state FROM release")
        world.work(80, candidate=good, every=2 * SECOND)
    raise AssertionError("the release never ended")


def test_every_point_was_a_kill(crashed):
    _, points, _, _ = crashed
    assert {point["signal"] for point in points} == {signal.SIGKILL}
    assert len(points) == len({point["point"] for point in points})


def test_every_kind_of_commit_was_a_point(crashed):
    _, points, _, end = crashed
    names = {point["point"].split()[2] for point in points}
    looking = {"comparison.look", "releasing.renew"}
    opening = {"start", "take_over", "set_share", "enter"}
    if end == "reverted":
        assert names == looking | {"releasing.revert"}
    else:
        expected = looking | {f"releasing.{name}" for name in opening}
        assert names == expected | {"limits.verify", "releasing.promote"}


def test_a_release_killed_at_any_commit_is_finished_by_the_next_driver(crashed):
    world, points, good, end = crashed
    for point in points:
        found = reopened(world, point)
        states = recovered(found, good)
        never_started = point["point"] == "before 1 releasing.start"
        assert states == ([] if never_started else [{"state": end}]), point["point"]
        stages = [row["key"] for row in found.rows("SELECT key FROM stage")]
        assert len(stages) == len(set(stages))
        served = found.rows("SELECT bundle_id FROM served")
        assert len(served) == (2 if states and end == "promoted" else 1)
        found.store.close()
