"""Retention: run records, sealed evidence and ledger rows that are older than their limits go.

Kept whatever its age: what a live release counts, the newest runs of a bundle in service (a new release
reads them as its history), the evidence that proves a bundle in service, runs with an open reservation or
action, runs of an open incident, runs whose output or memory entry was recalled. A ledger is cut at its
beginning only, and says so itself: its last pruned row is the anchor that the rest is verified from.

Rows go in short transactions, each right by itself, so that a revert never waits and a crash leaves nothing
to repair: pruning again goes on.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lastgood import ledger, points
from lastgood.errors import InvalidInput
from lastgood.moves import ControlPoint
from lastgood.store import pruning
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction
from lastgood.store.link import Place, Values

DAY_US = 86_400_000_000
#: the newest runs of a bundle in service that stay: as many as a new release reads
HISTORY_RUNS = 20_000
#: what belongs to one run, in the order in which it goes
OF_RUN = ("outcome", "late_report", "event", "compensation", "quarantine_item", "action", "entry")
#: what a release counted while runs came in; goes with its run records
COUNTERS = ("unit_seen", "block_counter", "trigger_count", "trigger_state", "cap_use")
#: of these what goes on counting after a promotion, as long as its bundle serves
CHARGED = frozenset({"trigger_count", "trigger_state"})
#: what a release was judged by
EVIDENCE = ("block", "look", "evidence", "tally", "sealed_tally", "metric_tally", "stage")
#: what people were told; goes with the run records, once nobody has to be told any more
TOLD = ("delivery", "notice")
_UNITS_US = {"h": DAY_US // 24, "d": DAY_US, "w": 7 * DAY_US, "y": 365 * DAY_US}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what is kept; evidence and ledger outlive run records."""

    #: microseconds since the assignment of a run
    runs_us: int = 90 * DAY_US
    #: microseconds since the end of a release
    evidence_us: int = 730 * DAY_US
    #: microseconds since a move of control
    ledger_us: int = 730 * DAY_US

    def __post_init__(self) -> None:
        if self.runs_us <= 0 or min(self.evidence_us, self.ledger_us) < self.runs_us:
            msg = (
                "retention: run records need a limit above 0, and evidence and ledger one that is no shorter"
            )
            raise InvalidInput(msg)


@dataclass(slots=True)
class Pruned:
    """How many were pruned, or would be."""

    #: runs, with all that they reported
    runs: int = 0
    #: conversations that nobody went on with
    conversations: int = 0
    #: ended releases whose evidence went
    releases: int = 0
    #: ledger rows
    ledger: int = 0


@dataclass(slots=True)
class Pace:
    """Batches whose transactions stay well below 20 ms, with as long a pause between them for others."""

    #: rows of the next batch
    size: int = 100
    _floor: int = field(default=50, repr=False)
    _ceiling: int = field(default=2_000, repr=False)

    def after(self, seconds: float) -> None:
        """Learn from how long a batch held the store up."""
        if seconds > 0.010:
            self.size = max(self._floor, self.size // 2)
        elif seconds < 0.004:
            self.size = min(self._ceiling, self.size * 3 // 2)


def age(text: str) -> int:
    """Return `36h`, `90d`, `8w` or `2y` in microseconds; raises `InvalidInput`."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*([hdwy])\s*", text)
    if found is None:
        msg = f"{text!r} is no age: give a whole number and h, d, w or y, for example 90d"
        raise InvalidInput(msg)
    return int(found[1]) * _UNITS_US[found[2]]


def prune(store: Store, limits: Limits, *, actor: str, dry_run: bool = False) -> Pruned:
    """Prune everything beyond its limit, or with `dry_run` count it; return how many.

    Raises `CorruptRow` before anything goes where a ledger does not verify: its evidence is needed.
    """
    with store.reading() as txn:
        places: list[Place] = [(row["agent"], row["environment"]) for row in txn.all(pruning.PLACES)]
    for place in places:
        ledger.verify(store, *place)
    done = Pruned()
    for place in places:
        work = _Work(store, place, limits, actor, done)
        work.count() if dry_run else work.do()
    return done


@dataclass(slots=True)
class _Work:
    """The pruning of one control point."""

    store: Store
    place: Place
    limits: Limits
    actor: str
    done: Pruned
    pace: Pace = field(default_factory=Pace)

    @property
    def key(self) -> dict[str, str]:
        return {"agent": self.place[0], "environment": self.place[1]}

    def count(self) -> None:
        """Count what `do` would prune."""
        with self.store.reading() as txn:
            now_us, point = txn.now_us, points.read(txn, *self.place)
            before_us = now_us - self.limits.runs_us
            kept, last = self._kept(txn, point, before_us), last_before(txn, before_us)
            runs = txn.one(pruning.COUNT_PRUNABLE, **kept, last=last)
            old = txn.one(pruning.COUNT_OLD_CONVERSATIONS, **self.key, before_us=before_us)
            self.done.runs += runs["n"] if runs else 0
            self.done.conversations += old["n"] if old else 0
            self.done.releases += len(self._provable(txn, point))
            self.done.ledger += max(0, self._cut(txn, point) - ledger.anchored(txn, *self.place))

    def do(self) -> None:
        """Prune runs first: evidence and ledger outlive them."""
        self._runs()
        self._conversations()
        self._counters()
        self._told()
        self._evidence()
        self._ledger()

    def _kept(self, txn: Transaction, point: ControlPoint, before_us: int) -> dict[str, object]:
        """The parameters that say which runs are prunable."""
        seqs = {}
        for bundle_id in (point.baseline, point.candidate):
            row = txn.one(pruning.BEYOND_HISTORY, **self.key, bundle_id=bundle_id, most=HISTORY_RUNS)
            seqs[bundle_id] = row["seq"] if row else 0
        return {
            **self.key,
            "before_us": before_us,
            "baseline": point.baseline,
            "baseline_seq": seqs[point.baseline],
            "candidate": point.candidate or "",
            "candidate_seq": seqs[point.candidate],
        }

    def _runs(self) -> None:
        with self.store.reading() as txn:
            before_us = txn.now_us - self.limits.runs_us
            last = last_before(txn, before_us)
        after = 0
        while True:
            with self.store.reading() as txn:
                kept = self._kept(txn, points.read(txn, *self.place), before_us)
                rows = txn.all(pruning.PRUNABLE_RUNS, **kept, after=after, last=last, most=self.pace.size)
            if not rows:
                return
            after, ids = rows[-1]["seq"], [row["id"] for row in rows]
            self.done.runs += self._batch(partial(self._delete_runs, ids=ids, before_us=before_us))

    def _delete_runs(self, txn: Transaction, ids: list[str], before_us: int) -> int:
        """Delete those of `ids` that are prunable still."""
        kept = self._kept(txn, points.read(txn, *self.place), before_us)
        statement, among = sql.among(pruning.PRUNABLE_AMONG, ids)
        found = [row["id"] for row in txn.all(statement, **kept, **among)]
        if not found:
            return 0
        for table in OF_RUN:
            statement, among = sql.among(pruning.delete_among(table, "run_id"), found)
            txn.run(statement, **among)
        statement, among = sql.among(pruning.delete_among("run", "id"), found)
        return txn.run(statement, **among)

    def _conversations(self) -> None:
        with self.store.reading() as txn:
            before_us = txn.now_us - self.limits.runs_us
        where = "agent = :agent AND environment = :environment AND since_us < :before_us"
        self.done.conversations += self._all_of("conversation", where, **self.key, before_us=before_us)

    def _counters(self) -> None:
        with self.store.reading() as txn:
            before_us, point = txn.now_us - self.limits.runs_us, points.read(txn, *self.place)
        served = {"baseline": point.baseline, "candidate": point.candidate or ""}
        for table in COUNTERS:
            if table in CHARGED:
                self._rows_of([table], pruning.UNCHARGED_RELEASES, before_us=before_us, **served)
            else:
                self._rows_of([table], pruning.ENDED_RELEASES, before_us=before_us)

    def _rows_of(self, tables: Sequence[str], releases: str, **values: object) -> None:
        """Delete rows of releases; those whose rows went long ago cost one read a table, all together."""
        for table in tables:
            with self.store.reading() as txn:
                rows = txn.all(pruning.with_rows(releases, table), **self.key, **values)
            for row in rows:
                self._all_of(table, "release_id = :release_id", release_id=row["id"])

    def _told(self) -> None:
        with self.store.reading() as txn:
            before_us = txn.now_us - self.limits.runs_us
        for table, where in zip(TOLD, (pruning.OLD_DELIVERIES, pruning.OLD_NOTICES), strict=True):
            self._all_of(table, where, **self.key, before_us=before_us)

    def _provable(self, txn: Transaction, point: ControlPoint) -> list[str]:
        """Releases whose evidence is old and proves nobody in service."""
        rows = txn.all(
            pruning.PRUNABLE_EVIDENCE,
            **self.key,
            before_us=txn.now_us - self.limits.evidence_us,
            baseline=point.baseline,
            candidate=point.candidate or "",
        )
        return [row["id"] for row in rows]

    def _evidence(self) -> None:
        with self.store.transaction(at=self.place) as txn:
            for release_id in self._provable(txn, points.read(txn, *self.place)):
                self.done.releases += txn.run(pruning.MARK_PRUNED, id=release_id, now_us=txn.now_us)
        self._rows_of(EVIDENCE, pruning.MARKED_RELEASES)

    def _cut(self, txn: Transaction, point: ControlPoint) -> int:
        """The last ledger row that may go; all of them may, since the pruning's own row follows them."""
        before_us = txn.now_us - self.limits.ledger_us
        needed = txn.one(pruning.LEDGER_NEEDED, **self.key, before_us=before_us, release_id=point.release_id)
        if needed is not None and needed["seq"] is not None:
            return int(needed["seq"]) - 1
        tail = txn.one(sql.LEDGER_TAIL, **self.key)
        return int(tail["seq"]) if tail else 0

    def _ledger(self) -> None:
        with self.store.transaction(durable=True, at=self.place) as txn:
            point = points.read(txn, *self.place)
            anchored, cut = ledger.anchored(txn, *self.place), self._cut(txn, point)
            if cut > anchored:
                ledger.anchor(txn, point, cut, self.actor)
                anchored = cut
        where = "agent = :agent AND environment = :environment AND seq <= :seq"
        self.done.ledger += self._all_of("ledger", where, **self.key, seq=anchored)

    def _all_of(self, table: str, where: str, **values: object) -> int:
        """Delete what `where` fits, batch by batch."""
        total = 0
        while True:
            most = self.pace.size
            gone = self._batch(
                partial(_delete_some, table=table, where=where, values={**values, "most": most})
            )
            total += gone
            if gone < most:
                return total

    def _batch(self, work: Callable[[Transaction], int]) -> int:
        with self.store.transaction(at=self.place) as txn:
            began = time.monotonic()
            count = work(txn)
        took = time.monotonic() - began
        self.pace.after(took)
        time.sleep(took)  # whoever polls for SQLite's lock gets it now
        return count


def _delete_some(txn: Transaction, *, table: str, where: str, values: Values) -> int:
    return txn.run(pruning.delete_some(table, where, txn.row_id), **values)


def last_before(txn: Transaction, before_us: int) -> int:
    """Return the place of the newest run assigned before a time, by bisection: runs are in order of time."""
    newest = txn.one(pruning.RUN_LAST)
    low, high = 0, newest["seq"] if newest else 0
    while low < high:
        middle = (low + high + 1) // 2
        row = txn.one(pruning.RUN_FROM, seq=middle)
        if row is None or row["assigned_us"] >= before_us:
            high = middle - 1
        else:
            low = row["seq"]
    return low
