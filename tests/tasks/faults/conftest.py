"""Faults by script: a short version runs in the suite, `make faults` runs a long one and prints the figures.

A release stands right before its promotion; each case spoils a copy of its store and decides once. Without
the fault the same decision promotes, so a case that promotes did so on spoilt evidence.
"""

import json
import os
import shutil
import sqlite3
import sys
from dataclasses import dataclass, replace

import pytest

from evaluators.referees import sampler
from evaluators.stages import Move
from lastgood.running import Run
from tasks import driving, judges
from tasks.comparison import Frozen

MINUTE = 60_000_000
POLICY = """
name: ready
lost_after: 1 min
guardrails:
  completion: {margin: 45 points}
  cost: {margin_rel: 300%}
  judge: {column: mark, kind: score, better: higher, margin_own: 0.45}
  polite: {column: polite, bad: false, margin: 45 points}
reference: {polite: 0.9}
referee: {column: polite, sample: 100%, rubric: "is it polite?"}
alpha: {revert: 0.01, promote: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 20}]
block: {size: 10, time: 1 h}
lease: 6 h
"""


def serve(world, runs):
    """Healthy runs of both arms; their ids."""
    made = []
    for _ in range(runs):
        world.clock.advance(100_000)
        with Run(world.store, world.assign()) as run:
            run.output = "please"
            run.report(
                completed=world.draw.random() < 0.9, cost_usd=world.draw.lognormvariate(-3, 0.3), mark=0.8
            )
        made.append(run.id)
    return made


@pytest.fixture(scope="session")
def cases():
    """How many cases of each fault are tried."""
    return int(os.environ.get("FAULT_CASES", "1"))


@pytest.fixture(scope="session")
def figure():
    """Says a fault's figure where somebody reads along (`make faults`)."""
    return lambda line: sys.stdout.write(f"\n{line}")


@dataclass(frozen=True)
class Ready:
    """A release right before its promotion."""

    world: object
    release_id: str

    def decided(self, folder, spoil):
        """What is due once `spoil(connection)` has changed a copy of the store."""
        copy = folder / "case.db"
        shutil.copy(self.world.store.path, copy)
        connection = sqlite3.connect(copy, isolation_level=None)
        spoil(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        world = replace(self.world, store=type(self.world.store)(f"sqlite:///{copy}", self.world.clock))
        try:
            return driving.due(
                world.store, driving.begin(world.store, self.release_id, "again")
            ).transition.move
        finally:
            world.store.close()
            copy.unlink()


@pytest.fixture(scope="module")
def ready(make_world, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("ready"))
    serve(world, 150)
    world.clock.advance(2 * MINUTE)
    release_id = world.start(POLICY)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    made = serve(world, 420)
    spec = Frozen.of(driving.read(world.store, release_id)[0]).policy.referee
    drawn = filter(sampler(release_id, "polite", 10_000).draws, made)
    mark = {"judgement": {"column": "polite", "mark": True, "digest": judges.digest_of(spec)}}
    with world.store.transaction() as txn:
        for run_id in drawn:
            values = {"run_id": run_id, "received_us": txn.now_us, "fields": json.dumps(mark)}
            txn.insert("late_report", values)
    world.clock.advance(2 * MINUTE)
    world.store.close()
    with sqlite3.connect(world.store.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    found = Ready(world, release_id)
    assert found.decided(tmp_path_factory.mktemp("control"), lambda _connection: None) is Move.PROMOTE
    return found
