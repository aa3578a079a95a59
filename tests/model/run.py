"""`make model`: every planted bug has to be found; `make model STEPS=1000000`: that many steps without one.

With `--postgres URL` (a server on which databases may be made) the same on Postgres.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from bench import Postgres, Yard  # noqa: E402  found by the line above
from bugs import BUGS  # noqa: E402
from finding import Found, search  # noqa: E402
from situations import never  # noqa: E402

#: examples within which each bug has to be found
MOST = 2_000
#: examples of one search of the unbroken code
CHUNK = 200


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
            total.examples, total.steps = total.examples + found.examples, total.steps + found.steps
            total.reached += found.reached
            total.cpu_s += found.cpu_s
            total.failure, number = found.failure, number + 1
            if found.failure is not None:
                print(f"seed {number - 1}: {found.failure!r}", flush=True)
    return _plain(total)


def bugs(names: list[str], url: str | None, workers: int, examples: int) -> int:
    """Print one line a bug; return how many were not found."""
    missed, began = 0, time.perf_counter()
    print("| bug | found by | examples | steps | seconds | CPU s |\n|---|---|---|---|---|---|", flush=True)
    with _pool(workers) as pool:
        for future in [pool.submit(find, name, url, 0, examples) for name in names]:
            name, found = future.result()
            missed += found.failure is None
            said = str(found.failure or "NOT FOUND").replace("|", "/")
            print(
                f"| {name} | {said} | {found.examples} | {found.steps} "
                f"| {found.seconds:.1f} | {found.cpu_s:.1f} |",
                flush=True,
            )
    seconds = time.perf_counter() - began
    print(f"\n{len(names) - missed} of {len(names)} bugs were found, in {seconds:.0f} s", flush=True)
    return missed


def unbroken(steps: int, url: str | None, workers: int, first: int) -> int:
    """Make so many steps in all; return 1 where one failed or a situation was never reached."""
    began, reached, done, examples, failed, cpu_s = time.perf_counter(), Counter[str](), 0, 0, 0, 0.0
    with _pool(workers) as pool:
        shares = [pool.submit(walk, first + 1_000_000 * n, steps // workers, url) for n in range(workers)]
        for future in shares:
            found = future.result()
            done, examples, reached = done + found.steps, examples + found.examples, reached + found.reached
            cpu_s += found.cpu_s
            if found.failure is not None:
                failed += 1
                print(f"FAILED: {found.failure}")
    seconds = time.perf_counter() - began
    speed = f"{done / seconds:.0f} steps/s, {done / cpu_s:.0f} a CPU second"
    for name, count in sorted(reached.items(), key=lambda pair: pair[1]):
        print(f"{count:>10,}  {name}")
    missing = never(reached)
    print(f"{done:,} steps in {examples:,} examples, {seconds:.0f} s: {speed}")
    print(f"never reached: {', '.join(missing)}" if missing else "every situation was reached")
    return 1 if failed or missing else 0


def _pool(workers: int) -> ProcessPoolExecutor:
    """Each task in a process of its own: what a bug left in a cache dies with it."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, max_tasks_per_child=1)


def main() -> int:
    asked: Any = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--steps", type=int, default=0, help="steps of the unbroken code; 0: the bugs")
    asked.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--postgres", help="URL of a server on which databases may be made")
    asked.add_argument("--examples", type=int, default=MOST, help="within which each bug has to be found")
    asked.add_argument("--bug", action="append", help="one bug by its name; may be given again")
    given = asked.parse_args()
    if given.steps:
        return unbroken(given.steps, given.postgres, given.workers, given.seed)
    names = given.bug or [each.name for each in BUGS]
    return 1 if bugs(names, given.postgres, given.workers, given.examples) else 0


if __name__ == "__main__":
    sys.exit(main())
