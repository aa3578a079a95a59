"""What must hold of a soak, as pure functions: each takes what was seen and returns what is wrong, in words.

Every run is held to the control point's ledger. A run's row carries the database's time from inside the
transaction that decided it, a ledger row the time from inside its move's, and both hold the point's lock: so
the state in force is the last ledger row before the run, to the microsecond.
"""

import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tests.soak.diary import Diaries, Left, Told

#: microseconds: how far the boot clock of whoever renewed a lease may be behind its transaction's time
SLACK_US = 20_000
#: microseconds for which a process that was cut off may not have heard of a move: it asks every two seconds
UNHEARD_US = 3_000_000


@dataclass(frozen=True, slots=True)
class State:
    """A control point from one ledger row to the next."""

    agent: str
    seq: int
    #: microseconds UTC by the database's clock
    at_us: int
    action: str
    epoch: int
    baseline: str
    candidate: str | None
    release_id: str | None
    share_bp: int
    killed: bool
    #: microseconds since boot
    lease_until_us: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A run as the store has it, with its outcome."""

    id: str
    agent: str
    unit: str
    bundle_id: str
    arm: str
    epoch: int
    release_id: str | None
    reason: str
    assigned_us: int
    task_type: str = ""
    block: int | None = None
    #: None: no outcome
    completed: bool | None = None
    ended: bool = False
    cost_usd: float | None = None
    #: corrections, from late reports
    edits: int | None = None


class History:
    """The states of all control points, in order."""

    def __init__(self, states: Iterable[State]) -> None:
        self._by_agent: dict[str, list[State]] = defaultdict(list)
        for state in sorted(states, key=lambda state: (state.agent, state.seq)):
            self._by_agent[state.agent].append(state)
        self._times = {agent: [each.at_us for each in found] for agent, found in self._by_agent.items()}

    def at(self, agent: str, at_us: int) -> State | None:
        """The state in force; None before the first."""
        place = bisect.bisect_right(self._times.get(agent, []), at_us)
        return self._by_agent[agent][place - 1] if place else None

    def between(self, agent: str, from_us: int, until_us: int) -> list[State]:
        """The states in force at any time between two."""
        times, found = self._times.get(agent, []), self._by_agent.get(agent, [])
        first = max(0, bisect.bisect_right(times, from_us) - 1)
        return found[first : bisect.bisect_right(times, until_us)]

    def gaps(self) -> Iterator[str]:
        """Rows that are missing, and epochs that do not rise by one."""
        for agent, found in self._by_agent.items():
            for a, b in itertools.pairwise(found):
                if b.seq != a.seq + 1:
                    yield f"{agent}: ledger rows {a.seq + 1} to {b.seq - 1} were never seen"
                if b.epoch not in {a.epoch, a.epoch + 1} or b.at_us < a.at_us:
                    yield f"{agent}: row {b.seq} goes from epoch {a.epoch} to {b.epoch}"


def disallowed(history: History, runs: Iterable[Ran], boot_ahead_us: int) -> list[str]:
    """Runs that the control point's state did not allow at that moment.

    `boot_ahead_us` is what to add to the database's time for the boot clock's.
    """
    wrong = []
    for run in runs:
        state = history.at(run.agent, run.assigned_us)
        why = "before its agent was adopted" if state is None else _why(state, run, boot_ahead_us, history)
        if why:
            wrong.append(f"{run.id} of {run.agent} served {run.bundle_id[:8]} ({run.arm}): {why}")
    return wrong


def _why(state: State, run: Ran, boot_ahead_us: int, history: History) -> str:
    """Why a run is not allowed; empty where it is."""
    if run.epoch != state.epoch:
        return f"epoch {run.epoch} where {state.epoch} was in force"
    if run.arm == "candidate":
        if run.bundle_id != state.candidate or run.release_id != state.release_id:
            return f"that was no candidate after row {state.seq} ({state.action})"
        if state.killed or not state.share_bp:
            return f"no share after row {state.seq} ({state.action})"
        over_us = run.assigned_us + boot_ahead_us - state.lease_until_us
        return f"{over_us / 1e3:.0f} ms after its lease" if over_us > SLACK_US else ""
    if run.reason == "conversation":  # keeps the bundle of its first turn, while that is good
        before = history.between(run.agent, 0, run.assigned_us)
        return "" if run.bundle_id in {each.baseline for each in before} else "that never was a baseline"
    return "" if run.bundle_id == state.baseline else f"the baseline was {state.baseline[:8]}"


def cut_off(history: History, told: Sequence[Told], boot_ahead_us: int) -> list[str]:
    """Decisions made without the store that served anything but a baseline that the process could know."""
    wrong, known_us = [], {}
    for each in sorted(told, key=lambda each: each.got_us):
        here, now_us = (each.process, each.born_us, each.agent), each.got_us - boot_ahead_us
        if each.recorded:
            known_us[here] = now_us
            continue
        since_us = known_us.get(here, each.born_us - boot_ahead_us) - UNHEARD_US
        could = {state.baseline for state in history.between(each.agent, since_us, now_us)}
        if each.arm != "baseline" or each.bundle_id not in could:
            wrong.append(f"{each.process} served {each.agent} {each.bundle_id[:8]} ({each.arm}) unrecorded")
    return wrong


def stale(left: Iterable[Left], told: Iterable[Told]) -> list[str]:
    """Decisions begun after somebody was told that their bundle is out of service."""
    until = {(each.agent, each.bundle_id): each for each in sorted(left, key=lambda e: e.at_us, reverse=True)}
    wrong = []
    for each in told:
        gone = until.get((each.agent, each.bundle_id))
        if gone is not None and each.begun_us > gone.at_us:
            late_us = each.begun_us - gone.at_us
            wrong.append(f"{each.run_id} begun {late_us} us after {gone.bundle_id[:8]} was left by {gone.by}")
    return wrong


def lost(diaries: Diaries, kept: Mapping[str, Ran], excused: Collection[tuple[int, int]] = ()) -> list[str]:
    """Acknowledged runs and outcomes that the store has not as they were acknowledged, or has twice.

    `excused` are spans, microseconds since boot, in which a crash of the database itself may lose what was
    acknowledged.
    """
    wrong = []
    for each in filter(attrgetter("recorded"), diaries.told):
        run, given = kept.get(each.run_id), (each.agent, each.bundle_id, each.arm, each.epoch)
        if run is None and not _within(each.got_us, excused):
            wrong.append(f"run {each.run_id} of {each.process} is lost")
        if run is not None and (run.agent, run.bundle_id, run.arm, run.epoch) != given:
            wrong.append(f"run {each.run_id} is not as it was told")
    for run_id, (completed, at_us) in diaries.sure.items():
        run = kept.get(run_id)
        if (run is None or not run.ended) and not _within(at_us, excused):
            wrong.append(f"the outcome of {run_id} is lost")
        if run is not None and run.ended and run.completed is not completed:
            wrong.append(f"the outcome of {run_id} is changed")
    wrong += [
        f"unit {unit} has {n} runs" for unit, n in Counter(r.unit for r in kept.values()).items() if n > 1
    ]
    wrong += [f"nobody asked for {run.id}" for run in kept.values() if run.unit not in diaries.tried]
    return wrong


def _within(at_us: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(begin <= at_us <= end for begin, end in spans)


#: release, task type, block, arm: as `lastgood.tallies.Cell`
Cell = tuple[str, str, int, str]
SUMS = ("runs", "completed_n", "completed", "operator_edits_n", "operator_edits", "cost_n", "cost_micro")


def recounted(runs: Iterable[Ran]) -> dict[Cell, tuple[int, ...]]:
    """The sums of every cell, counted anew from the rows."""
    found: dict[Cell, list[int]] = {}
    for run in runs:
        if run.release_id is None or not run.ended:
            continue
        cell = (run.release_id, run.task_type, -1 if run.block is None else run.block, run.arm)
        sums = found.setdefault(cell, [0] * len(SUMS))
        cost = None if run.cost_usd is None else int(run.cost_usd * 1_000_000 + 0.5)
        for place, value in ((1, run.completed), (3, run.edits), (5, cost)):
            if value is not None:
                sums[place] += 1
                sums[place + 1] += int(value)
        sums[0] += 1
    return {cell: tuple(sums) for cell, sums in found.items()}


def miscounted(kept: Iterable[Ran], tallies: Mapping[Cell, tuple[int, ...]]) -> list[str]:
    """Sums of the store that differ from a recount; of releases whose sums were pruned there are none."""
    counted, releases = recounted(kept), {cell[0] for cell in tallies}
    cells = {cell for cell in counted if cell[0] in releases} | set(tallies)
    return [
        f"{cell}: the store says {tallies.get(cell)}, a recount {counted.get(cell)}"
        for cell in sorted(cells)
        if tallies.get(cell) != counted.get(cell)
    ]


def misjudged(history: History, kinds: Mapping[str, str], agents: Iterable[str]) -> list[str]:
    """Bundles that fail two runs of three and became a baseline all the same."""
    served = {(s.agent, s.baseline) for agent in agents for s in history.between(agent, 0, 1 << 62)}
    return [
        f"{agent}: {kinds[b]} {b[:8]} became the baseline" for agent, b in served if kinds.get(b) == "failing"
    ]
