"""F1, F20 and F2: the driver is killed, interrupted or stopped at every commit of a release.

`tests/tasks/crashing.py` is the driver, `tests/tasks/recovering.py` says what must hold afterwards.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

from common import Line, Place, main, percentile, seasoned

from tests.tasks.conftest import World
from tests.tasks.crashing import SURVIVED, Wanted
from tests.tasks.recovering import Recovery, deaths, recovered, reopened

ROUNDS, INTERRUPTIONS = 20, 1
#: one death of so many is driven to the release's end, the others until the next driver has caught up
TO_THE_END = 11
#: the candidate's chance to complete, and the first commit that the other story has not told already
STORIES = ((1.0, 1), (0.0, 8))
KILLS = tuple((when, signal.SIGKILL) for when in ("before", "between", "after"))
ASKED = tuple((when, n) for n in (signal.SIGTERM, signal.SIGINT) for when in ("before", "between", "after"))
STOPS = (("begin", signal.SIGSTOP),)
#: rows of the ledger that the first driver wrote after the next one had taken over
STALE = """
SELECT count(*) AS n FROM ledger WHERE actor = 'me' AND seq > (
  SELECT min(seq) FROM ledger WHERE actor = 'the schedule' AND action = 'takeover')
"""


def told(place: Place, world: World, kinds: tuple, seed: int) -> Iterator[tuple[dict, float]]:
    """Each death of one round, in both stories, with the candidate's chance to complete."""
    for good, first in STORIES:
        folder = str(place.folder) if place.server is None else f"crash_{os.getpid()}_{seed}"
        wanted = Wanted(world.store.url, folder, world.clock.wall_us, good, first, seed, kinds)
        for death in deaths(wanted):
            yield death, good
        drop(place, wanted_story(place, folder))


def wanted_story(place: Place, folder: str) -> str:
    """URL of the copy in which the story itself was told."""
    if place.server is None:
        return f"sqlite:///{folder}/story.db"
    return place.server.of(f"{folder}_story")


def drop(place: Place, url: str) -> None:
    """Take a copy away."""
    if place.server is not None:
        place.server.drop(url)
        return
    file = url.removeprefix("sqlite:///")
    for suffix in ("", "-wal", "-shm", ".epochs"):
        if os.path.exists(file + suffix):  # noqa: PTH110  a suffix, not a path
            os.unlink(file + suffix)  # noqa: PTH108  as above


def brought_back(place: Place, world: World, death: dict, good: float, *, to_end: bool) -> Recovery:
    """What became of one death."""
    found = reopened(world, death["store"])
    try:
        return recovered(found, good, rounds=30 if to_end else 1)
    finally:
        found.store.close()
        drop(place, death["store"])


def killed(place: Place, world: World, kinds: tuple, rounds: int) -> tuple[Counter, list[Recovery], int]:
    """Let drivers end in so many rounds; how, what became of it, and how many were driven to the end."""
    ways, found, ended = Counter(), [], 0
    for seed in range(1, rounds + 1):
        for death, good in told(place, world, kinds, seed):
            if "point" not in death:  # a driver that was asked to end says goodbye
                ways[death["ended"]] += 1
                continue
            if death["signal"]:
                ways[signal.Signals(death["signal"]).name] += 1
            elif os.waitstatus_to_exitcode(death["status"]) == SURVIVED:
                ways["survived"] += 1
            to_end = len(found) % TO_THE_END == 0
            recovery = brought_back(place, world, death, good, to_end=to_end)
            found.append(recovery)
            if to_end and recovery.state is not None:
                ended += 1
    return ways, found, ended


def judged(fault: str, what: str, rounds: int, seen: tuple[Counter, list[Recovery], int]) -> Line:
    """Put rounds of deaths into a line."""
    ways, found, ended = seen
    halves = Counter(problem for recovery in found for problem in recovery.problems)
    p99 = percentile([recovery.seconds for recovery in found], 0.99)
    finished = sum(recovery.state in {"promoted", "reverted"} for recovery in found)
    figure = (
        f"{len(found) // rounds} points x {rounds}: {dict(ways)}; half states {halves.total()}"
        f"{f' {dict(halves)}' if halves else ''}; recovery p99 {p99:.2f} s; "
        f"{ended} driven to their end, {finished} ended"
    )
    holds = not halves and p99 <= 5 and finished >= ended > 0 and not ways["survived"]
    return Line(fault, what, figure, holds)


def stopped(place: Place, world: World, rounds: int) -> Line:
    """F2: the driver stops before a commit, another takes over, then the first goes on."""
    stops, stale, ends, halves = 0, 0, Counter(), []
    for seed in range(1, rounds + 1):
        for death, good in told(place, world, STOPS, seed):
            if "point" not in death:
                ends[death["ended"]] += 1
                continue
            found = reopened(world, death["store"])
            halves += recovered(found, good, rounds=1).problems
            os.kill(death["pid"], signal.SIGCONT)
            gone = wait_until_gone(death["pid"])
            stops, stale = stops + 1, stale + found.rows(STALE)[0]["n"] + (not gone)
            halves += recovered(found, good, rounds=1).problems
            found.store.close()
            drop(place, death["store"])
    figure = f"{stops} stops; stale commits accepted {stale}; the stopped driver ended by {dict(ends)}"
    holds = stops > 0 and stale == 0 and not halves and ends.total() == stops
    return Line("F2", "SIGSTOP before each commit, another driver takes over, SIGCONT", figure, holds)


def wait_until_gone(pid: int) -> bool:
    """Wait until a driver that goes on has ended; one that drives on regardless is killed: False."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  not a file that one keeps
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except OSError:
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return False


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Every death, on one kind of store."""
    world = seasoned(place.migrated())
    rounds, few = (1, 1) if quick else (ROUNDS, INTERRUPTIONS)
    what = "kill -9 of the driver before, between and after each commit and its notice"
    yield judged("F1", what, rounds, killed(place, world, KILLS, rounds))
    yield judged("F20", "SIGTERM and Ctrl-C at the same points", few, killed(place, world, ASKED, few))
    yield stopped(place, world, few)


if __name__ == "__main__":
    main(run, "F1, F2, F20")
