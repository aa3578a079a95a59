"""The method of bounded means: `score` guardrails such as a judge's mark."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluators import bounded
from evaluators.blocks import BlockTable
from evaluators.intervals import Interval
from evaluators.method import Scored, Shown
from evaluators.mixture import THETAS, BoolArray, FloatArray, log_sum_exp
from evaluators.rules import Guardrail
from evaluators.scales import Scale
from evaluators.scoring import left_out, read_number, refuse_outside

_BETS, _STAKES = len(THETAS), len(bounded.PARTS)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMethod:
    """Both tests are exact for the mean; see `evaluators.bounded`.

    A block's sums: the bet over THETAS, 24; each gate's factors over PARTS, 8 a gate; then the sum of the
    runs' differences, of their squares, and of both arms' losses, 4.
    """

    guardrail: Guardrail
    scale: Scale
    #: difference of the mean loss (0..1) that each gate rules out, or None
    bars: tuple[float | None, ...]
    prior: FloatArray

    @property
    def width(self) -> int:
        """24 of the bet, 8 a gate, 4 for the picture."""
        return _BETS + self.proof_width

    @property
    def proof_width(self) -> int:
        """8 a gate, and 4."""
        return _STAKES * len(self.bars) + 4

    @property
    def moves_open(self) -> bool:
        """The bet does."""
        return True

    def score(
        self, runs: pd.DataFrame, candidate: BoolArray, share: FloatArray, lost: BoolArray, infra: BoolArray
    ) -> Scored:
        """A lost run, and one without a mark, has the worst mark."""
        guardrail, m = self.guardrail, self.scale.loss
        mark = read_number(runs, guardrail.column)
        refuse_outside(runs, guardrail.column, mark, guardrail.lowest, guardrail.highest)
        part = (mark.value - guardrail.lowest) / (guardrail.highest - guardrail.lowest)
        loss = np.where(~mark.known | lost, 1.0, part if guardrail.bad else 1.0 - part)
        difference = bounded.differences(loss, candidate, share, m)
        nothing = np.zeros((len(runs), _STAKES))
        columns = [bounded.loss_bets(loss, candidate, share, m, np.asarray(THETAS))]
        columns += [
            nothing if d is None else bounded.under_margin(difference, share, m, d) for d in self.bars
        ]
        shown = [difference, difference**2, np.where(candidate, loss, 0.0), np.where(candidate, 0.0, loss)]
        none = np.zeros(len(runs), dtype=np.bool_)
        return Scored(
            ~left_out(runs, mark, infra), none, np.hstack([*columns, np.stack(shown, axis=1)]), loss
        )

    def bets(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """(blocks, 24)."""
        del before
        return np.asarray(table.sums[:, :_BETS])

    def run_bets(
        self, scored: Scored, candidate: BoolArray, share: FloatArray, rate: FloatArray
    ) -> FloatArray:
        """(runs, 24)."""
        del candidate, share, rate
        return np.where(scored.counted[:, None], scored.added[:, :_BETS], 0.0)

    def rates(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """History alone predicts."""
        del before
        return np.full(len(table), self.scale.loss)

    def slopes(self, share: FloatArray) -> FloatArray | None:
        """Exact at both ends of the scale."""
        return bounded.loss_slopes(share, self.scale.loss, np.asarray(THETAS))

    def proof(self, table: BlockTable) -> FloatArray:
        """Gates and the four numbers of the picture, (blocks, K)."""
        return np.asarray(table.sums[:, _BETS:])

    def gates(self, proof: FloatArray, totals: FloatArray) -> FloatArray:
        """The mean over PARTS."""
        del totals
        found = np.zeros((len(proof), len(self.bars)))
        for index, bar in enumerate(self.bars):
            if bar is not None:
                part = proof[:, index * _STAKES : (index + 1) * _STAKES]
                found[:, index] = log_sum_exp(part) - np.log(_STAKES)
        return found

    def check(self, proof: FloatArray) -> float:
        """No second test: 0."""
        del proof
        return 0.0

    def shown(self, proof: FloatArray, totals: tuple[int, int, int, int], alpha: float) -> Shown:
        """In marks; the ends are asymptotic and at most the scale's width."""
        n_c, n_b = totals[0], totals[2]
        total, squares, ours, theirs = (float(value) for value in proof[-4:])
        low, high = self.guardrail.lowest, self.guardrail.highest
        width = (high - low) * (1.0 if self.guardrail.bad else -1.0)
        ends = np.clip(bounded.mean_sequence(total, squares, n_c + n_b, alpha), -1.0, 1.0) * width

        def mark(loss: float, n: int) -> float:
            share = loss / n if n else 0.0
            return low + (high - low) * (share if self.guardrail.bad else 1.0 - share)

        interval = Interval(float(ends[0]), float(min(ends[1:])), float(max(ends[1:])))
        return Shown(interval, mark(theirs, n_b), mark(ours, n_c))


__all__ = ["ScoreMethod"]
