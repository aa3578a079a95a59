"""Evidence: matured runs of a release, counted block by block, each run once.

Per maturity the runs are scored in assignment order, as a prefix. A block is closed when no run can join
it any more and all of its runs are scored; then it is sealed and never counted again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evaluators import History, scoring
from evaluators.blocks import WHOLE, BlockCounts, stratum_of
from evaluators.method import Method
from evaluators.path import ASSIGNED
from evaluators.rules import Guardrail, Rules
from evaluators.terms import method
from lastgood.release import Terms
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction
from tasks import frames

Blocks = dict[str, list[BlockCounts]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the guardrails of one maturity are scored."""

    #: every run up to this place in the order of assignment lies in a sealed block
    after: int = 0
    #: the last sealed block of each stratum
    sealed: Mapping[str, int] = field(default_factory=dict)
    #: guardrails that runs have reported on
    reporting: tuple[str, ...] = ()


def read_progress(text: str) -> dict[str, Progress]:
    """Return the progress by maturity (microseconds, as text) that `write_progress` wrote."""
    return {
        maturity: Progress(raw["after"], raw["sealed"], tuple(raw["reporting"]))
        for maturity, raw in json.loads(text).items()
    }


def write_progress(progress: Mapping[str, Progress]) -> str:
    """Return canonical JSON."""
    return frames.plain(
        {
            m: {"after": p.after, "sealed": dict(p.sealed), "reporting": list(p.reporting)}
            for m, p in progress.items()
        }
    )


def gather(
    txn: Transaction,
    release_id: str,
    epoch: int,
    *,
    rules: Rules,
    terms: Terms,
    history: History,
    progress: Mapping[str, Progress],
) -> tuple[Blocks, dict[str, Progress]]:
    """Return the new closed and the open blocks by guardrail, and how far the scoring is after them.

    `epoch` is the control point's: a block opened under an earlier one takes no more runs. Under ASSIGNED
    stand the blocks as assigned, from the guardrails that mature first.
    """
    counters = {row["stratum"]: row for row in txn.all(sql.BLOCK_COUNTERS, release_id=release_id)}
    filling = {
        # counted as `other` where the runs came in, as `all` here when no slice is listed
        stratum_of(rules, stratum): row["block"]
        for stratum, row in counters.items()
        if row["size"] < terms.block_size
        and row["epoch"] == epoch
        and row["opened_us"] > txn.now_us - terms.block_time_us
    }
    blocks: Blocks = {}
    after: dict[str, Progress] = {}
    for place, (maturity, members) in enumerate(rules.classes.items()):
        was = progress.get(str(maturity), Progress())
        runs = _runs(txn, release_id, was, rules, terms, maturity)
        methods = {g: how for g in members if (how := method(g, rules, history)) is not None}
        found, after[str(maturity)] = _count(runs, was, methods, history, filling, with_assigned=place == 0)
        blocks |= found
    if blocks and ASSIGNED not in blocks:
        # only slower guardrails have news: their blocks must not stand in for the assignments, long counted
        blocks[ASSIGNED] = [_nothing_new(next(iter(blocks.values()))[-1], next(iter(after.values())))]
    return blocks, after


def _nothing_new(near: BlockCounts, fastest: Progress) -> BlockCounts:
    """The empty block that is open where the fastest guardrails have sealed all they saw."""
    number = fastest.sealed.get(near.stratum, -1) + 1
    return BlockCounts(near.stratum, number, near.share_bp, 0, 0, 0, 0, closed=False)


def _runs(
    txn: Transaction,
    release_id: str,
    was: Progress,
    rules: Rules,
    terms: Terms,
    maturity: int,
) -> pd.DataFrame:
    """Runs that no sealed block holds, with their stratum and whether they are matured."""
    rows = txn.all(sql.SCORED_RUNS, release_id=release_id, after=was.after)
    late = txn.all(sql.LATE_OF_RELEASE, release_id=release_id, after=was.after)
    members = rules.classes[maturity]
    runs = frames.frame(rows, late, members, lost_after_us=terms.lost_after_us, maturity_us=maturity)
    if runs.empty:
        return runs.assign(stratum=[], matured=[])
    runs["stratum"] = [stratum_of(rules, task_type) for task_type in runs["task_type"]]
    # a prefix: nothing is scored before what was assigned before it
    runs["matured"] = (runs["assigned_us"] + maturity <= txn.now_us).cummin()
    last = runs["stratum"].map(lambda stratum: was.sealed.get(stratum, -1)).astype(int)
    return runs[runs["block"] > last].reset_index(drop=True)


def _count(
    runs: pd.DataFrame,
    was: Progress,
    methods: Mapping[Guardrail, Method],
    history: History,
    filling: Mapping[str, int],
    *,
    with_assigned: bool,
) -> tuple[Blocks, Progress]:
    matured = runs[runs["matured"].astype(bool)] if len(runs) else runs
    reporting = tuple(
        g.name
        for g in methods
        if g.column in frames.ALWAYS
        or g.name in was.reporting
        or history.of(g)[0] > 0
        or frames.reported(matured, g)
    )
    if matured.empty:
        return {}, Progress(was.after, was.sealed, reporting)
    kept = {g: found for g, found in methods.items() if g.name in reporting}
    table = _table(matured, kept, with_assigned=with_assigned)
    table["closed"] = _closed(table, runs, filling)
    sealed = {**was.sealed}
    for stratum, block in table.index[table["closed"]]:
        sealed[stratum] = max(sealed.get(stratum, -1), int(block))
    names = [*reporting, ASSIGNED] if with_assigned else list(reporting)
    widths = {ASSIGNED: 0} | {g.name: found.width for g, found in kept.items()}
    blocks = {name: [_block(key, row, name, widths[name]) for key, row in table.iterrows()] for name in names}
    open_seq = runs.loc[runs["block"] > runs["stratum"].map(lambda s: sealed.get(s, -1)).astype(int), "seq"]
    after = int(open_seq.min()) - 1 if len(open_seq) else int(runs["seq"].max())
    return blocks, Progress(after, sealed, reporting)


def _closed(table: pd.DataFrame, runs: pd.DataFrame, filling: Mapping[str, int]) -> list[bool]:
    """Whether each block takes no more runs and holds no run that is yet to mature."""
    unripe = runs.loc[~runs["matured"].astype(bool)]
    waiting = set(zip(unripe["stratum"], unripe["block"], strict=True))
    return [
        key not in waiting and filling.get(key[0]) != key[1]
        for key in ((str(stratum), int(block)) for stratum, block in table.index)
    ]


def _table(
    matured: pd.DataFrame, methods: Mapping[Guardrail, Method], *, with_assigned: bool
) -> pd.DataFrame:
    """Counts and sums by (stratum, block), in the order in which blocks ended; four columns and more each."""
    candidate = matured["arm"].to_numpy() == "candidate"
    lost, infra = scoring.read_modifiers(matured)
    columns: dict[str, Any] = {}
    share = matured["share_bp"].to_numpy(dtype=np.float64) / WHOLE
    for g, found in methods.items():
        if g.column not in matured:  # nobody has reported it yet in these runs
            matured = matured.assign(**{g.column: None})
        scored = found.score(matured, candidate, share, lost, infra)
        columns |= _four(g.name, candidate, scored.counted, scored.hit & scored.counted)
        added = np.where(scored.counted[:, None], scored.added, 0.0)
        columns |= {f"{g.name}:{place}": column for place, column in enumerate(added.T)}
    if with_assigned:
        everyone = np.ones(len(matured), dtype=np.bool_)
        columns |= _four(ASSIGNED, candidate, everyone, ~everyone)
    keys = [matured["stratum"], matured["block"].astype(int)]
    table = pd.DataFrame(columns, index=matured.index).groupby(keys, sort=False).sum()
    table["share_bp"] = matured.groupby(keys, sort=False)["share_bp"].first()
    table["ended"] = matured.groupby(keys, sort=False)["seq"].max()
    return table.sort_values("ended")


def _four(name: str, candidate: Any, counted: Any, bad: Any) -> dict[str, Any]:
    return {
        f"{name}:n_c": counted & candidate,
        f"{name}:y_c": bad & candidate,
        f"{name}:n_b": counted & ~candidate,
        f"{name}:y_b": bad & ~candidate,
    }


def _block(key: Any, row: "pd.Series[Any]", name: str, width: int) -> BlockCounts:
    n_c, y_c, n_b, y_b = (int(row[f"{name}:{column}"]) for column in ("n_c", "y_c", "n_b", "y_b"))
    share_bp, closed = int(row["share_bp"]), bool(row["closed"])
    sums = tuple(float(row[f"{name}:{place}"]) for place in range(width))
    return BlockCounts(str(key[0]), int(key[1]), share_bp, n_c, y_c, n_b, y_b, closed, sums)
