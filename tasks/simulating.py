"""Simulating: whose rates a policy is simulated at, and the processes that share the work."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import pandas as pd

from config.policy import Policy
from evaluators.rules import Rules
from evaluators.scoring import first_runs
from evaluators.simulation import Ended, Setup, simulated
from evaluators.streams import FLAGS, Population
from lastgood import points
from lastgood.errors import InvalidRuns, NotFound
from lastgood.plural import counted
from lastgood.retention import HISTORY_RUNS
from lastgood.store.connection import Store
from tasks import preflight, recorded

#: releases that a worker walks at once
CHUNK = 2
#: chunks that wait for each worker at most: the rest is cut off when somebody interrupts
AHEAD = 4

#: of how many unchanged candidates one of each worse kind is walked: their figures need less sharpness than
#: the chance to revert a good one
PARTS = {"margin": 5, "harm": 10}

#: release numbers, and the stories of each
Work = list[tuple[int, tuple[int, ...]]]
#: release number, and the place of the story and its end
Numbered = tuple[int, Ended]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Whose rates a simulation draws at."""

    population: Population
    #: baseline runs that a release's history has
    history_runs: int
    #: one sentence for people
    said: str


def from_file(path: Path, variants: tuple[str, ...], columns: Mapping[str, str], rules: Rules) -> Source:
    """The rates of a file's runs; of one variant unless several are named. Raises InvalidRuns."""
    own = [g.column for g in rules.guardrails]
    recording = recorded.read(path, columns, own)
    there = sorted(set(recording.runs["variant"].dropna()))
    if not variants and len(there) != 1:
        names = ", ".join(there[:12])
        raise InvalidRuns(
            f"{path.name} has runs of {len(there)} variants ({names}); name with --variant what serves now"
        )
    return _of(recording.of(variants or tuple(there)), path.name)


def from_agent(store: Store, agent: str, environment: str, policy: Policy) -> Source:
    """The rates of an agent's own matured baseline runs. NotFound where it has none."""
    with store.reading() as txn:
        point = points.read(txn, agent, environment)
        runs = preflight.baseline_runs(txn, point, policy)
    if runs.empty:
        raise NotFound(
            f"no run of {point.name}'s baseline is matured and eligible yet; let the agent serve, or simulate"
            " without --history"
        )
    return _of(runs, point.name)


def healthy(rules: Rules, history_runs: int) -> Source:
    """The healthy base, with the rates that the policy declares in their places."""
    found, declared = Population(), []
    for guardrail in rules.guardrails:
        rate = dict(rules.references).get(guardrail.name)
        if rate is None or guardrail.kind.measured:
            continue
        level = rate if guardrail.bad else 1.0 - rate
        if guardrail.column in FLAGS:
            found = found.at(guardrail.column, level)
        else:
            found = replace(found, others={**found.others, guardrail.column: level})
        declared.append(guardrail.name)
    said = "no history was given, so these are the rates of a typical healthy agent, not of yours"
    said += f" (the policy's own for {', '.join(declared)})" if declared else ""
    return Source(found, history_runs, f"{said}; --history FILE or AGENT takes yours")


def _of(runs: pd.DataFrame, name: str) -> Source:
    first, _ = first_runs(runs, set())
    repeated = int((~first).sum())
    said = f"rates, costs and edits as in {counted(len(runs), 'recorded run', form=',')} of {name}"
    said += "; units repeat there, and are drawn as if each run had its own" if repeated else ""
    most = min(int(first.sum()), HISTORY_RUNS)
    return Source(Population.from_frame(runs), most, said)


def work(setup: Setup, releases: int) -> Work:
    """Releases of the unchanged candidate, and the part of PARTS (at least one) of each worse one."""
    wanted = [max(1, releases // PARTS.get(story.kind, 1)) for story in setup.stories]
    return [
        (number, tuple(place for place, most in enumerate(wanted) if number < most))
        for number in range(max(wanted))
    ]


def run(setup: Setup, todo: Work, workers: int, seen: Callable[[int], None]) -> list[Ended]:
    """Walk releases in some processes; `seen` hears how many more are done. Their number changes nothing."""
    found: list[Numbered] = []
    for done in _in_turn(setup, todo) if workers == 1 else _in_processes(setup, todo, workers):
        found += done
        seen(len(done))
    found.sort(key=lambda item: (item[0], item[1][0]))
    return [ended for _, ended in found]


def _in_turn(setup: Setup, todo: Work) -> Iterator[list[Numbered]]:
    for number, stories in todo:
        yield [(number, ended) for ended in simulated(setup, number, stories)]


def _in_processes(setup: Setup, todo: Work, workers: int) -> Iterator[list[Numbered]]:
    chunks = iter([todo[place : place + CHUNK] for place in range(0, len(todo), CHUNK)])
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(setup,)
    )
    waiting: set[Future[list[Numbered]]] = set()
    try:
        while True:
            for chunk in _some(chunks, workers * AHEAD - len(waiting)):
                waiting.add(pool.submit(_walk, chunk))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _some(chunks: Iterator[Work], most: int) -> Iterable[Work]:
    return [chunk for _, chunk in zip(range(most), chunks, strict=False)]


#: what a worker process was begun with
_SETUP: list[Setup] = []


def _begin(setup: Setup) -> None:
    _SETUP[:] = [setup]
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _walk(chunk: Work) -> list[Numbered]:
    return [done for part in _in_turn(_SETUP[0], chunk) for done in part]


__all__ = ["Source", "from_agent", "from_file", "healthy", "run", "work"]
