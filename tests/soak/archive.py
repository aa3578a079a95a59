"""All that the store ever held, copied before retention deletes it; and retention, at work meanwhile."""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from lastgood import ledger, retention
from lastgood.errors import StoreUnavailable
from lastgood.store.connection import Store, Transaction
from tests.soak.checks import SUMS, Ran, State, miscounted

_RUNS = """
SELECT run.id, run.agent, run.unit, run.bundle_id, run.arm, run.epoch, run.release_id, run.reason,
  run.assigned_us, run.task_type, run.block, outcome.completed, outcome.cost_usd,
  outcome.run_id IS NOT NULL AS ended
FROM run LEFT JOIN outcome ON outcome.run_id = run.id
"""
_LATE = "SELECT run_id, fields FROM late_report ORDER BY seq"
#: a late report of a release whose evidence is gone leaves a sum of its own, until the next pruning
_TALLIES = f"""
SELECT release_id, task_type, block, arm, {", ".join(SUMS)} FROM tally
WHERE release_id IN (SELECT id FROM release WHERE pruned_us IS NULL)
"""
#: runs of a bundle in service that stay whatever their age; 20,000 no bundle here would reach
HISTORY_RUNS = 500
_LEDGER = "SELECT agent, seq, at_us, action, epoch, point FROM ledger"


@dataclass
class Archive:
    """What was copied so far. `snapshot` sees one moment of the store."""

    store: Store
    runs: dict[str, Ran] = field(default_factory=dict)
    states: dict[tuple[str, int], State] = field(default_factory=dict)
    #: sums that differed from a recount at some snapshot
    miscounted: list[str] = field(default_factory=list)
    #: cells that were recounted, over all snapshots
    cells: int = 0
    snapshots: int = 0
    #: what retention deleted
    pruned: Counter = field(default_factory=Counter)
    #: seconds that each pruning took
    took: list[float] = field(default_factory=list)
    #: what broke the housekeeping
    broken: list[Exception] = field(default_factory=list)

    def snapshot(self) -> None:
        """Copy what is there, and hold the sums to a recount of the same moment."""
        with self.store.reading() as txn:
            self._copy(txn)
            rows = [tuple(row.values()) for row in map(dict, txn.all(_TALLIES))]
        tallies = {row[:4]: tuple(map(int, row[4:])) for row in rows}
        self.cells += len(tallies)
        self.miscounted += miscounted(self.runs.values(), tallies)
        self.snapshots += 1

    def _copy(self, txn: Transaction) -> None:
        for row in txn.all(_RUNS):
            values = dict(row)
            completed = values.pop("completed")
            found = Ran(**values, completed=None if completed is None else bool(completed))
            before = self.runs.get(found.id)
            self.runs[found.id] = found if before is None else replace(found, edits=before.edits)
        for row in txn.all(_LATE):
            edits = json.loads(row["fields"]).get("operator_edits")
            if row["run_id"] in self.runs and edits is not None:
                self.runs[row["run_id"]] = replace(self.runs[row["run_id"]], edits=edits)
        for row in txn.all(_LEDGER):
            if (row["agent"], row["seq"]) not in self.states:
                self.states[row["agent"], row["seq"]] = _state(dict(row))

    def prune(self, limits: retention.Limits) -> None:
        """Delete what is beyond its limit: what a night's `lastgood db prune` does."""
        retention.HISTORY_RUNS = HISTORY_RUNS
        began = time.monotonic()
        done = retention.prune(self.store, limits, actor="soak")
        self.took.append(time.monotonic() - began)
        self.pruned.update(
            runs=done.runs, conversations=done.conversations, releases=done.releases, ledger=done.ledger
        )

    def verified(self, agents: tuple[str, ...], environment: str) -> list[str]:
        """Ledgers that do not verify."""
        wrong = []
        for agent in agents:
            try:
                ledger.verify(self.store, agent, environment)
            except Exception as error:  # noqa: BLE001  counted and shown
                wrong.append(f"{agent}: {error}")
        return wrong


def _state(row: dict[str, Any]) -> State:
    point = json.loads(row.pop("point"))
    names = ("baseline", "candidate", "release_id", "share_bp", "killed")
    until_us = point["lease"]["boot_until_us"]
    return State(**row, **{name: point[name] for name in names}, lease_until_us=until_us)


class Housekeeper:
    """Copies and prunes again and again, in a thread of its own."""

    def __init__(self, archive: Archive, limits: retention.Limits, every_s: float) -> None:
        self._archive, self._limits, self._every_s = archive, limits, every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-housekeeper")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(120)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._archive.snapshot()
                self._archive.prune(self._limits)
            except StoreUnavailable:
                continue  # it is being restarted: the next round makes up for it
            except Exception as error:  # noqa: BLE001  told at the end
                self._archive.broken.append(error)
        self._archive.store.close()
