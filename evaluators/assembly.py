"""Assembly: runs in assignment order become blocks.

A block holds `block_size` consecutive runs of one stratum at one share. It closes when it is full or when
the stratum's next run has another share; never by an outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluators.blocks import BlockCounts, BlockTable
from evaluators.mixture import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The rows that some runs fall into, in the order in which they close, open ones last."""

    #: rows without counts
    table: BlockTable
    #: each run's row, (runs,)
    row_of_run: IntArray
    #: rows that go on from the stratum's open block: its counts are added, (rows,)
    continues: BoolArray
    #: place of the run with which each row closes, infinite while it is open, (rows,)
    closes: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One stratum's rows: where each closes (position among the runs, infinite while open)."""

    stratum: str
    blocks: IntArray
    shares: IntArray
    closes: FloatArray
    continues: BoolArray


def lay_out(
    stratum: npt.NDArray[np.object_],
    share_bp: IntArray,
    size: int,
    last: Mapping[str, int],
    pending: Mapping[str, BlockCounts],
) -> Layout:
    """Place runs (their strata and shares, in order) into blocks.

    `last` is each stratum's last closed block and `pending` its open one, whose n_c + n_b runs (all of
    them, whatever a guardrail counts) it already holds.
    """
    parts, row_of_run, offset = [], np.empty(len(stratum), dtype=np.int64), 0
    for name in dict.fromkeys(stratum.tolist()):
        places = np.flatnonzero(stratum == name)
        held, before = pending.get(name), last.get(name, -1)
        part, local = _one_stratum(name, places, share_bp[places], size=size, last=before, pending=held)
        row_of_run[places] = local + offset
        offset += len(part.blocks)
        parts.append(part)
    closes = np.concatenate([part.closes for part in parts])
    order = np.argsort(closes, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    names = np.empty(len(order), dtype=object)
    names[:] = [part.stratum for part in parts for _ in part.blocks]
    table = BlockTable(
        names,
        np.concatenate([part.blocks for part in parts]),
        np.concatenate([part.shares for part in parts]),
        np.zeros((len(order), 4), dtype=np.int64),
        np.isfinite(closes),
        np.zeros((len(order), 0)),
    ).take(order)
    continues = np.concatenate([part.continues for part in parts])[order]
    return Layout(table, rank[row_of_run], continues, np.ceil(closes[order]))


def _one_stratum(
    name: str, places: IntArray, shares: IntArray, *, size: int, last: int, pending: BlockCounts | None
) -> tuple[_Part, IntArray]:
    """The rows of one stratum's runs at `places`, and each run's row among them."""
    held = 0 if pending is None else pending.n_c + pending.n_b
    goes_on = pending is not None and pending.share_bp == shares[0] and held < size
    starts = np.flatnonzero(np.append(True, shares[1:] != shares[:-1]))
    lengths = np.diff(np.append(starts, len(shares)))
    position = np.arange(len(shares)) - np.repeat(starts, lengths)
    if goes_on:
        position[: lengths[0]] += held
    begins = position % size == 0
    begins[starts] = True
    local = np.cumsum(begins) - 1
    ends = np.append(np.flatnonzero(begins)[1:] - 1, len(shares) - 1)
    full = position[ends] % size == size - 1
    following = np.append(places[ends[:-1] + 1] - 0.5, np.inf)
    closes = np.where(full, places[ends].astype(np.float64), following)
    first_block = last + 1 if pending is None else pending.block + (0 if goes_on else 1)
    blocks = first_block + np.arange(len(ends))
    continues = np.zeros(len(ends), dtype=np.bool_)
    continues[0] = goes_on
    part = _Part(name, blocks, shares[ends], closes, continues)
    if pending is None or goes_on:
        return part, local
    return _closed_before(pending, part, float(places[0]) - 0.5), local + 1


def _closed_before(pending: BlockCounts, part: _Part, at: float) -> _Part:
    """The rows with the stratum's open block closed in front of them, because the share changed."""
    return _Part(
        part.stratum,
        np.append(pending.block, part.blocks),
        np.append(pending.share_bp, part.shares),
        np.append(at, part.closes),
        np.append(True, part.continues),
    )


def count(
    layout: Layout,
    candidate: BoolArray,
    counted: BoolArray,
    bad: BoolArray,
    pending: Mapping[str, BlockCounts],
    added: FloatArray | None = None,
) -> BlockTable:
    """The layout's rows with one guardrail's counts; `pending` are its own open blocks.

    `added` (runs, width) is what each run adds to a measured guardrail's sums, 0 where it does not count.
    """
    rows = len(layout.table)
    cell = (layout.row_of_run * 4 + candidate * 2 + bad)[counted]
    cells = np.bincount(cell, minlength=rows * 4).reshape(rows, 2, 2)
    counts = np.stack(
        [cells[:, 1].sum(axis=1), cells[:, 1, 1], cells[:, 0].sum(axis=1), cells[:, 0, 1]], axis=1
    )
    held = {
        int(row): pending[str(layout.table.stratum[row])]
        for row in np.flatnonzero(layout.continues)
        if str(layout.table.stratum[row]) in pending
    }
    for row, block in held.items():
        counts[row] += np.array([block.n_c, block.y_c, block.n_b, block.y_b])
    return layout.table.with_counts(counts.astype(np.int64), _summed(layout, held, added))


def _summed(layout: Layout, held: Mapping[int, BlockCounts], added: FloatArray | None) -> FloatArray:
    """Each row's sums, (rows, width), added run after run so that cutting the runs changes no digit."""
    if added is None or added.shape[1] == 0:
        return np.zeros((len(layout.table), 0))
    rows, values = layout.row_of_run, added.T
    if held:
        before = np.array([block.sums for block in held.values()]).reshape(len(held), added.shape[1])
        rows = np.append(np.array(list(held), dtype=np.int64), rows)
        values = np.hstack([before.T, values])
    found = np.empty((len(values), len(layout.table)))
    for place, column in enumerate(np.ascontiguousarray(values)):
        found[place] = np.bincount(rows, weights=column, minlength=len(layout.table))
    return found.T


def sum_by_arm(
    layout: Layout, candidate: BoolArray, added: FloatArray, pending: Mapping[str, FloatArray]
) -> FloatArray:
    """Each row's sums of what runs add to their own arm, (rows, 2 * width), the candidate's first.

    `added` is (runs, width); `pending` are the sums of open blocks by stratum, which go on.
    """
    rows, width = len(layout.table), added.shape[1]
    cell = layout.row_of_run * 2 + ~candidate
    sums = [np.bincount(cell, weights=column, minlength=2 * rows) for column in added.T]
    found = np.stack(sums, axis=1).reshape(rows, 2 * width).astype(np.float64)
    for row in np.flatnonzero(layout.continues).tolist():
        found[row] += pending.get(str(layout.table.stratum[row]), 0.0)
    return np.asarray(found)
