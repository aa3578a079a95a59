"""A release that began under an older version goes on under this one."""

import json
from itertools import pairwise

import pytest

from lastgood import ledger
from tasks.comparison import look
from tasks.verification import verify
from tests import upgrading
from tests.lastgood.conftest import _hand as hand
from tests.lastgood.test_tallies import live, recount
from tests.tasks.conftest import World
from tests.upgrading import opened_fixture, templates_fixture  # noqa: F401  fixtures


@pytest.fixture(params=["sqlite", "postgres"])
def store_kind(request):
    return request.param


@pytest.fixture(params=upgrading.SCHEMAS)
def old(request, opened):
    return opened(request.param, upgraded=True)


@pytest.fixture
def world(old):
    """The world of the release under way; its units are new ones."""
    row = old.live
    return World(old.store, old.clock, row["baseline"], row["candidate"], served=10_000)


def verified(old, release_id):
    with old.store.reading() as txn:
        return verify(txn, release_id)


def candidates(look):
    """Candidate runs that a stored look counted."""
    return json.loads(look["verdict"])["candidate_runs"]


@pytest.mark.parametrize(
    ("rate", "ended", "last"), [(1.0, "promoted", "promote"), (0.2, "reverted", "revert")]
)
def test_it_goes_on_to_its_end(old, world, rate, ended, last):
    release_id, looks = old.live["id"], len(old.all("SELECT * FROM look"))
    moves = world.drive(release_id, runs=60, candidate=rate)
    assert (world.row(release_id)["state"], moves[-1]) == (ended, last)
    assert world.point()["baseline"] == (world.candidate if ended == "promoted" else world.baseline)
    assert len(old.all("SELECT * FROM look")) > looks
    assert live(old) == recount(old)
    ledger.verify(old.store, world.agent, world.environment)
    epochs = [row["epoch"] for row in old.all("SELECT epoch FROM ledger ORDER BY environment, seq")]
    assert all(later - earlier in {0, 1} or later < earlier for earlier, later in pairwise(epochs))


def test_its_first_look_counts_what_the_old_ones_did_and_what_came_since(old, world):
    release_id = old.live["id"]
    query = "SELECT * FROM look WHERE release_id = :id ORDER BY seq"
    before = old.all(query, id=release_id)
    world.work(30, every=2_000_000)
    old.clock.advance(3 * 60_000_000)
    look(old.store, old.live)
    made = old.all(query, id=release_id)[-1]
    assert made["seq"] == before[-1]["seq"] + 1
    runs = old.all(
        "SELECT count(*) AS n FROM run WHERE release_id = :id AND arm = 'candidate' AND block IS NOT NULL",
        id=release_id,
    )[0]["n"]
    assert candidates(before[-1]) < candidates(made) == runs


def test_what_older_versions_judged_is_named_and_what_this_one_judged_is_recomputed(old, world):
    release_id = old.live["id"]
    older = old.all("SELECT max(seq) AS seq FROM look WHERE release_id = :id", id=release_id)[0]["seq"]
    world.drive(release_id, looks=6, runs=60)
    found = verified(old, release_id)
    assert found.looks > older
    if old.schema == "0001":  # schema 0002 came with other statistics
        (difference,) = found.differences
        assert f"looks 1 to {older} were judged by an older version of lastgood" in difference.what
    else:
        assert found.differences == ()


def test_a_look_of_this_version_that_was_changed_is_found_behind_older_ones(old, world):
    release_id = old.live["id"]
    world.drive(release_id, looks=6, runs=60)
    last = old.all("SELECT max(seq) AS seq FROM look WHERE release_id = :id", id=release_id)[0]["seq"]
    hand(old.store, "UPDATE look SET decision = 'revert' WHERE release_id = ? AND seq = ?", release_id, last)
    assert verified(old, release_id).differences[-1].look == last
