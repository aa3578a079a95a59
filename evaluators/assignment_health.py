"""Assignment health: does the recorded share explain how many runs each arm got?"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from evaluators.blocks import WHOLE, BlockCounts, BlockTable, check_order
from evaluators.mixture import FloatArray, IntArray, bump, frozen, log_mean_exp, pack, unpack

#: weight of the prior on the recorded share, in runs
PRIOR_RUNS = 1_000.0
#: chance that a healthy assignment is ever called a mismatch
MISMATCH_ALPHA = 0.001
#: shifts of the share, log odds, that the test under a moving share bets on, (16,)
SHIFTS = frozen(np.concatenate([-np.geomspace(0.02, 1.0, 8)[::-1], np.geomspace(0.02, 1.0, 8)]))
#: their ln prior: both ways alike, most of it near the .15 that a share 13% off makes at 10%
SHIFT_PRIOR = frozen(np.log(bump(np.log(np.abs(SHIFTS)), float(np.log(0.15)), 1.0)))


def mismatch_log_e(
    n_c: npt.ArrayLike, n_b: npt.ArrayLike, share: float, prior_runs: float = PRIOR_RUNS
) -> FloatArray:
    """Ln e-value against "each run goes to the candidate with chance `share`", shape of the counts.

    lnB(kq + n_c, k(1-q) + n_b) - lnB(kq, k(1-q)) - n_c ln q - n_b ln(1-q), k = `prior_runs`.
    Source: Lindon and Malek, "Anytime-valid inference for multinomial count data", the two-arm case.
    """
    canary, rest = np.asarray(n_c, dtype=np.float64), np.asarray(n_b, dtype=np.float64)
    a, b = prior_runs * share, prior_runs * (1.0 - share)
    moved = betaln(a + canary, b + rest) - betaln(a, b)
    return np.asarray(moved - canary * np.log(share) - rest * np.log1p(-share), dtype=np.float64)


def mismatch_log_e_over_shares(
    counts: Iterable[tuple[float, int, int]], prior_runs: float = PRIOR_RUNS
) -> float:
    """The same over several shares, as (share, n_c, n_b): a product of e-processes is one."""
    return float(sum(mismatch_log_e(n_c, n_b, share, prior_runs) for share, n_c, n_b in counts))


def mismatch_increments(n_c: npt.ArrayLike, n_b: npt.ArrayLike, share: npt.ArrayLike) -> FloatArray:
    """Ln likelihood ratios of shifted shares over SHIFTS, (..., 16), additive over blocks of any shares.

    n_c ln(q_j/q) + n_b ln((1-q_j)/(1-q)), q_j = sigmoid(logit q + shift_j): the form for a moving share.
    Source: STATISTICS.md, section 2(e).
    """
    canary, rest = (np.asarray(n, dtype=np.float64)[..., None] for n in (n_c, n_b))
    q = np.asarray(share, dtype=np.float64)[..., None]
    lifted = np.exp(SHIFTS) * q
    whole = np.log1p(-q + lifted)  # 1 - q + q e^shift
    return np.asarray(canary * (SHIFTS - whole) - rest * whole, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """Every run that was assigned, whatever any guardrail counts: additive, by share.

    A block's y counts runs that are not their unit's first: the mismatch test counts units.
    """

    #: whether the rules move the share: then one test goes over all shares, else one a share
    ramped: bool = False
    #: candidate and baseline units of closed blocks by share in basis points
    shares: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    #: candidate and baseline runs of closed blocks
    closed: tuple[int, int] = (0, 0)
    #: the test over all shares, nats over SHIFTS, (16,)
    moved: FloatArray = field(default_factory=lambda: np.zeros(len(SHIFTS)))
    #: number of each stratum's last closed block
    last: Mapping[str, int] = field(default_factory=dict)
    #: each stratum's newest block while it is open
    open: Mapping[str, BlockCounts] = field(default_factory=dict)
    #: candidate runs of closed blocks by share in basis points
    candidate: Mapping[int, int] = field(default_factory=dict)

    def add(self, table: BlockTable) -> "Assigned":
        """The assignments with a table's blocks; InvalidEvidence where they are out of order."""
        check_order("assigned", table, dict(self.last))
        shares, last, pending = dict(self.shares), dict(self.last), dict(self.open)
        candidate = dict(self.candidate)
        closed = table.take(table.closed)
        units = _units(closed)
        for share_bp in np.unique(closed.share_bp).tolist():
            mine = closed.share_bp == share_bp
            own = units[mine].sum(axis=0)
            n_c, n_b = shares.get(share_bp, (0, 0))
            shares[share_bp] = (n_c + int(own[0]), n_b + int(own[1]))
            candidate[share_bp] = candidate.get(share_bp, 0) + int(closed.counts[mine, 0].sum())
        for stratum, block in zip(closed.stratum.tolist(), closed.block.tolist(), strict=True):
            last[stratum] = block
            pending.pop(stratum, None)
        for row in np.flatnonzero(~table.closed):
            pending[str(table.stratum[row])] = table.row(int(row))
        n_c, _, n_b, _ = closed.counts.sum(axis=0).tolist()
        runs = (self.closed[0] + n_c, self.closed[1] + n_b)
        return Assigned(self.ramped, shares, runs, self._moved(closed)[-1], last, pending, candidate)

    def settled(self) -> "Assigned":
        """The assignments of closed blocks alone."""
        return replace(self, open={})

    def path(self, closed: BlockTable) -> tuple[FloatArray, FloatArray]:
        """After each closed block: ln mismatch, (blocks,), and candidate and baseline runs, (blocks, 2)."""
        arms = np.vstack([self.closed, closed.counts[:, [0, 2]]]).cumsum(axis=0)[1:].astype(np.float64)
        if self.ramped:
            return log_mean_exp(SHIFT_PRIOR, self._moved(closed)[1:]), arms
        mismatch, units = np.zeros(len(closed)), _units(closed)
        for share_bp in sorted({*self.shares, *closed.share_bp.tolist()}):
            start = np.array(self.shares.get(share_bp, (0, 0)))
            own = np.cumsum(np.where((closed.share_bp == share_bp)[:, None], units, 0), axis=0) + start
            mismatch += mismatch_log_e(own[:, 0], own[:, 1], share_bp / WHOLE)
        return mismatch, arms

    def _moved(self, closed: BlockTable) -> FloatArray:
        """The test over all shares before a table's closed blocks and after each, (1 + blocks, 16)."""
        if not self.ramped:
            return self.moved[None, :]
        units = _units(closed)
        added = mismatch_increments(units[:, 0], units[:, 1], closed.share_bp / WHOLE)
        return np.asarray(np.vstack([self.moved, added]).cumsum(axis=0), dtype=np.float64)

    @property
    def log_mismatch(self) -> float:
        """Ln of the mismatch e-value, closed blocks."""
        if self.ramped:
            return float(log_mean_exp(SHIFT_PRIOR, self.moved))
        return mismatch_log_e_over_shares((bp / WHOLE, *pair) for bp, pair in sorted(self.shares.items()))

    @property
    def runs(self) -> tuple[int, int]:
        """Candidate and baseline runs, open blocks included."""
        pairs = [self.closed, *((block.n_c, block.n_b) for block in self.open.values())]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "ramped": self.ramped,
            "shares": {str(share): list(pair) for share, pair in sorted(self.shares.items())},
            "closed": list(self.closed),
            "moved": pack(self.moved),
            "last": dict(self.last),
            "open": [asdict(block) for _, block in sorted(self.open.items())],
            "candidate": {str(share): n for share, n in sorted(self.candidate.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        blocks = [BlockCounts(**block) for block in data["open"]]
        return cls(
            bool(data["ramped"]),
            {int(share): (int(pair[0]), int(pair[1])) for share, pair in data["shares"].items()},
            (int(data["closed"][0]), int(data["closed"][1])),
            unpack(data["moved"], (len(SHIFTS),)),
            {str(name): int(block) for name, block in data["last"].items()},
            {block.stratum: block for block in blocks},
            {int(share): int(n) for share, n in data["candidate"].items()},
        )


def _units(table: BlockTable) -> IntArray:
    """Candidate and baseline units of each block, (blocks, 2)."""
    return np.asarray(table.counts[:, [0, 2]] - table.counts[:, [1, 3]])
