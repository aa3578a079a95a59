"""What an incident shows, read when it is asked for: its failing runs in groups, and the parts at fault.

Nothing of this is written when an incident opens, so that a revert stays one quick commit.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lastgood import failures, part_reads, points, recorder, registry
from lastgood.bundle import Bundle
from lastgood.bundle_diff import PartDiff, diff
from lastgood.decision import Reason
from lastgood.errors import CorruptRow, NotFound
from lastgood.failures import Group, Told
from lastgood.incidents import Incident
from lastgood.store import aftermath
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction
from lastgood.tallies import merged
from lastgood.triggers import is_lost

#: runs whose failures are grouped at most, the newest
MOST = 20_000
#: runs that are read at once
_PAGE = 500


@dataclass(frozen=True, slots=True)
class View:
    """An incident with what its runs and bundles say."""

    incident: Incident
    #: runs of the bad bundle in the window
    runs: int
    #: of these the newest, whose failures are grouped
    looked_at: int
    #: the failing ones among them, the largest group first
    groups: Sequence[Group]
    #: what the bad bundle changed against the good one; empty where one can't be read
    changed: tuple[PartDiff, ...]
    #: kinds of parts that no run read from `run.bundle`; None: no run told
    unread: tuple[str, ...] | None
    #: runs that told which parts they read
    told: int
    #: what could not be read, in words
    problems: tuple[str, ...]

    @property
    def failing(self) -> int:
        """How many of the runs that were looked at failed."""
        return sum(len(group.runs) for group in self.groups)

    @property
    def beyond_rollback(self) -> tuple[str, ...]:
        """Parts that changed and that no run read: going back to the good bundle restores none of them."""
        changed = {part.kind for part in self.changed if not part.same_content}
        return tuple(kind for kind in self.unread or () if kind in changed)


def view(txn: Transaction, incident: Incident, *, most: int = MOST) -> View:
    """Read what an incident shows; groups the failures of the newest `most` runs."""
    counted = txn.one(aftermath.WINDOW_COUNT, **incident.window)
    runs = counted["n"] if counted else 0
    told = list(_told(txn, incident, skip=max(0, runs - most)))
    bits = txn.all(aftermath.PARTS_READ, **incident.window)
    changed, problems = _changed(txn, incident)
    return View(
        incident,
        runs,
        len(told),
        failures.grouped(told, incident.culprits),
        changed,
        part_reads.unread(row["parts_read"] for row in bits) if bits else None,
        sum(row["n"] for row in bits),
        problems,
    )


def _told(txn: Transaction, incident: Incident, *, skip: int) -> Iterator[Told]:
    """The runs of the window in the order of their assignment, page by page."""
    point = points.find(txn, incident.agent, incident.environment)
    lost_after_us = point.terms.lost_after_us if point is not None else 0
    after = 0
    if skip:
        row = txn.one(aftermath.WINDOW_SEQ, **incident.window, skip=skip - 1)
        after = row["seq"] if row is not None else 0
    while rows := txn.all(aftermath.WINDOW_RUNS, **incident.window, after=after, most=_PAGE):
        after = rows[-1]["seq"]
        beside = _Beside.of(txn, [row["id"] for row in rows])
        for row in rows:
            yield beside.told(row, lost=_is_lost(row, lost_after_us, txn.now_us))


def _is_lost(row: Row, lost_after_us: int, now_us: int) -> bool:
    """Whether a run's time is over and it is lost; telemetry comes when its exporter sends it."""
    over = row["assigned_us"] + lost_after_us < now_us
    told_late = row["ended"] is not None and row["reason"] == Reason.TELEMETRY
    return over and not told_late and is_lost(row["assigned_us"], row["received_us"], lost_after_us)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside the outcomes of a page of runs, by run."""

    late: dict[str, list[dict[str, object]]]
    events: dict[str, list[str]]
    failed: dict[str, list[str]]

    @classmethod
    def of(cls, txn: Transaction, ids: Sequence[str]) -> "_Beside":
        late: dict[str, list[dict[str, object]]] = {}
        events: dict[str, list[str]] = {}
        failed: dict[str, list[str]] = {}
        statement, values = sql.among(sql.LATE_AMONG, ids)
        for row in txn.all(statement, **values):
            late.setdefault(row["run_id"], []).append(json.loads(row["fields"]))
        statement, values = sql.among(aftermath.EVENTS_AMONG, ids)
        for row in txn.all(statement, **values):
            events.setdefault(row["run_id"], []).append(row["name"])
        statement, values = sql.among(aftermath.FAILED_TOOLS_AMONG, ids)
        for row in txn.all(statement, **values):
            failed.setdefault(row["run_id"], []).append(row["tool"] or row["kind"])
        return cls(late, events, failed)

    def told(self, row: Row, *, lost: bool) -> Told:
        run_id, outcome = row["id"], None
        if row["ended"] is not None:
            outcome = merged(recorder.outcome_of(row), self.late.get(run_id, ()))
        events, failed = tuple(self.events.get(run_id, ())), tuple(self.failed.get(run_id, ()))
        return Told(run_id, row["task_type"], outcome, lost, events, failed)


def _changed(txn: Transaction, incident: Incident) -> tuple[tuple[PartDiff, ...], tuple[str, ...]]:
    """What the bad bundle changed, and in words what could not be read."""
    if incident.good is None:
        return (), ("there was no other last known good bundle to compare the bad one with",)
    bundles: list[Bundle] = []
    problems = []
    for bundle_id in (incident.good, incident.bad):
        try:
            bundles.append(registry.read(txn, bundle_id).bundle)
        except (CorruptRow, NotFound) as error:
            problems.append(f"what changed is not known: {error}")
    return (() if problems else diff(*bundles)), tuple(problems)


__all__ = ["MOST", "View", "view"]
