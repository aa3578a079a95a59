"""One look at a release with few recorded runs and with very many: the same work.

BENCH_RUNS sets the larger number (10,000,000: building that store takes ten minutes and 10 GB of disk).
"""

import json
import os
import sqlite3
import statistics
import time
from pathlib import Path

import pytest

from lastgood.store import statements as sql
from tasks import comparison, frames

pytestmark = pytest.mark.benchmark

FEW, MANY = 10_000, int(os.environ.get("BENCH_RUNS", "10000000"))
#: runs between two looks, and looks that are measured
NEW, LOOKS = 200, 15
BLOCK = 20
FILL = """
WITH RECURSIVE k(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM k WHERE i < :last)
INSERT INTO run (seq, id, agent, environment, unit, task_type, risk, bundle_id, arm, epoch, release_id,
  eligible, reason, share_bp, block, assigned_us)
SELECT :seq + i, 'run_' || (:seq + i), 'support', 'production', 'u' || i, 'faq', 'low',
  iif(abs(random()) % 2 = 0, :candidate, :baseline), '', :epoch, :release, 1, 'eligible', 5000, i / 20,
  :now + i * 10 FROM k
"""
ARMS = "UPDATE run SET arm = iif(bundle_id = :candidate, 'candidate', 'baseline') WHERE arm = ''"
OUTCOMES = """
INSERT INTO outcome (run_id, received_us, status, completed, validated, escalated, incidents, cost_usd,
  operator_edits, latency_s, infra_failure, usage, metrics)
SELECT id, assigned_us + 5, 'ended', abs(random()) % 100 >= 8, abs(random()) % 100 >= 3, 0, 0, 0.08, 0, 2.0,
  0, '[]', '{}' FROM run WHERE seq > :seq + :first - 1 AND seq <= :seq + :last
"""
SEALED = """
WITH RECURSIVE k(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM k WHERE i < :last)
INSERT INTO block (release_id, guardrail, stratum, block, share_bp, n_c, y_c, n_b, y_b)
SELECT :release, g.name, 'all', i, 5000, 10, 0, 10, 0 FROM k, (SELECT DISTINCT guardrail AS name FROM block) g
"""


class Filled:
    """A release whose runs are inserted by SQL, as if they had been served."""

    def __init__(self, world, policy):
        self.world, self.id = world, world.start(policy)
        self.runs = 0
        (last,) = world.rows("SELECT max(seq) AS seq FROM run")
        self.seq, self.now = last["seq"] + 1, world.clock.now_us()

    def add(self, runs):
        """Serve so many more runs; they are matured at once."""
        first, last = self.runs, self.runs + runs - 1
        known = {
            "first": first, "last": last, "seq": self.seq, "now": self.now, "release": self.id,
            "candidate": self.world.candidate, "baseline": self.world.baseline,
            "epoch": self.world.point()["epoch"],
        }  # fmt: skip
        connection = sqlite3.connect(self.world.store.path, isolation_level=None)
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;")
        for statement in ("BEGIN", FILL, ARMS, OUTCOMES, "COMMIT"):
            connection.execute(statement, {k: v for k, v in known.items() if f":{k}" in statement})
        connection.close()
        self.runs += runs
        self.world.clock.advance(runs * 10 + 3_600_000_000)

    def seal(self):
        """Take all runs for judged: the state of a comparison does not grow with them."""
        stored = self.world.rows(sql.EVIDENCE, release_id=self.id)[0]
        state, sealed = json.loads(stored["state"]), json.loads(stored["sealed"])
        last = self.runs // BLOCK - 1
        before = state["assigned"]["last"]["all"]
        state["assigned"]["last"]["all"] = last
        for found in state["guardrails"].values():
            for part in (found.get("every") or {}).get("slices", {}).values():
                part["last"] = last
        for progress in sealed.values():
            progress |= {"after": self.seq + self.runs - 1, "sealed": {"all": last}}
        connection = sqlite3.connect(self.world.store.path, isolation_level=None)
        connection.execute(SEALED, {"first": before + 1, "last": last, "release": self.id})
        connection.execute(
            "UPDATE evidence SET state = ?, sealed = ? WHERE release_id = ?",
            (frames.plain(state), frames.plain(sealed), self.id),
        )
        connection.close()

    def look(self):
        """CPU seconds of one look at new runs."""
        self.add(NEW)
        began = time.process_time()
        made = comparison.look(self.world.store, self.world.row(self.id))
        taken = time.process_time() - began
        assert made.verdict.assigned > 0
        return taken


def test_one_look_costs_the_same_at_ten_thousand_and_at_ten_million_runs(world, one_step):
    release = Filled(world, one_step)
    release.add(FEW)
    comparison.look(world.store, world.row(release.id))
    few = [release.look() for _ in range(LOOKS)]
    release.add(MANY - release.runs)
    release.seal()
    many = [release.look() for _ in range(LOOKS)]
    size = Path(world.store.path).stat().st_size / 1e9
    ratio = statistics.median(many) / statistics.median(few)
    print(
        f"\none look at {NEW} new runs: {statistics.median(few) * 1e3:.1f} ms CPU at {FEW:,} recorded runs,"
        f" {statistics.median(many) * 1e3:.1f} ms at {release.runs:,} ({size:.1f} GB): ratio {ratio:.2f}"
    )
    assert ratio <= 1.5
