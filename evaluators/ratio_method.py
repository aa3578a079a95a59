"""The method of ratios of sums: `ratio` guardrails such as cost per completed run, and `count`."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from evaluators import mantel_haenszel as mh
from evaluators.blocks import BlockTable
from evaluators.intervals import Interval
from evaluators.method import Scored, Shown
from evaluators.mixture import BoolArray, FloatArray
from evaluators.residual_bet import STAKES, ResidualBet
from evaluators.rules import Guardrail, Kind
from evaluators.scales import Scale
from evaluators.scoring import left_out, read_flag, read_number, refuse_outside
from evaluators.tilt import LevelTilt

#: ratios, candidate over baseline, at which the confidence sequence is looked at, (601,)
RATIOS = np.geomspace(1 / 20, 20, 601)
#: how far apart those of them are that are asked first
COARSE = 20
_BETS = len(STAKES)


@dataclass(frozen=True, slots=True, eq=False)
class RatioMethod:
    """The bet with a winsorised residual for harm, Mantel-Haenszel for proof (STATISTICS.md, 2(c)).

    A block's sums: the harm test's, 14 of the bet or 48 of the tilt; then cost, its square and cost times
    denominator of the candidate and of the baseline, 6. Its `y` counts denominators (completed runs; of a
    count all runs).
    """

    guardrail: Guardrail
    scale: Scale
    #: ratio that each gate rules out, above 1 where more is worse, or None
    bars: tuple[float | None, ...]
    prior: FloatArray
    #: the bet where the share is ours, else the tilt
    harm: ResidualBet | LevelTilt = field(default_factory=ResidualBet)

    @property
    def width(self) -> int:
        """Those of the harm test and 6 of the amounts."""
        return self.harm.width + 6

    @property
    def proof_width(self) -> int:
        """Those of Mantel-Haenszel, and both arms' amounts."""
        return mh.WIDTH + 2

    @property
    def moves_open(self) -> bool:
        """The bet does; the tilt needs closed blocks."""
        return self.harm.moves_open

    def score(
        self, runs: pd.DataFrame, candidate: BoolArray, share: FloatArray, lost: BoolArray, infra: BoolArray
    ) -> Scored:
        """A lost run, and one that reported no amount, counts as the cap and as no success."""
        column = self.guardrail.column
        amount = read_number(runs, column)
        refuse_outside(runs, column, amount, 0.0, np.inf)
        silent = ~amount.known | lost
        cost = np.where(silent, self.scale.cap, amount.value)
        capped = np.minimum(cost, self.scale.cap)
        if self.guardrail.cap is not None:
            cost = capped
        success = self._success(runs, lost)
        g = (capped - self.scale.theta * success) / self.scale.sd
        g = g if self.guardrail.bad else -g
        added = np.empty((self.width, len(runs)))  # columns in a row each, as a block's sums are added
        self.harm.fill(g, candidate, share, added[: self.harm.width])
        for place, moment in enumerate((cost, cost * cost, cost * success), start=self.harm.width):
            added[place] = np.where(candidate, moment, 0.0)
            added[place + 3] = np.where(candidate, 0.0, moment)
        return Scored(~left_out(runs, amount, infra), success, added.T, g)

    def _success(self, runs: pd.DataFrame, lost: BoolArray) -> BoolArray:
        if self.guardrail.kind is Kind.COUNT:
            return np.ones(len(runs), dtype=np.bool_)
        if self.guardrail.per not in runs:
            return np.zeros(len(runs), dtype=np.bool_)
        flag = read_flag(runs, self.guardrail.per)
        return np.asarray(flag.known & flag.true & ~lost, dtype=np.bool_)

    def bets(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """(blocks, 14)."""
        del before
        return self.harm.read(table.sums[:, : self.harm.width])

    def run_bets(
        self, scored: Scored, candidate: BoolArray, share: FloatArray, rate: FloatArray
    ) -> FloatArray:
        """(runs, 14)."""
        del candidate, share, rate
        return np.where(scored.counted[:, None], scored.added[:, :_BETS], 0.0)

    def rates(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """History alone predicts."""
        del before
        return np.full(len(table), self.scale.theta)

    def slopes(self, share: FloatArray) -> FloatArray | None:
        """Each stake's factor to the first order, lam (A - q) g, in units of lam."""
        if not self.harm.moves_open:
            return None
        found = np.zeros((len(share), _BETS, 2, 2))
        found[..., 0, 1], found[..., 1, 1] = 1.0 - share[:, None], -share[:, None]
        return found

    def proof(self, table: BlockTable) -> FloatArray:
        """Mantel-Haenszel's numbers and both arms' amounts, (blocks, 20)."""
        n_c, d_c, n_b, d_b = table.counts.T.astype(np.float64)
        c, c2, cd, b, b2, bd = table.sums[:, self.harm.width :].T
        ours, theirs = mh.ArmSums(n_c, c, d_c, c2, cd, d_c), mh.ArmSums(n_b, b, d_b, b2, bd, d_b)
        return np.hstack([mh.block_sums(ours, theirs), np.stack([c, b], axis=1)])

    def gates(self, proof: FloatArray, totals: FloatArray) -> FloatArray:
        """Exactly 0 until the burn-in is over: the test is asymptotic."""
        found = np.zeros((len(proof), len(self.bars)))
        ready = (totals[:, 0] >= mh.BURN_IN_RUNS) & (totals[:, 1] >= mh.BURN_IN_SUCCESSES)
        sums = proof[ready, : mh.WIDTH]
        for index, bar in enumerate(self.bars):
            if bar is not None and len(sums):
                found[ready, index] = mh.log_e_within(*mh.score(sums, bar), bar)
        return found

    def check(self, proof: FloatArray) -> float:
        """Mantel-Haenszel against "no larger"; it needs no share."""
        u, v, g = mh.score(proof[: mh.WIDTH], 1.0)
        return float(mh.log_e_over(u, v, g) if self.guardrail.bad else mh.log_e_under(u, v, g))

    def shown(self, proof: FloatArray, totals: tuple[int, int, int, int], alpha: float) -> Shown:
        """In the metric's unit, such as US dollars a completed run; ends past 20-fold are not told apart."""
        c, b = (float(value) for value in proof[mh.WIDTH :])
        theirs, ours = b / totals[3] if totals[3] else 0.0, c / totals[1] if totals[1] else 0.0
        if not proof[1] > 0.0:
            return Shown(Interval(0.0, -theirs, 19.0 * theirs), theirs, ours)
        estimate = float(proof[0] / proof[1])
        low, high = _ends(proof[: mh.WIDTH], alpha) or (estimate, estimate)
        return Shown(Interval(theirs * (estimate - 1), theirs * (low - 1), theirs * (high - 1)), theirs, ours)


def _ends(sums: FloatArray, alpha: float) -> tuple[float, float] | None:
    """The least and the largest of RATIOS that is not ruled out at alpha; None where each one is.

    Every twentieth is asked first, then those beside the ends, since what is not ruled out lies together.
    """
    line = np.log(1.0 / alpha)
    u, v, g = mh.score(sums[None, :], RATIOS)
    coarse = np.flatnonzero(mh.log_e_two_sided(u[::COARSE], v[::COARSE], g[::COARSE]) < line) * COARSE
    if len(coarse) == 0:  # the ends may be closer than that
        near = np.arange(len(RATIOS))
    else:
        first, last = max(int(coarse[0]) - COARSE, 0), min(int(coarse[-1]) + COARSE, len(RATIOS) - 1)
        near = np.unique(np.append(np.arange(first, coarse[0] + 1), np.arange(coarse[-1], last + 1)))
    kept = RATIOS[near][mh.log_e_two_sided(u[near], v[near], g[near]) < line]
    return (float(kept[0]), float(kept[-1])) if len(kept) else None


__all__ = ["RATIOS", "RatioMethod"]
