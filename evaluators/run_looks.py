"""Looks at every scored run: the bets move with it, everything else when a block closes."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from evaluators import decision
from evaluators.blocks import BlockTable
from evaluators.clusters import by_arm, halves
from evaluators.decision import Looks, holding, slices_over
from evaluators.evidence import Evidence
from evaluators.gathering import Counted, Gathered
from evaluators.guardrail_state import GuardrailState
from evaluators.method import Scored
from evaluators.mixture import FloatArray
from evaluators.rules import Rules


def run_harm(evidence: Evidence, counted: Counted, gathered: Gathered) -> tuple[FloatArray, FloatArray]:
    """Ln harm e-value after each run, (runs,), and the listed slices' own, (runs, listed)."""
    scored = counted.scored
    if counted.firsts is None or counted.moments is None:
        return _one(evidence.every, counted.table, scored, gathered, np.ones((len(gathered.candidate), 1)))
    start = np.sum([evidence.moments, *evidence.pending.values()], axis=0)
    moments = start + np.cumsum(by_arm(counted.moments, gathered.candidate), axis=0)
    deff = evidence.bet_effects(moments, gathered.share)
    width = counted.table.sums.shape[1]
    table = counted.firsts.with_counts(counted.firsts.counts, counted.firsts.sums[:, :width])
    alone = replace(scored, counted=scored.counted & gathered.first)
    tempered = _one(evidence.every, counted.table, scored, gathered, deff)
    exact = _one(evidence.first or evidence.every, table, alone, gathered, np.ones((len(deff), 1)))
    return halves(exact[0], tempered[0]), halves(exact[1], tempered[1])


def _one(
    state: GuardrailState, table: BlockTable, scored: Scored, gathered: Gathered, deff: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """One state's e-values while the runs of a table arrive, read under `deff` (runs, J or 1)."""
    method, row = state.method, gathered.layout.row_of_run
    if not method.moves_open:
        return _stepwise(state, table, gathered, deff)
    rate = method.rates(table, state.baseline_before(table))[row]
    moved = method.run_bets(scored, gathered.candidate, gathered.share, rate)
    stratum, waived = table.stratum[row], state.terms.waived
    ahead = [state.open_bet(n, part) for n, part in state.slices.items() if n not in waived]
    judged = np.where(state.judged(table)[row][:, None], moved, 0.0)
    common = np.sum([state.bet, *ahead], axis=0) + np.cumsum(judged, axis=0)
    slices = {}
    for name, _, _ in state.terms.listed:
        part, own = state.part(name), (stratum == name)[:, None]
        before = part.bet + state.open_bet(name, part)
        slices[name] = before + np.cumsum(np.where(own, moved, 0.0), axis=0)
    return state.read(common, slices, deff)


def _stepwise(
    state: GuardrailState, table: BlockTable, gathered: Gathered, deff: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """E-values that move when a block closes."""
    at = closed_by(gathered)
    trace = state.trace(table, bets_deff=deff[gathered.layout.closes[table.closed].astype(np.int64)])
    harm = np.append(state.log_e_harm, trace.harm)
    slices = np.vstack([state.slices_now(1.0), trace.slices])
    return harm[at], slices[at]


def closed_by(gathered: Gathered) -> "np.typing.NDArray[np.int64]":
    """How many of the rows are closed when each run has arrived, (runs,)."""
    closes = gathered.layout.closes[gathered.assigned.closed]
    return np.searchsorted(closes, np.arange(len(gathered.candidate)), side="right")


def looks_by_run(
    rules: Rules, evidence: Mapping[str, Evidence], gathered: Gathered, start: Looks, blocks: Looks
) -> Looks:
    """The looks after each run, from the look `start` before them and those at closed `blocks`."""
    at = closed_by(gathered)

    def steps(name: str) -> FloatArray:
        both = np.concatenate([getattr(start, name), getattr(blocks, name)])
        return np.asarray(both[at])

    harm, held = np.zeros((len(at), len(rules.guardrails))), np.zeros(len(at), dtype=np.bool_)
    for column, guardrail in enumerate(rules.guardrails):
        own = gathered.counted.get(guardrail.name)
        if own is not None:
            harm[:, column], slices = run_harm(evidence[guardrail.name], own, gathered)
            held |= (slices_over(rules, guardrail, slices) & holding(rules, guardrail)).any(axis=1)
    return Looks(
        harm, steps("gates"), steps("crossed").astype(np.bool_), steps("scored").astype(np.bool_),
        steps("mismatch"), held,
    )  # fmt: skip


def first_revert(rules: Rules, harm: FloatArray) -> int | None:
    """The first look at which the family reaches its line, from harm (looks, guardrails)."""
    over = decision.families(rules, harm).max(axis=1) >= decision.revert_line(rules)
    return int(np.argmax(over)) if over.any() else None


__all__ = ["closed_by", "first_revert", "looks_by_run", "run_harm"]
