"""Gathering: runs become the blocks of every guardrail, with what each run adds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators import scoring
from evaluators.assembly import Layout, count, lay_out, sum_by_arm
from evaluators.assignment_health import Assigned
from evaluators.blocks import ALL, OTHER, WHOLE, BlockTable
from evaluators.clusters import run_moments
from evaluators.evidence import Evidence
from evaluators.history import History
from evaluators.method import Scored
from evaluators.mixture import BoolArray, FloatArray
from evaluators.rules import Rules
from evaluators.units import Placed, Units
from lastgood.errors import InvalidEvidence

#: scores are kept for the design effect in steps of 1/1024: sums of them and of their squares are exact
#: doubles then, whatever the order
FINE = 1_024.0


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Some runs as one guardrail counts them, and the blocks that they fall into."""

    scored: Scored
    #: every run
    table: BlockTable
    #: each unit's first run, with the moments of all runs; None where runs name no units
    firsts: BlockTable | None
    #: what each run adds to its arm's moments, (runs, 6); None as above
    moments: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Some runs in their blocks."""

    layout: Layout
    #: whether each run was the candidate's, and the candidate's share, 0..1, (runs,) both
    candidate: BoolArray
    share: FloatArray
    #: whether each run is its unit's first, (runs,)
    first: BoolArray
    #: guardrails with data, by name
    counted: Mapping[str, Counted]
    #: blocks of all runs as assigned; y counts those that are not their unit's first
    assigned: BlockTable
    units: Units


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """What a comparison holds when runs arrive."""

    rules: Rules
    evidence: Mapping[str, Evidence]
    assigned: Assigned
    units: Units


def gather(runs: pd.DataFrame, before: Before, reporting: set[str]) -> Gathered:
    """Score runs and lay them into blocks; InvalidEvidence names the run and the column."""
    candidate, share_bp = scoring.read_arm(runs), scoring.read_share(runs)
    placed = _placed(runs, before.units)
    first = np.ones(len(runs), dtype=np.bool_) if placed is None else placed.first
    held = before.assigned
    layout = lay_out(_strata(runs, before.rules), share_bp, before.rules.block_size, held.last, held.open)
    everyone = np.ones(len(runs), dtype=np.bool_)
    assigned = count(layout, candidate, everyone, ~first, held.open)
    found = Gathered(layout, candidate, share_bp / WHOLE, first, {}, assigned, before.units)
    lost, infra = scoring.read_modifiers(runs)
    counted, sums = {}, {}
    for guardrail in before.rules.guardrails:
        method = before.evidence[guardrail.name].terms.method
        if guardrail.name in reporting and method is not None:
            scored = method.score(runs, candidate, found.share, lost, infra)
            own, after = _count(found, before, guardrail.name, scored, placed)
            counted[guardrail.name] = own
            sums[guardrail.name] = after
    units = before.units if placed is None else before.units.after(placed, sums)
    return replace(found, counted=counted, units=units)


def _placed(runs: pd.DataFrame, units: Units) -> Placed | None:
    """The runs' units; None where no run ever named one."""
    if "unit" in runs:
        return units.place(scoring.read_units(runs))
    return units.place(pd.Series([None] * len(runs), dtype=object)) if units.size else None


def reporting_now(runs: pd.DataFrame, rules: Rules, history: History, known: set[str]) -> set[str]:
    """Guardrails with data so far; InvalidEvidence where a column vanishes.

    What neither history nor the baseline ever reported is no data: a candidate that alone reports it would be
    compared with silence.
    """
    found = set(known)
    theirs = runs[runs["arm"] != "candidate"] if "arm" in runs else runs
    for guardrail in rules.guardrails:
        if guardrail.name in found and guardrail.column not in runs:
            raise InvalidEvidence(
                f"runs have no column {guardrail.column} any more, guardrail {guardrail.name} has data"
                " from earlier runs; give it, empty where nothing was reported"
            )
        if scoring.has_data(runs if history.of(guardrail)[0] else theirs, guardrail.column):
            found.add(guardrail.name)
    return found


def _strata(runs: pd.DataFrame, rules: Rules) -> npt.NDArray[np.object_]:
    found = np.full(len(runs), OTHER if rules.strata else ALL, dtype=object)
    if rules.strata and "stratum" in runs:
        column = runs["stratum"]
        for name, _ in rules.strata:
            found[(column == name).to_numpy(dtype=np.bool_, na_value=False)] = name
    return found


def _count(
    found: Gathered, before: Before, name: str, scored: Scored, placed: Placed | None
) -> tuple[Counted, FloatArray]:
    """One guardrail's blocks, and its units' sums after these runs."""
    held = before.evidence[name]
    hit, added = scored.hit & scored.counted, scored.added
    if added.shape[1] and not scored.counted.all():
        added = np.where(scored.counted[:, None], added, 0.0)
    table = count(found.layout, found.candidate, scored.counted, hit, held.open_blocks(), added)
    if placed is None:
        return Counted(scored, table, None, None), np.zeros((0, 2))
    x = np.rint(scored.x * FINE) / FINE
    ahead, sums = before.units.before(name, placed, scored.counted, x)
    moments = np.where(scored.counted[:, None], run_moments(x, ahead[:, 0], ahead[:, 1]), 0.0)
    by_arm = sum_by_arm(found.layout, found.candidate, moments, held.pending)
    alone = table
    if held.first is not None or not found.first.all():  # else each run so far is its unit's first
        own, hit = scored.counted & found.first, hit & found.first
        added = np.where(found.first[:, None], added, 0.0)
        alone = count(found.layout, found.candidate, own, hit, held.open_firsts(), added)
    firsts = alone.with_counts(alone.counts, np.hstack([alone.sums, by_arm]))
    return Counted(scored, table, firsts, moments), sums


__all__ = ["Before", "Counted", "Gathered", "gather", "reporting_now"]
