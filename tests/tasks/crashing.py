"""Drives one small release, in a process of its own each time, that kills itself at one of the commits.

`python crashing.py STORE PLACE CLOCK GOOD FIRST`: STORE is copied to PLACE for each point; CLOCK is its time
in microseconds, GOOD the candidate's chance to complete, FIRST the number of the first commit to die at.
Prints one JSON line a point: its name, its copy of the store, and the signal that ended the process.
"""

import json
import os
import random
import shutil
import signal
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from conftest import Unsynced, World  # noqa: E402  found by the line above

from lastgood import ids, registry, releasing  # noqa: E402
from lastgood.clock import ManualClock  # noqa: E402
from lastgood.store.connection import Store  # noqa: E402
from tasks import preflight  # noqa: E402

POLICY = """
name: crash
lost_after: 1 min
guardrails: {completion: {margin: 30 points}}
alpha: {promote: 0.2, revert: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%, min_runs: 5, rule_out: 10}, {share: 60%, min_runs: 5}]
"""


class Point:
    """Counts the commits of the driver, and kills the process at one of them."""

    def __init__(self, number: int, when: str) -> None:
        self.number, self.when, self.seen, self.counting = number, when, 0, False
        self.names: list[str] = []

    def reach(self, when: str) -> None:
        if not self.counting:
            return
        if when == "before":
            self.seen += 1
            self.names.append(committer())
        if (self.seen, when) == (self.number, self.when):
            os.kill(os.getpid(), signal.SIGKILL)


def committer() -> str:
    """Module and function whose transaction commits."""
    frame = sys._getframe(1)
    while "/tests/" in frame.f_code.co_filename or frame.f_code.co_filename.endswith("contextlib.py"):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


class Serving(World):
    """A world whose agent's own commits are no points."""

    point: Point

    def work(self, runs: int, **given) -> None:
        was, self.point.counting = self.point.counting, False
        super().work(runs, **given)
        self.point.counting = was


def patch(point: Point) -> None:
    """Let every transaction pass by the point."""
    real = Store.transaction

    @contextmanager
    def transaction(self, **given):
        with real(self, **given) as txn:
            yield txn
            point.reach("before")
        point.reach("after")

    Store.transaction = transaction


def tell(path: Path, clock_us: int, good: float, point: Point) -> None:
    """The whole release: start, two steps, promote or revert."""
    patch(point)
    # the same assignment in the dry run and in each that is killed: its commits are the same then
    ids.secrets = SimpleNamespace(randbits=random.Random(1).getrandbits)
    clock = ManualClock(wall_us=clock_us)
    store = Unsynced(f"sqlite:///{path}", clock)
    with store.reading() as txn:
        rows = txn.all("SELECT id FROM bundle ORDER BY name")
        old, new = (registry.read(txn, row["id"]).bundle.id for row in rows)
    world = Serving(store, clock, old, new, served=10_000)
    world.point = point
    world.policy(POLICY)
    point.counting = True
    release_id = releasing.start(store, preflight.check(store, world.wanted(policy="crash")))
    world.drive(release_id, runs=80, good=0.9, candidate=good)


def main(source: Path, place: Path, clock_us: int, good: float, first: int) -> None:
    """Fork for a dry run that counts the commits, then for each point before and after each of them."""
    names = run(source, place / "dry.db", clock_us, good, Point(0, "never"))[1]
    for number, name in list(enumerate(names, start=1))[first - 1 :]:
        for when in ("before", "after"):
            path = place / f"{number}-{when}.db"
            status, _ = run(source, path, clock_us, good, Point(number, when))
            ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            line = {"point": f"{when} {number} {name}", "store": str(path), "signal": ended_by}
            sys.stdout.write(json.dumps(line) + "\n")


def run(source: Path, path: Path, clock_us: int, good: float, point: Point) -> tuple[int, list[str]]:
    """Tell the story in a child; its wait status and the names of its commits."""
    shutil.copy(source, path)
    names = path.with_suffix(".json")
    child = os.fork()
    if child == 0:
        try:
            tell(path, clock_us, good, point)
            names.write_text(json.dumps(point.names))
        finally:  # a child must never return into the parent's loop
            traceback.print_exc()
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return status, json.loads(names.read_text()) if names.exists() else []


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
