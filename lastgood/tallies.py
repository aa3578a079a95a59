"""Tallies: exact sums over outcomes, kept in the transaction that inserts the rows.

A cell is (release, task type, block, arm). Its sums are integers (money in millionths of a dollar, latency in
microseconds), so that they equal a recount bit for bit, in whatever order rows came. There are two: the live
sum follows late reports; the sealed one is copied when a block's last guardrail was scored and never changes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
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
_NAMES = (*_CELL, *sql.SUMS)
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


def _summed(outcomes: Sequence[tuple[Any, ...]]) -> list[int]:
    """Return the sums of outcomes, at least one, each by its values: those of `COUNTED` first."""
    columns = list(zip(*outcomes, strict=True))
    status, runs = columns[0], len(outcomes)
    failed = status.count("failed")
    sums = [runs, failed, runs - failed - status.count("ended")]
    for told in columns[_WHOLE]:
        sums += (runs - told.count(None), sum(filter(None, told)))
    for told in columns[_AMOUNTS]:
        amounts = [int(amount * MILLION + 0.5) for amount in told if amount is not None]
        sums += (len(amounts), sum(amounts))
    return sums


@dataclass(slots=True)
class Tallies:
    """Sums that a transaction is about to add to the store's."""

    #: by cell, in the order of `statements.SUMS`
    _sums: dict[Cell, list[int]] = field(default_factory=dict)
    #: by cell and metric: how many runs said it, and their sum in millionths
    _metrics: dict[tuple[Cell, str], list[int]] = field(default_factory=dict)

    def add(self, cell: Cell, outcome: Outcome, sign: int = 1) -> None:
        """Add one outcome, or take it out again with sign -1."""
        self.add_all(cell, [values_of(outcome)], sign)
        self.add_metrics(cell, outcome.metrics, sign)

    def add_all(self, cell: Cell, outcomes: Sequence[tuple[Any, ...]], sign: int = 1) -> None:
        """Add outcomes, at least one, each by its values: those of `COUNTED` first, in that order."""
        sums, before = _summed(outcomes), self._sums.get(cell)
        if before is not None or sign < 0:
            sums = [was + sign * new for was, new in zip(before or [0] * len(sums), sums, strict=True)]
        self._sums[cell] = sums

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
        txn.many(
            sql.ADD_TALLY,
            [dict(zip(_NAMES, (*cell, *sums), strict=True)) for cell, sums in self.cells().items()],
        )
        txn.many(
            sql.ADD_METRIC_TALLY,
            [
                {**dict(zip(_CELL, cell, strict=True)), "metric": name, "n": n, "total_micro": total}
                for (cell, name), (n, total) in sorted(self._metrics.items())
            ],
        )


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
