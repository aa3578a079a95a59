"""What is asked of a store whose driver died: is it whole, and does the next driver bring it to an end?"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from lastgood.clock import ManualClock
from lastgood.errors import LastgoodError
from lastgood.store.connection import Store
from tasks import driving
from tests.tasks.conftest import World
from tests.tasks.crashing import Wanted

SCRIPT = Path(__file__).with_name("crashing.py")
MINUTE, SECOND = 60_000_000, 1_000_000
#: the newest time that the store holds
LATEST = """
SELECT max(at_us) AS us FROM (SELECT max(at_us) AS at_us FROM ledger UNION SELECT max(assigned_us) FROM run
UNION SELECT max(received_us) FROM outcome UNION SELECT max(at_us) FROM look) AS times
"""
UNITS = """
SELECT count(*) AS n FROM run WHERE block IS NOT NULL AND block <= (
  SELECT max(block) FROM block WHERE guardrail = 'assigned' AND block.release_id = run.release_id)
"""
COUNTED = "SELECT coalesce(sum(n_c + n_b), 0) AS n FROM block WHERE guardrail = 'assigned'"


def deaths(wanted: Wanted) -> Iterator[dict]:
    """Tell a story in a process of its own; each death as it comes. Raises where the story itself failed."""
    words = [sys.executable, str(SCRIPT), json.dumps(asdict(wanted))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as told:
        yield from map(json.loads, told.stdout)
        said = told.stderr.read()
    assert told.returncode == 0, said


def reopened(world: World, url: str) -> World:
    """The store of a death, opened by this process after the dead driver's time-out."""
    store = Store(url, ManualClock(boot_id="after"))
    found = replace(world, store=store, clock=store.clock, served=20_000)
    store.clock.wall_us = found.rows(LATEST)[0]["us"] + 3 * MINUTE
    return found


def half(world: World) -> list[str]:
    """What must never be seen: half a move, an effect twice, an epoch left out."""
    moves = world.ledger()
    epochs = [row["epoch"] for row in world.rows("SELECT epoch FROM ledger ORDER BY seq")]
    point, releases = world.point(), world.rows("SELECT * FROM release")
    live = [row for row in releases if row["ended_us"] is None]
    expected = world.candidate if "promote" in moves else world.baseline
    stages = [row["key"] for row in world.rows("SELECT key FROM stage")]
    served = world.rows("SELECT bundle_id FROM served")
    found = {
        "ends twice": moves.count("promote") + moves.count("revert") > 1,
        "starts twice": moves.count("start") > 1 or len(releases) > 1,
        "a stage twice": len(stages) != len(set(stages)),
        "served twice": len(served) != 1 + moves.count("promote"),
        "an epoch is left out": any(b - a not in {0, 1} for a, b in pairwise(epochs)),
        "the point is not the ledger's": point["epoch"] != epochs[-1],
        "the wrong baseline": point["baseline"] != expected,
        "held by nobody": point["release_id"] != (live[0]["id"] if live else None),
        "a run counted twice or not at all": world.rows(UNITS)[0]["n"] != world.rows(COUNTED)[0]["n"],
        "the router differs": served_now(world) != (point["baseline"], point["epoch"]),
    }
    return [name for name, seen in found.items() if seen]


def served_now(world: World) -> tuple[str, int]:
    """Baseline and epoch that a router knows which comes to the store now, once it was asked for a run."""
    serving = world.serving
    if world.store.path is None:  # it would listen to the server; what it reads is the same
        with world.store.transaction() as txn:
            snapshot = serving.locked(txn).snapshot
    else:
        serving.router.route("somebody")
        snapshot = serving.router.snapshot
    return snapshot.baseline.id, snapshot.point.epoch


@dataclass(frozen=True)
class Recovery:
    """What became of a release whose driver died."""

    #: seconds that the next driver took to bring it up to date
    seconds: float
    #: what was half, right after the death or later; empty: nothing ever was
    problems: tuple[str, ...]
    #: state of the release at last; None where its start never committed
    state: str | None


def recovered(world: World, good: float, *, rounds: int = 30, runs: int = 80) -> Recovery:
    """Let the schedule drive, for `rounds` looks at most; every state from the death to there is whole."""
    problems, took = half(world), 0.0
    for number in range(rounds):
        if number:
            world.work(runs, candidate=good, every=2 * SECOND)
        began = time.monotonic()
        try:
            for release_id in driving.live_releases(world.store):
                driving.evaluate(world.store, release_id, "the schedule")
        except LastgoodError as error:
            problems.append(f"can't be driven: {type(error).__name__}")
            break
        took = took or time.monotonic() - began
        problems += half(world)
        if not driving.live_releases(world.store):
            break
    releases = world.rows("SELECT state FROM release")
    return Recovery(took, tuple(problems), releases[0]["state"] if releases else None)
