"""Evidence: matured runs of a release, counted block by block, each run once.

Per maturity the runs are scored in assignment order, as a prefix. A block is closed when no run can join
it any more and all of its runs are scored; then it is sealed and never counted again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from evaluators import History
from evaluators.blocks import BlockCounts, stratum_of
from evaluators.method import Method
from evaluators.mixture import FloatArray
from evaluators.path import ASSIGNED, FIRST
from evaluators.referees import DIGEST, SAMPLED, Refereed, Sampler
from evaluators.rules import Guardrail, Rules
from evaluators.terms import method
from evaluators.units import Units
from lastgood.decision import CANDIDATE, Reason
from lastgood.release import Terms
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction
from tasks import counting, frames
from tasks.counting import Blocks, Tally, Window
from tasks.progress import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Sought:
    """What evidence is gathered for."""

    release_id: str
    #: the control point's epoch: a block that was opened under an earlier one takes no more runs
    epoch: int
    rules: Rules
    terms: Terms
    history: History
    #: guardrails that no evidence is taken for
    unfit: tuple[str, ...] = ()
    #: which runs a referee was asked for
    sampler: Sampler | None = None


def gather(
    txn: Transaction, sought: Sought, progress: Mapping[str, Progress]
) -> tuple[Blocks, dict[str, Progress], tuple[Refereed, ...]]:
    """Return the new closed and the open blocks by guardrail, how far the scoring is, and who judged.

    Under ASSIGNED stand the blocks as assigned, from the guardrails that mature first. Once a unit has
    repeated, "NAME@first" holds each guardrail's blocks of first runs with the moments of all.
    """
    rules, filling = sought.rules, _filling(txn, sought)
    blocks: Blocks = {}
    after: dict[str, Progress] = {}
    judged: list[Refereed] = []
    for place, (maturity, members) in enumerate(rules.classes.items()):
        was = progress.get(str(maturity), Progress())
        fit = [g for g in members if g.name not in sought.unfit]
        methods = {g: how for g in fit if (how := method(g, rules, sought.history)) is not None}
        reading = _Reading(txn, sought, maturity, members)
        found, after[str(maturity)], seen = _count(reading, was, methods, filling, with_assigned=place == 0)
        judged += seen
        blocks |= found
    if blocks and ASSIGNED not in blocks:
        # only slower guardrails have news: their blocks must not stand in for the assignments, long counted
        blocks[ASSIGNED] = [_nothing_new(next(iter(blocks.values()))[-1], next(iter(after.values())))]
    return blocks, after, tuple(judged)


def _filling(txn: Transaction, sought: Sought) -> dict[str, int]:
    """The block of each stratum that may take more runs."""
    counters = {row["stratum"]: row for row in txn.all(sql.BLOCK_COUNTERS, release_id=sought.release_id)}
    return {
        # counted as `other` where the runs came in, as `all` here when no slice is listed
        stratum_of(sought.rules, stratum): row["block"]
        for stratum, row in counters.items()
        if row["size"] < sought.terms.block_size
        and row["epoch"] == sought.epoch
        and row["opened_us"] > txn.now_us - sought.terms.block_time_us
    }


def _nothing_new(near: BlockCounts, fastest: Progress) -> BlockCounts:
    """The empty block that is open where the fastest guardrails have sealed all they saw."""
    number = fastest.sealed.get(near.stratum, -1) + 1
    return BlockCounts(near.stratum, number, near.share_bp, 0, 0, 0, 0, closed=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """Reads the runs of one maturity."""

    txn: Transaction
    sought: Sought
    maturity_us: int
    members: tuple[Guardrail, ...]

    def runs(self, after: int, sealed: Mapping[str, int]) -> pd.DataFrame:
        """Runs behind a place, with `stratum`, and whether they are `matured`, and `fresh`: in no seal."""
        release_id, terms = self.sought.release_id, self.sought.terms
        rows = self.txn.all(sql.SCORED_RUNS, release_id=release_id, after=after)
        late = self.txn.all(sql.LATE_OF_RELEASE, release_id=release_id, after=after)
        runs = frames.frame(
            rows, late, self.members, lost_after_us=terms.lost_after_us, maturity_us=self.maturity_us,
            infra_watched=frames.infra_watched(self.sought.rules), sampler=self.sought.sampler,
        )  # fmt: skip
        if runs.empty:
            return runs.assign(stratum=[], matured=[], fresh=[])
        runs["stratum"] = [stratum_of(self.sought.rules, task_type) for task_type in runs["task_type"]]
        # a prefix: nothing is scored before what was assigned before it
        runs["matured"] = (runs["assigned_us"] + self.maturity_us <= self.txn.now_us).cummin()
        last = runs["stratum"].map(lambda stratum: sealed.get(stratum, -1)).astype(int)
        return runs.assign(fresh=runs["block"] > last)


def _count(
    reading: _Reading,
    was: Progress,
    methods: Mapping[Guardrail, Method],
    filling: Mapping[str, int],
    *,
    with_assigned: bool,
) -> tuple[Blocks, Progress, list[Refereed]]:
    runs = reading.runs(was.after, was.sealed)
    fresh = runs[runs["fresh"].astype(bool)]
    matured = fresh[fresh["matured"].astype(bool)]
    was = replace(was, reporting=_reporting(matured, was, methods, reading.sought.history))
    if matured.empty:
        return {}, was, _judges(runs, was.judges, reading)
    kept = {g: found for g, found in methods.items() if g.name in was.reporting}
    window, starts = _window(reading, runs, was)
    tally = counting.tally(window, kept, with_assigned=with_assigned)
    if starts:
        sealed_before = ~window.fresh
        owed = {
            n: c.moments[sealed_before].sum(axis=0) for n, c in tally.counted.items() if c.moments is not None
        }
        was = replace(was, owed=owed)
    closed = pd.Series(_closed(tally.table, fresh, filling), index=tally.table.index)
    blocks = counting.blocks_of(tally, closed)
    owed = _hand_on(blocks, was.owed)
    return blocks, _after(runs, window, tally, closed, was, owed, reading), _judges(runs, was.judges, reading)


def _reporting(
    matured: pd.DataFrame, was: Progress, methods: Mapping[Guardrail, Method], history: History
) -> tuple[str, ...]:
    """Guardrails that count: what every run tells, what history has, or the baseline has reported by now."""
    theirs = matured[matured["arm"] != CANDIDATE] if len(matured) else matured
    return tuple(
        g.name
        for g in methods
        if g.column in frames.ALWAYS
        or g.name in was.reporting
        or history.of(g)[0] > 0
        or frames.reported(theirs, g)
    )


def _window(reading: _Reading, runs: pd.DataFrame, was: Progress) -> tuple[Window, bool]:
    """The runs to score, and whether units begin to matter with them.

    Until a unit repeats, the fresh runs alone. From then on all behind `after`, since a unit's runs ahead of
    each other count; the first time all runs of the release, once.
    """
    starts = was.units is None and bool((runs["matured"] & (runs["reason"] == str(Reason.REPEAT))).any())
    if starts:
        runs = reading.runs(0, was.sealed)
    units = Units() if starts else was.units
    rows = runs["matured"].astype(bool) & (runs["fresh"].astype(bool) | (units is not None))
    found = runs[rows].reset_index(drop=True)
    return Window(found, found["fresh"].to_numpy(dtype=np.bool_), units), starts


def _hand_on(blocks: Blocks, owed: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Put the moments of earlier blocks onto the first closed one; return what is still owed."""
    left = {}
    for name, moments in owed.items():
        found = blocks.get(name + FIRST, [])
        place = next((i for i, block in enumerate(found) if block.closed), None)
        if place is None:
            left[name] = moments
            continue
        block = found[place]
        own, tail = block.sums[: -len(moments)], np.array(block.sums[-len(moments) :]) + moments
        found[place] = replace(block, sums=(*own, *tail.tolist()))
    return left


def _after(
    runs: pd.DataFrame,
    window: Window,
    tally: Tally,
    closed: "pd.Series[bool]",
    was: Progress,
    owed: Mapping[str, FloatArray],
    reading: _Reading,
) -> Progress:
    sealed = {**was.sealed}
    for stratum, block in tally.table.index[closed.to_numpy()]:
        sealed[str(stratum)] = max(sealed.get(str(stratum), -1), int(block))
    open_seq = runs.loc[runs["block"] > runs["stratum"].map(lambda s: sealed.get(s, -1)).astype(int), "seq"]
    after = int(open_seq.min()) - 1 if len(open_seq) else int(runs["seq"].max())
    units = None
    if window.units is not None:
        prefix = (window.runs["seq"] <= after).to_numpy(dtype=np.bool_)
        units = counting.units_after(window, tally.counted, prefix)
    found = _judges(runs[runs["seq"] <= after], was.judges, reading)
    return Progress(after, sealed, was.reporting, units, owed, {judged.column: judged for judged in found})


def _judges(runs: pd.DataFrame, before: Mapping[str, Refereed], reading: _Reading) -> list[Refereed]:
    """What the referee did up to the matured runs given, where this maturity counts on it."""
    sampler = reading.sought.sampler
    if sampler is None or not any(frames.counts_on(g, sampler.column) for g in reading.members):
        return []
    column = sampler.column
    known = before.get(column, Refereed(column))
    if runs.empty:
        return [known]
    matured = runs[runs["matured"].astype(bool) & runs[column + SAMPLED].astype(bool)]
    digests: Any = matured[column + DIGEST].dropna()
    return [known.add(digests.tolist(), len(matured), int(matured[column].notna().sum()))]


def _closed(table: pd.DataFrame, runs: pd.DataFrame, filling: Mapping[str, int]) -> list[bool]:
    """Whether each block takes no more runs and holds no run that is yet to mature."""
    unripe = runs.loc[~runs["matured"].astype(bool)]
    waiting = set(zip(unripe["stratum"], unripe["block"], strict=True))
    return [
        key not in waiting and filling.get(key[0]) != key[1]
        for key in ((str(stratum), int(block)) for stratum, block in table.index)
    ]


__all__ = ["Blocks", "Sought", "gather"]
