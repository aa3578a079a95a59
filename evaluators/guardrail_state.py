"""The evidence on one guardrail: additive state, one pass over new blocks.

Closed blocks are added and never looked at again; open ones lie over the state until they close. Adding
blocks one by one or all at once gives the same numbers, so a look costs its new blocks only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from evaluators.blocks import WHOLE, BlockCounts, BlockTable, check_order
from evaluators.mixture import (
    BET_PRIOR,
    CURVE,
    FISHER_PRIOR,
    THETAS,
    BoolArray,
    FloatArray,
    log_mean_exp,
    log_sum_exp,
    pack,
    unpack,
)
from evaluators.proportions import bet_increments, fisher_log_ratio, under_rate_log_e
from evaluators.terms import Terms

#: alternatives of the harm tests, and columns of one gate (its alternatives, then its null)
HARM, GATE = len(THETAS), 25


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """What one stratum's closed blocks add up to."""

    #: the bet on the assignment over THETAS, nats, (24,)
    bet: FloatArray = field(default_factory=lambda: np.zeros(HARM))
    #: the conditional test over THETAS, nats, (24,)
    fisher: FloatArray = field(default_factory=lambda: np.zeros(HARM))
    #: candidate runs, bad ones, baseline runs, bad ones
    totals: tuple[int, int, int, int] = (0, 0, 0, 0)
    #: number of the last closed block; -1 before the first
    last: int = -1
    #: the newest block while it is open
    open: BlockCounts | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The state after each closed block of one pass, in nats, and after all of them."""

    #: harm e-value, (blocks,)
    harm: FloatArray
    #: each gate's e-value, (blocks, gates)
    gates: FloatArray
    #: whether each gate's e-value has ever reached its line, (blocks, gates)
    crossed: BoolArray
    #: runs and bad runs so far, as n_c, y_c, n_b, y_b, (blocks, 4)
    totals: FloatArray
    #: stratum and number of the last closed block; ("", -1) where there is none
    last: tuple[str, int]
    after: "GuardrailState"


@dataclass(frozen=True, slots=True, eq=False)
class GuardrailState:
    """Additive evidence on one guardrail under its terms."""

    terms: Terms
    #: by stratum, sorted, so that sums over them come out the same however blocks were sent
    slices: Mapping[str, Slice] = field(default_factory=dict)
    #: the bet summed over all strata: the common effect, (24,)
    bet: FloatArray = field(default_factory=lambda: np.zeros(HARM))
    #: the conditional test summed over all strata at `terms.thetas`
    fisher: FloatArray | None = None
    #: which gates have ever reached their line
    crossed: tuple[bool, ...] = ()

    def add(self, blocks: Sequence[BlockCounts]) -> "GuardrailState":
        """The state with more blocks; InvalidEvidence where a stratum's blocks are out of order."""
        return self.trace(BlockTable.of(blocks)).after

    def trace(self, table: BlockTable) -> Trace:
        """Add a table's closed blocks in its order and lay its open ones over; see `add`."""
        last = {name: part.last for name, part in self.slices.items()}
        check_order(self.terms.guardrail.name, table, last)
        closed = table.take(table.closed)
        before = self._baseline_before(closed)
        bets = self._bets(closed, before)
        fisher = fisher_log_ratio(closed.counts, self.terms.thetas)
        own = np.vstack([self.conditional, fisher]).cumsum(axis=0)
        common = np.vstack([self.bet, bets]).cumsum(axis=0)
        parts = self._grow(closed, bets, fisher)
        totals = np.vstack([self.totals, closed.counts]).cumsum(axis=0)
        gates = self._gates(own[1:], totals[1:])
        ever = np.vstack([self.has_crossed, gates >= self.terms.line])
        crossed = np.logical_or.accumulate(ever, axis=0)
        after = GuardrailState(
            self.terms,
            _overlay({name: grown for name, (grown, _) in parts.items()}, self.slices, table),
            common[-1],
            own[-1],
            tuple(bool(flag) for flag in crossed[-1]),
        )
        harm = self._stratified(log_mean_exp(BET_PRIOR, common[1:]), closed, parts)
        end = (str(closed.stratum[-1]), int(closed.block[-1])) if len(closed) else ("", -1)
        return Trace(harm, gates, crossed[1:], totals[1:].astype(np.float64), end, after)

    @property
    def conditional(self) -> FloatArray:
        """The conditional test's sums at `terms.thetas`, nats."""
        return np.zeros(len(self.terms.thetas)) if self.fisher is None else self.fisher

    @property
    def has_crossed(self) -> tuple[bool, ...]:
        """Whether each gate has ever reached its line."""
        return self.crossed or (False,) * len(self.terms.gates)

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """Runs of closed blocks: n_c, y_c, n_b, y_b."""
        rows = [part.totals for part in self.slices.values()]
        return (
            sum(r[0] for r in rows),
            sum(r[1] for r in rows),
            sum(r[2] for r in rows),
            sum(r[3] for r in rows),
        )

    @property
    def seen(self) -> tuple[int, int, int, int]:
        """Runs of closed and open blocks: n_c, y_c, n_b, y_b."""
        a, b, c, d = self.totals
        for part in self.slices.values():
            if part.open is not None:
                a, b = a + part.open.n_c, b + part.open.y_c
                c, d = c + part.open.n_b, d + part.open.y_b
        return a, b, c, d

    @property
    def log_e_harm(self) -> float:
        """Ln of the harm e-value, open blocks included."""
        common, parts = self.bet.copy(), {}
        for name, part in self.slices.items():
            extra = self._open_bet(name, part)
            common += extra
            parts[name] = float(log_mean_exp(BET_PRIOR, part.bet + extra))
        whole = float(log_mean_exp(BET_PRIOR, common))
        if not self.terms.slices:
            return whole
        means = [weight + parts.get(name, 0.0) for name, weight in self.terms.slices]
        return float(log_sum_exp([whole, float(log_sum_exp(means))]) - np.log(2.0))

    @property
    def log_e_slices(self) -> tuple[tuple[str, float], ...]:
        """Ln of each listed stratum's own harm e-value, open blocks included."""
        found = []
        for name, _ in self.terms.slices:
            part = self.slices.get(name, Slice())
            found.append((name, float(log_mean_exp(BET_PRIOR, part.bet + self._open_bet(name, part)))))
        return tuple(found)

    @property
    def log_e_conditional(self) -> float:
        """Ln of the conditional test's harm e-value, closed blocks: the check that needs no share."""
        return float(log_mean_exp(FISHER_PRIOR, self.conditional[:HARM]))

    @property
    def log_e_gates(self) -> tuple[float, ...]:
        """Ln of each gate's e-value, closed blocks."""
        found = self._gates(self.conditional[None, :], np.array([self.totals], dtype=np.int64))
        return tuple(float(value) for value in found[0])

    @property
    def curve(self) -> FloatArray:
        """The log likelihood of the log odds ratio at CURVE, nats, closed blocks, (61,)."""
        return self.conditional[-len(CURVE) :]

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the doubles are exact (base64 of little-endian bytes)."""
        return {
            "bet": pack(self.bet),
            "fisher": pack(self.conditional),
            "crossed": list(self.has_crossed),
            "slices": {
                name: {
                    "sums": pack(np.concatenate([part.bet, part.fisher])),
                    "totals": list(part.totals),
                    "last": part.last,
                    "open": None if part.open is None else asdict(part.open),
                }
                for name, part in self.slices.items()
            },
        }

    @classmethod
    def from_json(cls, terms: Terms, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json` under the same terms; ValueError or KeyError where it does not fit."""
        slices = {}
        for name, part in data["slices"].items():
            sums = unpack(part["sums"], (2, HARM))
            a, b, c, d = (int(value) for value in part["totals"])
            pending = None if part["open"] is None else BlockCounts(**part["open"])
            slices[str(name)] = Slice(sums[0], sums[1], (a, b, c, d), int(part["last"]), pending)
        fisher = unpack(data["fisher"], (len(terms.thetas),))
        crossed = tuple(bool(flag) for flag in data["crossed"])
        return cls(terms, slices, unpack(data["bet"], (HARM,)), fisher, crossed)

    def _baseline_before(self, closed: BlockTable) -> FloatArray:
        """Baseline runs and bad runs of its stratum before each block, (blocks, 2)."""
        before = np.zeros((len(closed), 2))
        for name in dict.fromkeys(closed.stratum.tolist()):
            rows = np.flatnonzero(closed.stratum == name)
            own = closed.counts[rows][:, 2:]
            start = self.slices.get(name, Slice()).totals[2:]
            before[rows] = np.vstack([start, own[:-1]]).cumsum(axis=0)
        return before

    def _bets(self, table: BlockTable, before: FloatArray) -> FloatArray:
        """The bet's increments, (blocks, 24); a block without runs adds exactly nothing."""
        weights = np.empty((len(table), 2))
        for name in dict.fromkeys(table.stratum.tolist()):
            weights[table.stratum == name] = self.terms.predict(name)
        rate = (weights[:, 0] * weights[:, 1] + before[:, 1]) / (weights[:, 0] + before[:, 0])
        return bet_increments(table.counts, table.share_bp / WHOLE, rate, np.asarray(THETAS))

    def _open_bet(self, name: str, part: Slice) -> FloatArray:
        if part.open is None:
            return np.zeros(HARM)
        before = np.array([part.totals[2:]], dtype=np.float64)
        return np.asarray(self._bets(BlockTable.of([replace(part.open, stratum=name)]), before)[0])

    def _grow(
        self, closed: BlockTable, bets: FloatArray, fisher: FloatArray
    ) -> dict[str, tuple[Slice, FloatArray]]:
        """Each stratum of the table after it, with its bet after each of its blocks, (own blocks, 24)."""
        grown = {}
        for name in dict.fromkeys(closed.stratum.tolist()):
            rows = np.flatnonzero(closed.stratum == name)
            part = self.slices.get(name, Slice())
            path = np.vstack([part.bet, bets[rows]]).cumsum(axis=0)
            conditional = np.vstack([part.fisher, fisher[rows, :HARM]]).cumsum(axis=0)[-1]
            a, b, c, d = (int(v) for v in closed.counts[rows].sum(axis=0) + np.array(part.totals))
            grown[name] = (Slice(path[-1], conditional, (a, b, c, d), int(closed.block[rows[-1]])), path[1:])
        return grown

    def _stratified(
        self, common: FloatArray, closed: BlockTable, parts: Mapping[str, tuple[Slice, FloatArray]]
    ) -> FloatArray:
        """ln(1/2 E_common + 1/2 SUM w_s E_s) after each block, (blocks,)."""
        if not self.terms.slices:
            return common
        means = np.empty((len(closed), len(self.terms.slices)))
        for column, (name, weight) in enumerate(self.terms.slices):
            start = float(log_mean_exp(BET_PRIOR, self.slices.get(name, Slice()).bet))
            own = closed.stratum == name
            values = np.append(start, log_mean_exp(BET_PRIOR, parts[name][1]) if own.any() else [])
            means[:, column] = weight + values[np.cumsum(own)]
        return np.asarray(np.logaddexp(common, log_sum_exp(means)) - np.log(2.0))

    def _gates(self, conditional: FloatArray, totals: "np.typing.NDArray[np.int64]") -> FloatArray:
        """Ln e-value of each gate from sums (blocks, thetas) and totals (blocks, 4): (blocks, gates)."""
        found = np.zeros((len(conditional), len(self.terms.gates)))
        for index, gate in enumerate(self.terms.gates):
            terms = []
            if gate.null is not None and gate.rate_weight < 1.0:
                part = conditional[:, HARM + index * GATE : HARM + (index + 1) * GATE]
                ratio = log_mean_exp(gate.log_prior, part[:, :-1] - part[:, -1:])
                terms.append(np.log1p(-gate.rate_weight) + ratio)
            if gate.rate is not None and gate.rate_weight > 0.0:
                one = under_rate_log_e(totals[:, 0], totals[:, 1], gate.rate)
                terms.append(np.log(gate.rate_weight) + one)
            if terms:
                found[:, index] = log_sum_exp(np.stack(terms, axis=-1))
        return found


def _overlay(grown: Mapping[str, Slice], before: Mapping[str, Slice], table: BlockTable) -> dict[str, Slice]:
    """Slices after a table, sorted; a stratum without new blocks keeps its open one."""
    found = {**before, **grown}
    for row in np.flatnonzero(~table.closed):
        block = table.row(int(row))
        found[block.stratum] = replace(found.get(block.stratum, Slice()), open=block)
    return dict(sorted(found.items()))
