"""A driver that is killed at any commit of a release: the next one goes on, and nothing is done twice.

One round on SQLite; `make faults` does twenty on both stores, and interrupts and asks to end too.
"""

import signal
import tempfile

import pytest

from tests.conftest import _memory
from tests.tasks.crashing import Wanted
from tests.tasks.recovering import deaths, recovered, reopened

#: a good and a bad candidate; up to its first look the second story is the first one
STORIES = {"promote": (1.0, "promoted", 1), "revert": (0.0, "reverted", 8)}
#: a process dies before COMMIT, or before anybody is told of it; `make faults` has it die after both too
DEATHS = (("before", signal.SIGKILL), ("between", signal.SIGKILL))


@pytest.fixture(scope="module", params=STORIES.values(), ids=STORIES)
def crashed(request, stores):
    """The crash points of one story: their stores as the kill left them, and how it should end."""
    good, end, first = request.param
    world = stores["seasoned"]
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="lastgood-crash-") as place:
        wanted = Wanted(world.store.url, place, world.clock.wall_us, good, first, deaths=DEATHS)
        yield world, list(deaths(wanted)), good, end


def test_every_point_was_a_kill(crashed):
    _, points, _, _ = crashed
    assert {point["signal"] for point in points} == {signal.SIGKILL}
    assert len(points) == len({point["point"] for point in points})


def test_every_kind_of_commit_was_a_point(crashed):
    _, points, _, end = crashed
    names = {point["point"].split()[2] for point in points}
    looking = {"comparison._gather", "comparison._keep", "releasing.renew"}
    opening = {"start", "take_over", "set_share", "enter"}
    if end == "reverted":
        assert names == looking | {"releasing.revert"}
    else:
        expected = looking | {f"releasing.{name}" for name in opening}
        assert names == expected | {"limits.verify", "releasing.promote"}


def test_a_release_killed_at_any_commit_is_finished_by_the_next_driver(crashed):
    world, points, good, end = crashed
    for point in points:
        found = reopened(world, point["store"])
        recovery = recovered(found, good)
        never_started = point["point"] == "before 1 releasing.start"
        assert recovery.state == (None if never_started else end), point["point"]
        assert recovery.problems == (), point["point"]
        found.store.close()
