"""Tallies: exact sums over outcomes, kept in the transaction that inserts the rows.

A cell is (release, task type, block, arm). Its sums are integers (money in millionths of a dollar, latency in
microseconds), so that they equal a recount bit for bit, in whatever order rows came. There are two: the live
sum follows late reports; the sealed one is copied when a block's last guardrail was scored and never changes.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from operator import add, attrgetter, sub
from typing import Any, Self, TypeAlias

from lastgood.outcome import Outcome
from lastgood.release import stratum_of
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction

#: release, task type, block (-1: no evidence), arm
Cell: TypeAlias = tuple[str, str, int, str]
MILLION = 1_000_000
#: a free metric beyond this is not summed: its millionths would leave 64 bits in a large block
MOST = 1e9
_CELL = ("release_id", "task_type", "block", "arm")
#: a run that is no evidence (not eligible, or a repeated unit)
NO_BLOCK = -1


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run comes from: what its assignment says, as far as recording needs it."""

    agent: str
    environment: str
    release_id: str | None
    task_type: str
    block: int | None
    arm: str
    bundle_id: str
    #: microseconds UTC
    assigned_us: int
    #: where its sums go; None for a run of no release
    cell: Cell | None = field(init=False)

    def __post_init__(self) -> None:
        block = NO_BLOCK if self.block is None else self.block
        cell = None if self.release_id is None else (self.release_id, self.task_type, block, self.arm)
        object.__setattr__(self, "cell", cell)

    @classmethod
    def of(cls, run: Row) -> Self:
        """Read it from a run's row."""
        return cls(
            run["agent"],
            run["environment"],
            run["release_id"],
            run["task_type"],
            run["block"],
            run["arm"],
            run["bundle_id"],
            run["assigned_us"],
        )


def micro(amount: float) -> int:
    """Return millionths, halves rounded up; the same float gives the same number everywhere."""
    return int(amount * MILLION + 0.5) if amount >= 0 else -int(0.5 - amount * MILLION)


#: what is counted of an outcome by its value, in the order of `statements.SUMS`
COUNTED = (
    *("status", "completed", "validated", "escalated", "infra_failure", "incidents", "operator_edits"),
    *("cost_usd", "latency_s"),
)
values_of = attrgetter(*COUNTED)
#: those whose values are summed as they are
_WHOLE = slice(1, 7)
_AMOUNTS = slice(7, 9)


def _summed(
    told: Sequence[Sequence[Any]], order: Sequence[int], ends: Sequence[int]
) -> list[tuple[int, ...]]:
    """Return the sums of consecutive outcomes: those before the first end, then those before the next.

    `told` are the outcomes by column, those of `COUNTED` first, and `order` is theirs. One running sum a
    column, read at every end, takes a third of the time that a sum for each cell takes.
    """
    runs = list(map(sub, ends, (0, *ends)))
    status = list(map(told[0].__getitem__, order))
    failed, ended = (_running(map(name.__eq__, status), ends) for name in ("failed", "ended"))
    sums = [runs, failed, [n - a - b for n, a, b in zip(runs, failed, ended, strict=True)]]
    for values in told[_WHOLE]:
        sums += _column(values, int, order, ends, runs)
    for values in told[_AMOUNTS]:
        sums += _column(values, _micro, order, ends, runs)
    return list(zip(*sums, strict=True))


def _column(
    values: Sequence[Any], unit: Callable[[Any], int], order: Sequence[int], ends: Sequence[int],
    runs: list[int],
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Return how many values there are between the ends, and their sums."""
    missing = values.count(None)
    if missing == len(values):
        return [0] * len(runs), [0] * len(runs)
    placed = list(map(values.__getitem__, order))
    if not missing:
        return runs, _running(map(unit, placed), ends)
    counts = _running((value is not None for value in placed), ends)
    return counts, _running((0 if value is None else unit(value) for value in placed), ends)


def _running(values: Iterable[int], ends: Sequence[int]) -> list[int]:
    """Return the sums of `values` between the ends."""
    totals = [*accumulate(values, initial=0)]
    at = [totals[end] for end in ends]
    return list(map(sub, at, (0, *at)))


def _micro(amount: float) -> int:
    """Return the millionths of an amount that is not negative."""
    return int(amount * MILLION + 0.5)


@dataclass(slots=True)
class Tallies:
    """Sums that a transaction is about to add to the store's."""

    #: by cell, in the order of `statements.SUMS`
    _sums: dict[Cell, list[int]] = field(default_factory=dict)
    #: by cell and metric: how many runs said it, and their sum in millionths
    _metrics: dict[tuple[Cell, str], list[int]] = field(default_factory=dict)

    def add(self, cell: Cell, outcome: Outcome, sign: int = 1) -> None:
        """Add one outcome, or take it out again with sign -1."""
        (sums,) = _summed([(value,) for value in values_of(outcome)], (0,), (1,))
        self._add(cell, sums if sign > 0 else [-each for each in sums])
        self.add_metrics(cell, outcome.metrics, sign)

    def add_all(self, cells: Sequence[Cell | None], told: Sequence[Sequence[Any]]) -> None:
        """Add outcomes by column, those of `COUNTED` first, in that order; what has no cell stays out."""
        places: defaultdict[Cell, list[int]] = defaultdict(list)
        for place, cell in enumerate(cells):
            if cell is not None:
                places[cell].append(place)
        order = list(chain.from_iterable(places.values()))
        ends = list(accumulate(map(len, places.values())))
        for cell, sums in zip(places, _summed(told, order, ends), strict=True):
            self._add(cell, sums)

    def _add(self, cell: Cell, sums: Sequence[int]) -> None:
        before = self._sums.get(cell)
        self._sums[cell] = list(sums) if before is None else list(map(add, before, sums))

    def add_metrics(self, cell: Cell, metrics: Mapping[str, float | bool], sign: int = 1) -> None:
        """Add the free metrics of one outcome."""
        for name, value in metrics.items():
            if abs(value) <= MOST:
                counted = self._metrics.setdefault((cell, name), [0, 0])
                counted[0] += sign
                counted[1] += sign * micro(float(value))

    def cells(self) -> dict[Cell, list[int]]:
        """Return the sums of each cell in the order of `statements.SUMS`, cells in order."""
        return {cell: self._sums[cell] for cell in sorted(self._sums)}

    def write(self, txn: Transaction) -> None:
        """Add them to the live sums; in one order everywhere, so that two writers never wait in a circle."""
        txn.many_bare(sql.ADD_TALLY, [(*cell, *sums) for cell, sums in self.cells().items()])
        txn.many(sql.ADD_METRIC_TALLY, self.metric_rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return the sums as rows of `tally`."""
        return [
            dict(zip((*_CELL, *sql.SUMS), (*cell, *sums), strict=True)) for cell, sums in self.cells().items()
        ]

    def metric_rows(self) -> list[dict[str, Any]]:
        """Return the sums of free metrics as rows of `metric_tally`."""
        return [
            {**dict(zip(_CELL, cell, strict=True)), "metric": name, "n": n, "total_micro": total}
            for (cell, name), (n, total) in sorted(self._metrics.items())
        ]


def seal(
    txn: Transaction, release_id: str, strata: Collection[str], blocks: Iterable[tuple[str, int]]
) -> int:
    """Copy the live sums of closed blocks, by (stratum, block), to the sealed ones; return how many cells.

    What is sealed already stays as it is. `strata` are the slices that the release's policy lists.
    """
    wanted = set(blocks)
    if not wanted:
        return 0
    least = min(block for _, block in wanted)
    rows = [
        dict(row)
        for row in txn.all(sql.UNSEALED_TALLIES, release_id=release_id, least=least)
        if (stratum_of(strata, row["task_type"]), row["block"]) in wanted
    ]
    return txn.many(sql.SEAL_TALLY, rows)


#: what a late report holds beside outcomes: free metrics, and a referee's judgement, which is in no sum
_APART = frozenset({"metrics", "judgement"})


def merged(outcome: Outcome, late: Iterable[Mapping[str, Any]]) -> Outcome:
    """Return an outcome with late reports laid over it, in order; the last word counts."""
    found = replace(outcome, metrics=dict(outcome.metrics))
    for fields in late:
        found.metrics.update(fields.get("metrics", {}))
        for name, value in fields.items():
            if name not in _APART:
                setattr(found, name, value)
    return found


__all__ = ["COUNTED", "NO_BLOCK", "Cell", "Origin", "Tallies", "merged", "micro", "seal", "values_of"]
