"""Tallies: exact sums over outcomes, kept in the transaction that inserts the rows.

A cell is (release, task type, block, arm). Its sums are integers (money in millionths of a dollar, latency in
microseconds), so that they equal a recount bit for bit, in whatever order rows came. There are two: the live
sum follows late reports; the sealed one is copied when a block's last guardrail was scored and never changes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
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


#: what is counted of an outcome by its value, in the order of `values_of`
COUNTED = (
    *("status", "completed", "validated", "escalated", "infra_failure", "incidents", "operator_edits"),
    *("cost_usd", "latency_s"),
)
values_of = attrgetter(*COUNTED)
#: those that have few values: runs that are alike in them are counted together
_ALIKE = 7


def _nothing() -> list[int]:
    return [0, 0, 0, 0]


@dataclass(slots=True)
class Tallies:
    """Sums that a transaction is about to add to the store's."""

    #: how many runs of a cell were alike in everything but cost and latency
    _alike: defaultdict[tuple[Cell, tuple[Any, ...]], int] = field(default_factory=lambda: defaultdict(int))
    #: by cell: runs that told their cost, millionths of a dollar, runs that told their latency, microseconds
    _amounts: defaultdict[Cell, list[int]] = field(default_factory=lambda: defaultdict(_nothing))
    #: by cell and metric: how many runs said it, and their sum in millionths
    _metrics: dict[tuple[Cell, str], list[int]] = field(default_factory=dict)

    def add(self, cell: Cell, outcome: Outcome, sign: int = 1) -> None:
        """Add one outcome, or take it out again with sign -1."""
        self.add_values(cell, values_of(outcome), outcome.metrics, sign)

    def add_values(
        self, cell: Cell, values: tuple[Any, ...], metrics: Mapping[str, float | bool], sign: int = 1
    ) -> None:
        """Add one outcome by its values in the order of `COUNTED`."""
        self._alike[cell, values[:_ALIKE]] += sign
        amounts, cost_usd, latency_s = self._amounts[cell], values[_ALIKE], values[_ALIKE + 1]
        if cost_usd is not None:
            amounts[0] += sign
            amounts[1] += sign * int(cost_usd * MILLION + 0.5)
        if latency_s is not None:
            amounts[2] += sign
            amounts[3] += sign * int(latency_s * MILLION + 0.5)
        if metrics:
            self._add_metrics(cell, metrics, sign)

    def _add_metrics(self, cell: Cell, metrics: Mapping[str, float | bool], sign: int) -> None:
        for name, value in metrics.items():
            if abs(value) <= MOST:
                counted = self._metrics.setdefault((cell, name), [0, 0])
                counted[0] += sign
                counted[1] += sign * micro(float(value))

    def cells(self) -> dict[Cell, list[int]]:
        """Return the sums of each cell in the order of `statements.SUMS`, cells in order."""
        found = {cell: [0] * (len(sql.SUMS) - 4) for cell in sorted(self._amounts)}
        for (cell, (status, *told)), runs in self._alike.items():
            sums = found[cell]
            sums[0] += runs
            if status != "ended":
                sums[1 if status == "failed" else 2] += runs
            for place, value in enumerate(told):
                if value is not None:
                    sums[3 + 2 * place] += runs
                    sums[4 + 2 * place] += runs * value
        return {cell: sums + self._amounts[cell] for cell, sums in found.items()}

    def write(self, txn: Transaction) -> None:
        """Add them to the live sums; in one order everywhere, so that two writers never wait in a circle."""
        txn.many(
            sql.ADD_TALLY,
            [
                dict(zip((*_CELL, *sql.SUMS), (*cell, *sums), strict=True))
                for cell, sums in self.cells().items()
            ],
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


def merged(outcome: Outcome, late: Iterable[Mapping[str, Any]]) -> Outcome:
    """Return an outcome with late reports laid over it, in order; the last word counts."""
    found = replace(outcome, metrics=dict(outcome.metrics))
    for fields in late:
        found.metrics.update(fields.get("metrics", {}))
        for name, value in fields.items():
            if name != "metrics":
                setattr(found, name, value)
    return found


__all__ = ["COUNTED", "NO_BLOCK", "Cell", "Origin", "Tallies", "merged", "micro", "seal", "values_of"]
