"""`make model`: every planted bug has to be found; `make model STEPS=1000000`: that many steps without one.

Both write their section of docs/model.md.
With `--postgres URL` (a server on which databases may be made) the same on Postgres.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import publishing  # noqa: E402  found by the line above
from bench import Postgres, Yard  # noqa: E402
from bugs import BUGS  # noqa: E402
from finding import Found, search  # noqa: E402
from situations import never  # noqa: E402
from tour import STORIES  # noqa: E402

#: examples within which each bug has to be found
MOST = 2_000
#: examples of one search of the unbroken code
CHUNK = 50
#: steps of the unbroken code that one process makes before another takes over
PART = 10_000


def _yard(url: str | None) -> Yard:
    logging.disable(logging.CRITICAL)  # what is refused and reverted is logged, thousands of times
    return Yard(Postgres(url) if url else None)


def find(name: str, url: str | None = None, number: int = 0, examples: int = MOST) -> tuple[str, Found]:
    """Plant one bug and look for it."""
    bug = next(each for each in BUGS if each.name == name)
    # what a ledger's rows hash to has to be wrong from its first row on, or the bug would show at once
    early = bug.plant() if bug.name.startswith("the hash") else contextlib.nullcontext()
    with early, _yard(url) as yard, bug.plant():
        found = search(yard, examples=examples, number=number, guided=True)
    return name, _plain(found)


def _plain(found: Found) -> Found:
    """What another process can be told of a failure: its words."""
    if found.failure is not None:
        error = found.failure
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        words = (str(error) or repr(error)).splitlines()[0]
        found.failure = AssertionError(f"{type(error).__name__}: {words[:90]}")
    return found


def walk(first: int, steps: int, url: str | None = None) -> Found:
    """Make so many steps of the unbroken code, or stop at a failure."""
    total = Found()
    with _yard(url) as yard:
        number = first
        while total.steps < steps and total.failure is None:
            found = search(yard, examples=CHUNK, number=number)
            total.add(found)
            number += 1
            if found.failure is not None:
                print(f"seed {number - 1}: {found.failure!r}", flush=True)
    return _plain(total)


def bugs(names: list[str], url: str | None, workers: int, examples: int) -> int:
    """Print one line a bug; return how many were not found. The page is written when all were looked for."""
    missed, lines, known = 0, [], {each.name: each for each in BUGS}
    print(
        "| bug | invariant | found by | examples | steps | seconds | CPU s |\n|---|---|---|---|---|---|---|"
    )
    with _pool(workers) as pool:
        for future in [pool.submit(find, name, url, 0, examples) for name in names]:
            name, found = future.result()
            missed += found.failure is None
            lines.append(publishing.line(known[name], found))
            print(lines[-1], flush=True)
    print(f"\n{len(names) - missed} of {len(names)} bugs were found")
    if len(names) == len(BUGS) and examples == MOST and url is None:
        said = publishing.table(lines, missed, tour=STORIES, most=MOST)
        publishing.publish(publishing.BUGS, "make model", said)
    return missed


def unbroken(steps: int, minutes: float, url: str | None, workers: int, first: int) -> int:
    """Make so many steps in all, or as many as the minutes allow, telling how far they are.

    Return 1 where a step failed or a situation was never reached.
    """
    began, total, parts, took = time.perf_counter(), Found(), -(-steps // PART), 0.0
    with _pool(workers) as pool:
        shares = [pool.submit(walk, first + 1_000_000 * n, min(steps, PART), url) for n in range(parts)]
        for future in as_completed(shares):
            if future.cancelled():
                continue
            total.add(future.result())
            took = time.perf_counter() - began
            print(f"{total.steps:,} steps, {total.examples:,} examples, {took:.0f} s", flush=True)
            if total.failure is not None or total.steps >= steps or took > minutes * 60:
                for share in shares:
                    share.cancel()
    missing = never(total.reached)
    said = publishing.walked(total, workers, took, missing)
    print(said)
    if url is None:
        publishing.publish(publishing.UNBROKEN, f"make model STEPS={steps}", said)
    return 1 if total.failure or missing else 0


def _pool(workers: int) -> ProcessPoolExecutor:
    """Each task in a process of its own, that has everything imported: what a bug left dies with it."""
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload(["__main__"])
    return ProcessPoolExecutor(workers, mp_context=warm, max_tasks_per_child=1)


def main() -> int:
    asked: Any = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--steps", type=int, default=0, help="steps of the unbroken code; 0: the bugs")
    asked.add_argument("--minutes", type=float, default=1e6, help="after which no more steps are begun")
    asked.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--postgres", help="URL of a server on which databases may be made")
    asked.add_argument("--examples", type=int, default=MOST, help="within which each bug has to be found")
    asked.add_argument("--bug", action="append", help="one bug by its name; may be given again")
    given = asked.parse_args()
    if given.steps:
        return unbroken(given.steps, given.minutes, given.postgres, given.workers, given.seed)
    names = given.bug or [each.name for each in BUGS]
    return 1 if bugs(names, given.postgres, given.workers, given.examples) else 0


if __name__ == "__main__":
    sys.exit(main())
