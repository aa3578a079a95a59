"""The method of shares of bad runs: `proportion` and `quantile` guardrails."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluators.blocks import ALL, WHOLE, BlockTable
from evaluators.bounded import PARTS, loss_slopes, under_margin_counts
from evaluators.intervals import Interval, log_odds_sequence, risk_difference
from evaluators.method import Scored, Shown, as_counts, no_sums
from evaluators.mixture import (
    CURVE,
    FISHER_PRIOR,
    THETAS,
    BoolArray,
    FloatArray,
    log_mean_exp,
    log_sum_exp,
)
from evaluators.proportions import bet_increments, fisher_log_ratio, under_rate_log_e
from evaluators.references import Gate
from evaluators.rules import Guardrail, Kind
from evaluators.scoring import counted_and_bad, past_threshold

#: alternatives of the harm tests, and columns of one gate (its alternatives, then its null)
HARM, GATE = len(THETAS), 25
#: stakes of the test of differences, a gate
STAKES = len(PARTS)


@dataclass(frozen=True, slots=True, eq=False)
class ProportionMethod:
    """The bet on the assignment for harm, the conditional test for proof (STATISTICS.md, 2(a) and (a'))."""

    guardrail: Guardrail
    #: one a step; the last is the margin's
    bars: tuple[Gate, ...]
    #: (weight in runs, bad rate) by stratum that predict the baseline at first
    predicted: Mapping[str, tuple[float, float]]
    #: threshold of a `quantile` guardrail, in the column's unit
    threshold: float | None
    #: bad rate around which differences are measured, 0..1; any fixed value is valid
    centre: float
    #: log odds ratios of the conditional test: THETAS, then 25 a gate, then CURVE
    thetas: FloatArray
    prior: FloatArray
    #: whether the recorded share dealt the runs; else harm is judged by the conditional test
    share_ours: bool
    #: ln prior of each gate's test of differences over its stakes, (gates, 8)
    stakes: FloatArray

    @property
    def width(self) -> int:
        """Counts are all there is."""
        return 0

    @property
    def proof_width(self) -> int:
        """8 a gate for differences, then one number a log odds ratio."""
        return len(self.bars) * STAKES + len(self.thetas)

    @property
    def moves_open(self) -> bool:
        """The bet does; the conditional test needs closed blocks."""
        return self.share_ours

    def score(
        self, runs: pd.DataFrame, candidate: BoolArray, share: FloatArray, lost: BoolArray, infra: BoolArray
    ) -> Scored:
        """Bad runs by the column's flag, or by the threshold."""
        del candidate, share
        column, bad = self.guardrail.column, self.guardrail.bad
        if self.guardrail.kind is Kind.QUANTILE:
            line = np.nan if self.threshold is None else self.threshold
            counted, hit = past_threshold(runs, column, lost, infra, line, above=bad)
        else:
            counted, hit = counted_and_bad(runs, column, lost, infra, bad=bad)
        return Scored(counted, hit, no_sums(len(runs)), hit.astype(np.float64))

    def bets(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """(blocks, 24); a block without runs adds exactly nothing."""
        if not self.share_ours:
            return fisher_log_ratio(table.counts, np.asarray(THETAS))
        return bet_increments(
            table.counts, table.share_bp / WHOLE, self.rates(table, before), np.asarray(THETAS)
        )

    def run_bets(
        self, scored: Scored, candidate: BoolArray, share: FloatArray, rate: FloatArray
    ) -> FloatArray:
        """(runs, 24)."""
        return bet_increments(as_counts(scored, candidate), share, rate, np.asarray(THETAS))

    def rates(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """History's runs weigh as `predicted` says, the release's own baseline runs each as one."""
        weights = np.empty((len(table), 2))
        for name in dict.fromkeys(table.stratum.tolist()):
            weights[table.stratum == name] = self.predicted.get(name, self.predicted[ALL])
        rate = (weights[:, 0] * weights[:, 1] + before[:, 1]) / (weights[:, 0] + before[:, 0])
        return np.asarray(rate, dtype=np.float64)

    def slopes(self, share: FloatArray) -> FloatArray | None:
        """Exact where the baseline's rate is `centre`."""
        return loss_slopes(share, self.centre, np.asarray(THETAS)) if self.share_ours else None

    def proof(self, table: BlockTable) -> FloatArray:
        """The differences' log factors, then the conditional test's log likelihood ratios, (blocks, K)."""
        share, nothing = table.share_bp / WHOLE, np.zeros((len(table), STAKES))
        parts = [
            nothing
            if gate.difference is None or not self.share_ours
            else under_margin_counts(table.counts, share, self.centre, gate.difference)
            for gate in self.bars
        ]
        return np.hstack([*parts, fisher_log_ratio(table.counts, self.thetas)])

    def gates(self, proof: FloatArray, totals: FloatArray) -> FloatArray:
        """The conditional test against the margin's odds, or the rate alone where hardly anything fails.

        Where the margin is absolute the test of differences has half of the weight.
        """
        found = np.zeros((len(proof), len(self.bars)))
        cut = len(self.bars) * STAKES
        differences, proof = proof[:, :cut], proof[:, cut:]
        for index, gate in enumerate(self.bars):
            terms = []
            if gate.null is not None and gate.rate_weight < 1.0:
                part = proof[:, HARM + index * GATE : HARM + (index + 1) * GATE]
                ratio = log_mean_exp(gate.log_prior, part[:, :-1] - part[:, -1:])
                terms.append(np.log1p(-gate.rate_weight) + ratio)
            if gate.rate is not None and gate.rate_weight > 0.0:
                one = under_rate_log_e(totals[:, 0], totals[:, 1], gate.rate)
                terms.append(np.log(gate.rate_weight) + one)
            if terms:
                found[:, index] = terms[0] if len(terms) == 1 else log_sum_exp(np.stack(terms, axis=-1))
            if gate.difference is not None and self.share_ours:
                part = differences[:, index * STAKES : (index + 1) * STAKES]
                found[:, index] = np.logaddexp(found[:, index], log_mean_exp(self.stakes[index], part))
                found[:, index] -= np.log(2.0)
        return found

    def check(self, proof: FloatArray) -> float:
        """The conditional test of harm."""
        start = len(self.bars) * STAKES
        return float(log_mean_exp(FISHER_PRIOR, proof[start : start + HARM]))

    def shown(self, proof: FloatArray, totals: tuple[int, int, int, int], alpha: float) -> Shown:
        """Differences in points (1 = one run in 100); the arms' rates as 0..1."""
        n_c, y_c, n_b, y_b = totals
        curve = proof[-len(CURVE) :]
        shown = risk_difference(log_odds_sequence(CURVE, curve, alpha), n_b, y_b)
        baseline, candidate = y_b / n_b if n_b else 0.0, y_c / n_c if n_c else 0.0
        if n_c and n_b and float(np.ptp(curve)) == 0.0:  # no closed block tells the arms apart yet
            estimate = min(max(100.0 * (candidate - baseline), shown.low), shown.high)
            shown = Interval(estimate, shown.low, shown.high)
        return Shown(shown, baseline, candidate)


__all__ = ["GATE", "HARM", "ProportionMethod"]
