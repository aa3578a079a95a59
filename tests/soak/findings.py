"""What a soak found: every check over all that was kept, in one value."""

import re
import time
from collections import Counter
from dataclasses import dataclass

from tests.flows.load.run import said
from tests.soak import checks
from tests.soak.archive import Archive
from tests.soak.checks import History
from tests.soak.diary import Diaries
from tests.soak.faults import Faults
from tests.soak.releases import People
from tests.soak.sampling import KEPT, PRUNED, Sampler
from tests.soak.stack import AGENTS, ENVIRONMENT, OVER_HTTP, Stack
from tests.soak.trends import Bounded, Series, Trend, bounded, trend

#: a lock that was not had, or a connection
LOCKED = re.compile(
    r"deadlock detected|could not serialize|LockNotAvailable|too many clients|remaining connection slots"
)
#: MB an hour that memory may go up by: ours, Prefect's worker, Prefect's server
OURS_MB, WORKER_MB, SERVER_MB = 8.0, 16.0, 48.0
#: files, threads or connections an hour, of anything
MORE = 2.0
#: how much higher the peak of the last third may be than that of the middle one
RATIO = 1.25


@dataclass(frozen=True)
class Findings:
    """All that a page tells of a soak."""

    hours: float
    #: of the machine, before it and in the mean
    load: tuple[float, float]
    #: figures by what they are of, in the order of the page
    facts: dict[str, str]
    #: how many were wrong, by check, and each of it in words
    checks: dict[str, int]
    wrong: list[str]
    trends: list[Trend]
    growth: list[Bounded]
    #: tables that keep a row for good: rows at the start and at the end
    kept: list[tuple[str, float, float]]
    faults: Counter
    cpu: dict[str, float]


def found(
    whole: Stack,
    archive: Archive,
    people: People,
    faults: Faults,
    sampler: Sampler,
    diaries: Diaries,
    *,
    undecided: int,
    hours: float,
    load: float,
) -> Findings:
    """Hold everything that was kept to everything that must hold."""
    history = History(archive.states.values())
    ahead_us = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.time_ns()) // 1_000
    runs, left = list(archive.runs.values()), [*people.left, *diaries.left]
    trends, growth = _trends(sampler), _growth(sampler)
    locked = said(whole.folder, LOCKED) + said(whole.database.folder, LOCKED)
    ours = {each.name: each.died for each in whole.agents if each.died}
    ours |= {"service": whole.service_died} if whole.service_died else {}
    broken = [*people.broken, *sampler.broken, *archive.broken]
    lists = {
        "runs that the control point did not allow": checks.disallowed(history, runs, ahead_us),
        "decisions without the store that were no known baseline": checks.cut_off(
            history, diaries.told, ahead_us
        ),
        "decisions begun on a bundle after its revert had returned": checks.stale(left, diaries.told),
        "acknowledged runs and outcomes lost, changed or doubled": checks.lost(
            diaries, archive.runs, faults.excused
        ),
        "sums that differ from a recount": archive.miscounted,
        "ledgers with a gap, or that do not verify": [
            *history.gaps(),
            *archive.verified(AGENTS, ENVIRONMENT),
        ],
        "failing candidates that became a baseline": checks.misjudged(history, people.kinds, AGENTS),
        "releases that did not end": [f"{undecided} releases were live at the end"] * bool(undecided),
        "lock errors in any log": [f"{name} ({n})" for name, n in locked.items()],
        "agent processes and services that ended by themselves": [f"{k}: {n}" for k, n in ours.items()],
        "leaks": [_leak(each) for each in trends if each.holds is False],
        "growth that retention does not bound": [
            f"{each.series.name}: {each.middle:g}, then {each.last:g} {each.series.unit}"
            for each in growth
            if each.holds is False
        ],
        "parts of this script that broke": [repr(error) for error in broken],
    }
    return Findings(
        hours=hours,
        load=(load, sum(sampler.loads) / max(1, len(sampler.loads))),
        facts=_facts(archive, people, faults, diaries, whole),
        checks={name: len(wrong) for name, wrong in lists.items()},
        wrong=[f"{name}: {each}" for name, wrong in lists.items() for each in wrong[:10]],
        trends=trends,
        growth=growth,
        kept=[(table, *_ends(sampler.database(f"rows of {table}"))) for table in KEPT],
        faults=faults.counts,
        cpu=dict(sampler.cpu),
    )


def _leak(each: Trend) -> str:
    return f"{each.series.name}: {each.slope:+.1f} {each.series.unit} an hour, at most {each.bound:g}"


def _trends(sampler: Sampler) -> list[Trend]:
    """Memory, files and threads of each process, and connections."""
    memory = {"Prefect's server": SERVER_MB, "worker 1": WORKER_MB, "worker 2": WORKER_MB}
    lines = [trend(each, memory.get(each.name, OURS_MB)) for each in sampler.held("memory")]
    lines += [trend(each, MORE) for what in ("files", "threads") for each in sampler.held(what)]
    for database in ("store", "prefect"):
        lines.append(trend(sampler.database(f"connections to {database}"), MORE))
        lines.append(trend(sampler.database(f"idle in a transaction, {database}"), MORE))
    return lines


def _growth(sampler: Sampler) -> list[Bounded]:
    """Rows that retention deletes, and the bytes of both databases."""
    names = [f"rows of {table}" for table in PRUNED] + ["bytes of store", "bytes of prefect"]
    found = [bounded(sampler.database(name), RATIO) for name in names]
    return [each for each in found if each.series.points and max(v for _, v in each.series.points) > 0]


def _ends(series: Series) -> tuple[float, float]:
    return (series.points[0][1], series.points[-1][1]) if series.points else (0.0, 0.0)


def _facts(
    archive: Archive, people: People, faults: Faults, diaries: Diaries, whole: Stack
) -> dict[str, str]:
    """What happened: a soak in which nothing did would prove nothing."""
    actions = Counter(state.action for state in archive.states.values())
    recorded = [each for each in diaries.told if each.recorded]
    over_http = sum(each.process in {f"process {n}" for n in OVER_HTTP} for each in recorded)
    begun = Counter({k[7:]: n for k, n in people.told.items() if k.startswith("began: ")})
    left = Counter(each.by for each in [*people.left, *diaries.left])
    unanswered = len(archive.runs) - len({each.run_id for each in recorded} & set(archive.runs))
    died = {each.name: each.died for each in (whole.server, *whole.workers) if each.died}
    arms = Counter(run.arm for run in archive.runs.values())
    return {
        "runs acknowledged": f"{len(recorded)} ({over_http} over HTTP), of the store's {len(archive.runs)} "
        f"{arms['candidate']} on a candidate",
        "outcomes known to be written": str(len(diaries.sure)),
        "runs served the last seen baseline, without the store": str(len(diaries.told) - len(recorded)),
        "runs in the store whose answer never came": str(unanswered),
        "runs that raised at the agent": f"{len(diaries.failed)} {dict(Counter(diaries.failed))}",
        "releases begun": f"{begun.total()} {dict(begun)}",
        "promoted, reverted": f"{actions['promote']}, {actions['revert']}",
        "reverts that returned to somebody": f"{left.total()} {dict(left)}",
        "lapses, takeovers, rollbacks of a baseline": f"{actions['lapse']}, {actions['takeover']}, "
        f"{actions['rollback']}",
        "ledger rows seen": str(len(archive.states)),
        "cells recounted": f"{archive.cells} in {archive.snapshots} snapshots",
        "pruned": ", ".join(f"{n} {what}" for what, n in archive.pruned.items()),
        "a pruning took": f"{max(archive.took, default=0):.1f} s at most, {len(archive.took)} times",
        "ended by themselves and begun anew": str(died or 0),
        "faults": f"{len(faults.done)}",
        "people": str(dict(sorted(people.told.items()))),
    }
