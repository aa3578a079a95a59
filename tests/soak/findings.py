"""What a soak found: every check over all that was kept, in one value."""

import re
import time
from collections import Counter
from dataclasses import dataclass

from tests.flows.load.run import said
from tests.soak import checks
from tests.soak.archive import Archive
from tests.soak.checks import History, Ran, State
from tests.soak.diary import Diaries, Left
from tests.soak.faults import Faults
from tests.soak.releases import People
from tests.soak.sampling import KEPT, PRUNED, UNITS, Sampler
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
    faults: dict[str, int]
    cpu: dict[str, float]


@dataclass(frozen=True)
class Seen:
    """All that was kept of a soak, as plain values: written to the folder of its logs, to be judged again."""

    hours: float
    load: tuple[float, float]
    runs: dict[str, Ran]
    states: list[State]
    kinds: dict[str, str]
    left: list[Left]
    #: spans that a crash of the database excuses, microseconds since boot
    excused: list[tuple[int, int]]
    #: what to add to the database's time for the boot clock's
    ahead_us: int
    miscounted: list[str]
    unverified: list[str]
    undecided: int
    locked: dict[str, int]
    #: times that a part ended by itself
    died: dict[str, int]
    broken: list[str]
    cells: int
    snapshots: int
    pruned: dict[str, int]
    #: seconds that each pruning took
    took: list[float]
    people: dict[str, int]
    faults: dict[str, int]
    cpu: dict[str, float]
    #: figures of each part, by what is measured
    held: dict[str, list[Series]]
    database: dict[str, Series]


def seen(
    whole: Stack,
    archive: Archive,
    people: People,
    faults: Faults,
    sampler: Sampler,
    *,
    undecided: int,
    hours: float,
    load: float,
) -> Seen:
    """Take everything out of what was at work."""
    locked = said(whole.folder, LOCKED) + said(whole.database.folder, LOCKED)
    died = {each.name: each.died for each in whole.members if each.died}
    names = [f"rows of {table}" for table in (*PRUNED, *KEPT)]
    for name in ("store", "prefect"):
        names += [f"connections to {name}", f"idle in a transaction, {name}", f"bytes of {name}"]
    return Seen(
        hours=hours,
        load=(load, sum(sampler.loads) / max(1, len(sampler.loads))),
        runs=archive.runs,
        states=list(archive.states.values()),
        kinds=people.kinds,
        left=people.left,
        excused=faults.excused,
        ahead_us=(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.time_ns()) // 1_000,
        miscounted=archive.miscounted,
        unverified=archive.verified(AGENTS, ENVIRONMENT),
        undecided=undecided,
        locked=dict(locked),
        died=died | ({"service": whole.service_died} if whole.service_died else {}),
        broken=[repr(error) for error in (*people.broken, *sampler.broken, *archive.broken)],
        cells=archive.cells,
        snapshots=archive.snapshots,
        pruned=dict(archive.pruned),
        took=archive.took,
        people=dict(sorted(people.told.items())),
        faults=dict(faults.counts),
        cpu=dict(sampler.cpu),
        held={what: sampler.held(what) for what in UNITS},
        database={name: sampler.database(name) for name in names},
    )


def found(kept: Seen, diaries: Diaries) -> Findings:
    """Hold everything that was kept to everything that must hold."""
    history, left = History(kept.states), [*kept.left, *diaries.left]
    trends, growth = _trends(kept), _growth(kept)
    ours = {name: n for name, n in kept.died.items() if name.startswith(("process", "service"))}
    lists = {
        "runs that the control point did not allow": checks.disallowed(
            history, kept.runs.values(), kept.ahead_us
        ),
        "decisions without the store that were no known baseline": checks.cut_off(
            history, diaries.told, kept.ahead_us
        ),
        "decisions begun on a bundle after its revert had returned": checks.stale(left, diaries.told),
        "acknowledged runs and outcomes lost, changed or doubled": checks.lost(
            diaries, kept.runs, kept.excused
        ),
        "sums that differ from a recount": kept.miscounted,
        "ledgers with a gap, or that do not verify": [*history.gaps(), *kept.unverified],
        "failing candidates that became a baseline": checks.misjudged(history, kept.kinds, AGENTS),
        "releases that did not end": [f"{kept.undecided} were live at the end"] * bool(kept.undecided),
        "lock errors in any log": [f"{name} ({n})" for name, n in kept.locked.items()],
        "agent processes and services that ended by themselves": [f"{k}: {n}" for k, n in ours.items()],
        "leaks": [_leak(each) for each in trends if each.holds is False],
        "growth that retention does not bound": [
            f"{each.series.name}: {each.middle:g}, then {each.last:g} {each.series.unit}"
            for each in growth
            if each.holds is False
        ],
        "parts of this script that broke": kept.broken,
    }
    return Findings(
        hours=kept.hours,
        load=kept.load,
        facts=_facts(kept, diaries),
        checks={name: len(wrong) for name, wrong in lists.items()},
        wrong=[f"{name}: {each}" for name, wrong in lists.items() for each in wrong[:10]],
        trends=trends,
        growth=growth,
        kept=[(table, *_ends(kept.database[f"rows of {table}"])) for table in KEPT],
        faults=kept.faults,
        cpu=kept.cpu,
    )


def _leak(each: Trend) -> str:
    return f"{each.series.name}: {each.slope:+.1f} {each.series.unit} an hour, at most {each.bound:g}"


def _trends(kept: Seen) -> list[Trend]:
    """Memory, files and threads of each process, and connections."""
    memory = {"Prefect's server": SERVER_MB, "worker 1": WORKER_MB, "worker 2": WORKER_MB}
    lines = [trend(each, memory.get(each.name, OURS_MB)) for each in kept.held["memory"]]
    lines += [trend(each, MORE) for what in ("files", "threads") for each in kept.held[what]]
    for database in ("store", "prefect"):
        lines.append(trend(kept.database[f"connections to {database}"], MORE))
        lines.append(trend(kept.database[f"idle in a transaction, {database}"], MORE))
    return lines


def _growth(kept: Seen) -> list[Bounded]:
    """Rows that retention deletes, and the bytes of both databases."""
    names = [f"rows of {table}" for table in PRUNED] + ["bytes of store", "bytes of prefect"]
    lines = [bounded(kept.database[name], RATIO) for name in names]
    return [each for each in lines if max((v for _, v in each.series.points), default=0) > 0]


def _ends(series: Series) -> tuple[float, float]:
    return (series.points[0][1], series.points[-1][1]) if series.points else (0.0, 0.0)


def _facts(kept: Seen, diaries: Diaries) -> dict[str, str]:
    """What happened: a soak in which nothing did would prove nothing."""
    actions = Counter(state.action for state in kept.states)
    recorded = [each for each in diaries.told if each.recorded]
    over_http = sum(each.process in {f"process {n}" for n in OVER_HTTP} for each in recorded)
    begun = Counter({k[7:]: n for k, n in kept.people.items() if k.startswith("began: ")})
    left = Counter(each.by for each in [*kept.left, *diaries.left])
    unanswered = len(kept.runs) - len({each.run_id for each in recorded} & set(kept.runs))
    died = {name: n for name, n in kept.died.items() if not name.startswith(("process", "service"))}
    arms = Counter(run.arm for run in kept.runs.values())
    return {
        "runs acknowledged": f"{len(recorded)}, {over_http} over HTTP",
        "runs of the store": f"{len(kept.runs)}, {arms['candidate']} on a candidate",
        "outcomes known to be written": str(len(diaries.sure)),
        "runs served the last seen baseline, without the store": str(len(diaries.told) - len(recorded)),
        "runs in the store whose answer never came": str(unanswered),
        "runs that raised at the agent": _counted(Counter(diaries.failed)),
        "releases begun": _counted(begun),
        "promoted, reverted": f"{actions['promote']}, {actions['revert']}",
        "reverts whose return somebody waited for": _counted(left),
        "lapses, takeovers, rollbacks of a baseline": f"{actions['lapse']}, {actions['takeover']}, "
        f"{actions['rollback']}",
        "ledger rows held to": str(len(kept.states)),
        "cells of sums recounted": f"{kept.cells} in {kept.snapshots} snapshots",
        "pruned": ", ".join(f"{n} {what}" for what, n in kept.pruned.items()),
        "a pruning took": f"{max(kept.took, default=0):.1f} s at most, {len(kept.took)} times",
        "ended by themselves and begun anew, of Prefect's": _counted(Counter(died)),
        "faults": str(sum(kept.faults.values())),
    }


def _counted(counts: Counter) -> str:
    """How many, and of which."""
    each = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    return f"{counts.total()}{f' ({each})' if each else ''}"
