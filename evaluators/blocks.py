"""Blocks: what one guardrail saw of a small group of consecutively assigned runs.

A block holds runs of one stratum and one share, so within it the assignment's bias is a constant and
four counts are all the evidence there is. Blocks come in assignment order per stratum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.mixture import BoolArray, FloatArray, IntArray
from evaluators.rules import Rules
from lastgood import release
from lastgood.errors import InvalidEvidence
from lastgood.release import ALL, OTHER

#: basis points of a whole
WHOLE = 10_000
#: the columns of a block that hold counts
COUNTS = ("n_c", "y_c", "n_b", "y_b")
#: no n in a block may be larger; beyond it log factorials lose the promised digits
LARGEST_BLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class BlockCounts:
    """One block as one guardrail sees it; InvalidEvidence on numbers that can't be."""

    #: the slice that its runs belong to
    stratum: str
    #: its number; rises within a stratum
    block: int
    #: basis points of runs that went to the candidate while it filled, 1..9999
    share_bp: int
    #: candidate runs scored
    n_c: int
    #: bad candidate runs, at most n_c
    y_c: int
    #: baseline runs scored
    n_b: int
    #: bad baseline runs, at most n_b
    y_b: int
    #: no run will join it any more and all of them are scored
    closed: bool
    #: what a measured guardrail adds up over its runs (see its method); empty for counts
    sums: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't have been counted."""
        where = f"block {self.block!r} of stratum {self.stratum!r}"
        if not self.stratum:
            raise InvalidEvidence(f"{where}: column stratum must be a non-empty text")
        for column in ("block", "share_bp", *COUNTS):
            value = getattr(self, column)
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise InvalidEvidence(f"{where}: column {column} must be a whole number, not {value!r}")
            if value < 0:
                raise InvalidEvidence(f"{where}: column {column} is negative ({value})")
        if not isinstance(self.closed, bool | np.bool_):
            raise InvalidEvidence(f"{where}: column closed must be true or false, not {self.closed!r}")
        _check_ranges(self, where)
        object.__setattr__(self, "sums", tuple(float(value) for value in self.sums))
        if not all(math.isfinite(value) for value in self.sums):
            raise InvalidEvidence(f"{where}: column sums holds a value that is not finite")


def _check_ranges(block: BlockCounts, where: str) -> None:
    if not 0 < block.share_bp < WHOLE:
        raise InvalidEvidence(f"{where}: column share_bp is {block.share_bp}, not within 1..{WHOLE - 1}")
    for bad, count in (("y_c", "n_c"), ("y_b", "n_b")):
        if getattr(block, bad) > getattr(block, count):
            raise InvalidEvidence(
                f"{where}: column {bad} is {getattr(block, bad)}, more than {count} ({getattr(block, count)})"
            )
        if getattr(block, count) > LARGEST_BLOCK:
            raise InvalidEvidence(f"{where}: column {count} is above {LARGEST_BLOCK}; cut smaller blocks")


@dataclass(frozen=True, slots=True, eq=False)
class BlockTable:
    """Blocks as columns, rows in the order in which they closed; open blocks come last."""

    #: slice of each row, (rows,)
    stratum: npt.NDArray[np.object_]
    #: block number of each row
    block: IntArray
    #: basis points of runs to the candidate
    share_bp: IntArray
    #: candidate runs, bad candidate runs, baseline runs, bad baseline runs, (rows, 4)
    counts: IntArray
    #: whether the row's block is closed
    closed: BoolArray
    #: additive sums of a measured guardrail, (rows, width); width 0 for counts
    sums: FloatArray

    def __len__(self) -> int:
        """Rows."""
        return len(self.block)

    def take(self, rows: Any) -> "BlockTable":
        """The rows of an index, a mask or a slice."""
        return BlockTable(
            self.stratum[rows],
            self.block[rows],
            self.share_bp[rows],
            self.counts[rows],
            self.closed[rows],
            self.sums[rows],
        )

    def with_counts(self, counts: IntArray, sums: FloatArray | None = None) -> "BlockTable":
        """The same blocks as another guardrail saw them."""
        found = np.zeros((len(self), 0)) if sums is None else sums
        return BlockTable(self.stratum, self.block, self.share_bp, counts, self.closed, found)

    def row(self, index: int) -> BlockCounts:
        """One row as a value."""
        n_c, y_c, n_b, y_b = (int(value) for value in self.counts[index])
        return BlockCounts(
            str(self.stratum[index]), int(self.block[index]), int(self.share_bp[index]),
            n_c, y_c, n_b, y_b, bool(self.closed[index]), tuple(self.sums[index].tolist()),
        )  # fmt: skip

    @staticmethod
    def of(blocks: Sequence[BlockCounts]) -> "BlockTable":
        """Columns of blocks; the open ones are put last. InvalidEvidence where widths of sums differ."""
        widths = {len(b.sums) for b in blocks}
        if len(widths) > 1:
            raise InvalidEvidence(
                f"blocks {blocks[0].block} to {blocks[-1].block}, column sums: {sorted(widths)} values;"
                " all blocks of a guardrail carry the same"
            )
        ordered = [b for b in blocks if b.closed] + [b for b in blocks if not b.closed]
        stratum = np.empty(len(ordered), dtype=object)
        stratum[:] = [b.stratum for b in ordered]
        counts = np.array([[b.n_c, b.y_c, b.n_b, b.y_b] for b in ordered], dtype=np.int64)
        return BlockTable(
            stratum,
            np.array([b.block for b in ordered], dtype=np.int64),
            np.array([b.share_bp for b in ordered], dtype=np.int64),
            counts.reshape(len(ordered), 4),
            np.array([b.closed for b in ordered], dtype=np.bool_),
            np.array([b.sums for b in ordered], dtype=np.float64).reshape(
                len(ordered), max(widths, default=0)
            ),
        )


def check_order(name: str, table: BlockTable, last: dict[str, int]) -> None:
    """Blocks of a stratum rise from the last closed one, and at most the newest is open.

    `last` is the number of each stratum's last closed block. Raises InvalidEvidence.
    """
    for stratum in dict.fromkeys(table.stratum.tolist()):
        mine = table.take(table.stratum == stratum)
        previous = last.get(stratum, -1)
        for block in mine.block.tolist():
            if block <= previous:
                raise InvalidEvidence(
                    f"guardrail {name}: block {block} of stratum {stratum!r}, column block: comes after"
                    f" block {previous}; send each closed block once, in the order of assignment"
                )
            previous = block
        if int((~mine.closed).sum()) > 1:
            raise InvalidEvidence(
                f"guardrail {name}: block {mine.block[-1]} of stratum {stratum!r}, column closed: an earlier"
                " block of the stratum is open too; only the newest may be"
            )


def stratum_of(rules: Rules, task_type: str | None) -> str:
    """The stratum that a run of a task type counts in: a listed one, `other`, or `all` where none is."""
    return release.stratum_of(dict(rules.strata), task_type)


def check_strata(rules: Rules, name: str, table: BlockTable) -> None:
    """Refuse a stratum that the rules do not list: it must be sent as `other`."""
    if not rules.strata:
        return
    known = {stratum for stratum, _ in rules.strata} | {OTHER}
    for stratum, block in zip(table.stratum.tolist(), table.block.tolist(), strict=True):
        if stratum not in known:
            raise InvalidEvidence(
                f"guardrail {name}: block {block}, column stratum: {stratum!r} is not listed in the policy;"
                f" count such runs in {OTHER!r}"
            )


__all__ = [
    "ALL",
    "COUNTS",
    "OTHER",
    "WHOLE",
    "BlockCounts",
    "BlockTable",
    "check_order",
    "check_strata",
    "stratum_of",
]
