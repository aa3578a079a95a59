"""The evidence on one guardrail: additive state, one pass over new blocks.

Closed blocks are added and never looked at again; open ones lie over the state until they close. Adding
blocks one by one or all at once gives the same numbers, so a look costs its new blocks only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from evaluators.blocks import BlockCounts, BlockTable, check_order
from evaluators.method import Method
from evaluators.mixture import BoolArray, FloatArray, log_mean_exp, log_sum_exp, pack, running, unpack
from evaluators.terms import Terms
from lastgood.errors import InvalidEvidence

Counts = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """What one stratum's closed blocks add up to."""

    #: the harm test over its alternatives, nats, (J,)
    bet: FloatArray
    #: candidate runs, bad ones, baseline runs, bad ones
    totals: Counts = (0, 0, 0, 0)
    #: number of the last closed block; -1 before the first
    last: int = -1
    #: the newest block while it is open
    open: BlockCounts | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The state after each closed block of one pass, in nats, and after all of them."""

    #: harm e-value, (blocks,)
    harm: FloatArray
    #: each listed slice's own harm e-value, (blocks, listed)
    slices: FloatArray
    #: each gate's e-value, (blocks, gates)
    gates: FloatArray
    #: whether each gate's e-value has ever reached its line, (blocks, gates)
    crossed: BoolArray
    #: runs and bad runs so far, as n_c, y_c, n_b, y_b, (blocks, 4)
    totals: FloatArray
    #: stratum and number of the last closed block; ("", -1) where there is none
    last: tuple[str, int]
    after: "GuardrailState"


@dataclass(frozen=True, eq=False)  # no slots: what is read often is kept
class GuardrailState:
    """Additive evidence on one guardrail under its terms."""

    terms: Terms
    #: by stratum, sorted, so that sums over them come out the same however blocks were sent
    slices: Mapping[str, Slice] = field(default_factory=dict)
    #: the harm test summed over all strata but waived ones: the common effect, (J,)
    common: FloatArray | None = None
    #: what the method's proof adds up to over the same, (K,)
    proven: FloatArray | None = None
    #: which gates have ever reached their line
    crossed: tuple[bool, ...] = ()

    def add(self, blocks: Sequence[BlockCounts]) -> "GuardrailState":
        """The state with more blocks; InvalidEvidence where a stratum's blocks are out of order."""
        return self.trace(BlockTable.of(blocks)).after

    def trace(
        self, table: BlockTable, deff: FloatArray | float = 1.0, bets_deff: FloatArray | float = 1.0
    ) -> Trace:
        """Add a table's closed blocks in its order and lay its open ones over; see `add`.

        E-values are read with the proof divided by the design effect `deff`, (blocks,) or one, and the harm
        test by `bets_deff`, (blocks, J) or one.
        """
        self._check(table)
        closed = table.take(table.closed)
        bets = self.method.bets(closed, self.baseline_before(closed))
        judged = self.judged(closed)[:, None]
        common = running(self.bet, np.where(judged, bets, 0.0))
        proof = running(self.conditional, np.where(judged, self.method.proof(closed), 0.0))
        parts = self._grow(closed, bets)
        totals = np.vstack([self.totals, np.where(judged, closed.counts, 0)]).cumsum(axis=0)
        shrink = np.broadcast_to(np.asarray(deff, dtype=np.float64), (len(closed),))[:, None]
        gates = self.method.gates(proof[1:] / shrink, totals[1:] / shrink)
        crossed = self.crossing(gates)
        after = GuardrailState(
            self.terms,
            _overlay({name: grown for name, (grown, _) in parts.items()}, self, table),
            common[-1],
            proof[-1],
            tuple(bool(flag) for flag in crossed[-1]) if len(crossed) else self.has_crossed,
        )
        harm, slices = self.read(common[1:], self._slices_after(closed, parts), bets_deff)
        end = (str(closed.stratum[-1]), int(closed.block[-1])) if len(closed) else ("", -1)
        return Trace(harm, slices, gates, crossed, totals[1:].astype(np.float64), end, after)

    def settled(self) -> "GuardrailState":
        """The state of closed blocks alone."""
        closed = {name: replace(part, open=None) for name, part in self.slices.items() if part.last >= 0}
        return replace(self, slices=closed)

    @property
    def method(self) -> Method:
        """How the guardrail is judged; InvalidEvidence where nothing fixes its scale."""
        if self.terms.method is None:
            raise InvalidEvidence(
                f"guardrail {self.terms.guardrail.name} can't be scored: {self.terms.margin.reason};"
                " send no blocks for it"
            )
        return self.terms.method

    @property
    def bet(self) -> FloatArray:
        """The harm test's sums over all strata but waived ones, nats."""
        return np.zeros(len(self.method.prior)) if self.common is None else self.common

    @property
    def conditional(self) -> FloatArray:
        """The proof's sums; of a proportion the conditional test's, nats."""
        return np.zeros(self.method.proof_width) if self.proven is None else self.proven

    @property
    def has_crossed(self) -> tuple[bool, ...]:
        """Whether each gate has ever reached its line."""
        return self.crossed or (False,) * self.terms.steps

    @cached_property
    def totals(self) -> Counts:
        """Judged runs of closed blocks: n_c, y_c, n_b, y_b."""
        parts = [part.totals for name, part in self.slices.items() if name not in self.terms.waived]
        return _four(map(sum, zip((0, 0, 0, 0), *parts, strict=True)))

    @cached_property
    def seen(self) -> Counts:
        """Judged runs of closed and open blocks: n_c, y_c, n_b, y_b."""
        parts = [part for name, part in self.slices.items() if name not in self.terms.waived]
        pending = [part.open for part in parts if part.open is not None]
        rows = [(block.n_c, block.y_c, block.n_b, block.y_b) for block in pending]
        return _four(map(sum, zip(self.totals, *rows, strict=True)))

    @property
    def log_e_harm(self) -> float:
        """Ln of the harm e-value, open blocks included."""
        return self.harm_now(1.0)

    def harm_now(self, deff: FloatArray | float) -> float:
        """The same with log likelihoods divided by a design effect, one or one an alternative (J,)."""
        if self.terms.method is None:
            return 0.0
        extra = [
            self.open_bet(name, part) for name, part in self.slices.items() if name not in self.terms.waived
        ]
        common = np.sum([self.bet, *extra], axis=0)
        return float(self.read(common[None, :], self._slices_here(), deff)[0][0])

    def slices_now(self, deff: FloatArray | float) -> FloatArray:
        """Ln of each listed slice's own harm e-value, open blocks included, (listed,)."""
        if self.terms.method is None or not self.terms.listed:
            return np.zeros(len(self.terms.listed))
        return np.asarray(self.read(self.bet[None, :], self._slices_here(), deff)[1][0])

    def _slices_here(self) -> dict[str, FloatArray]:
        """Each listed slice's own harm test, open blocks included, (1, J)."""
        parts = {name: self.part(name) for name, _, _ in self.terms.listed}
        return {name: (part.bet + self.open_bet(name, part))[None, :] for name, part in parts.items()}

    @property
    def log_e_slices(self) -> tuple[tuple[str, float], ...]:
        """Ln of each listed stratum's own harm e-value, open blocks included."""
        values = self.slices_now(1.0).tolist()
        return tuple((name, value) for (name, _, _), value in zip(self.terms.listed, values, strict=True))

    @cached_property
    def log_e_conditional(self) -> float:
        """Ln of the harm e-value that needs no share, closed blocks: the cross-check."""
        return 0.0 if self.terms.method is None else self.method.check(self.conditional)

    @property
    def log_e_gates(self) -> tuple[float, ...]:
        """Ln of each gate's e-value, closed blocks."""
        return self.gates_now(1.0)

    def gates_now(self, deff: float) -> tuple[float, ...]:
        """The same with the evidence divided by a design effect."""
        if self.terms.method is None:
            return (0.0,) * self.terms.steps
        found = self.method.gates(self.conditional[None, :] / deff, np.array([self.totals]) / deff)
        return tuple(float(value) for value in found[0])

    def crossing(self, gates: FloatArray) -> BoolArray:
        """Whether each gate has ever reached its line after each block, (blocks, gates)."""
        ever = np.vstack([self.has_crossed, gates >= self.terms.line])
        return np.logical_or.accumulate(ever, axis=0)[1:]

    def judged(self, table: BlockTable) -> BoolArray:
        """Rows of slices that are not waived, (rows,)."""
        return np.asarray(~np.isin(table.stratum, self.terms.waived), dtype=np.bool_)

    def read(
        self, common: FloatArray, slices: Mapping[str, FloatArray], shrink: FloatArray | float
    ) -> tuple[FloatArray, FloatArray]:
        """Ln harm e-value, (rows,), and the listed slices' own, (rows, listed), from sums (rows, J) of each.

        ln(1/2 E_common + 1/2 SUM w_s E_s); see `terms` on slices in which harm alone does not revert.
        """
        prior = self.method.prior
        whole = log_mean_exp(prior, common / shrink)
        for name in self.terms.quiet:
            whole = np.minimum(whole, log_mean_exp(prior, (common - slices[name]) / shrink))
        own = np.zeros((len(common), len(slices)))
        for column, found in enumerate(slices.values()):
            own[:, column] = log_mean_exp(prior, found / shrink)
        if not self.terms.slices:
            return whole, own
        columns = [list(slices).index(name) for name, _ in self.terms.slices]
        means = own[:, columns] + np.array([weight for _, weight in self.terms.slices])
        return np.asarray(np.logaddexp(whole, log_sum_exp(means)) - np.log(2.0)), own

    def part(self, name: str) -> Slice:
        """A stratum's sums; an empty one where it has no block yet."""
        return self.slices.get(name) or Slice(np.zeros(len(self.method.prior)))

    def open_bet(self, name: str, part: Slice) -> FloatArray:
        """What a stratum's open block adds to the harm test, (J,)."""
        if part.open is None or not self.method.moves_open:
            return np.zeros(len(self.method.prior))
        before = np.array([part.totals[2:]], dtype=np.float64)
        table = BlockTable.of([replace(part.open, stratum=name)])
        return np.asarray(self.method.bets(table, before)[0])

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the doubles are exact (base64 of little-endian bytes)."""
        if self.terms.method is None:
            return {"slices": {}}
        parts = list(self.slices.values())
        whole = len(parts) == 1 and np.array_equal(parts[0].bet, self.bet)
        return {
            "bet": None if whole else pack(self.bet),  # one stratum's sums are those over all strata
            "proof": pack(self.conditional),
            "crossed": list(self.has_crossed),
            "slices": {
                name: {
                    "bet": pack(part.bet),
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
        if terms.method is None:
            return cls(terms)
        size, slices = len(terms.method.prior), {}
        for name, part in data["slices"].items():
            pending = None if part["open"] is None else BlockCounts(**part["open"])
            totals = _four([int(value) for value in part["totals"]])
            slices[str(name)] = Slice(unpack(part["bet"], (size,)), totals, int(part["last"]), pending)
        proof = unpack(data["proof"], (terms.method.proof_width,))
        crossed = tuple(bool(flag) for flag in data["crossed"])
        alone = next(iter(slices.values()), None)
        bet = alone.bet if data["bet"] is None and alone is not None else unpack(data["bet"], (size,))
        return cls(terms, slices, bet, proof, crossed)

    def _check(self, table: BlockTable) -> None:
        name = self.terms.guardrail.name
        check_order(name, table, {stratum: part.last for stratum, part in self.slices.items()})
        if len(table) and table.sums.shape[1] != self.method.width:
            raise InvalidEvidence(
                f"guardrail {name}: block {int(table.block[0])}, column sums: {table.sums.shape[1]} values,"
                f" a {self.terms.guardrail.kind} has {self.method.width}"
            )

    def baseline_before(self, closed: BlockTable) -> FloatArray:
        """Baseline runs and bad runs of its stratum before each block, (blocks, 2)."""
        before = np.zeros((len(closed), 2))
        for name in dict.fromkeys(closed.stratum.tolist()):
            rows = np.flatnonzero(closed.stratum == name)
            own = closed.counts[rows][:, 2:]
            start = self.part(name).totals[2:]
            before[rows] = np.vstack([start, own[:-1]]).cumsum(axis=0)
        return before

    def _grow(self, closed: BlockTable, bets: FloatArray) -> dict[str, tuple[Slice, FloatArray]]:
        """Each stratum of the table after it, with its bet after each of its blocks, (own blocks, J)."""
        grown = {}
        for name in dict.fromkeys(closed.stratum.tolist()):
            rows = np.flatnonzero(closed.stratum == name)
            part = self.part(name)
            path = running(part.bet, bets[rows])
            totals = _four(closed.counts[rows].sum(axis=0) + np.array(part.totals))
            grown[name] = (Slice(path[-1], totals, int(closed.block[rows[-1]])), path[1:])
        return grown

    def _slices_after(
        self, closed: BlockTable, parts: Mapping[str, tuple[Slice, FloatArray]]
    ) -> dict[str, FloatArray]:
        """Each listed slice's own harm test after each block, (blocks, J)."""
        found = {}
        for name, _, _ in self.terms.listed:
            own = closed.stratum == name
            path = np.vstack([self.part(name).bet, parts[name][1]] if own.any() else [self.part(name).bet])
            found[name] = path[np.cumsum(own)]
        return found


def _four(values: Any) -> Counts:
    n_c, y_c, n_b, y_b = (int(value) for value in values)
    return n_c, y_c, n_b, y_b


def _overlay(grown: Mapping[str, Slice], state: GuardrailState, table: BlockTable) -> dict[str, Slice]:
    """Slices after a table, sorted; a stratum without new blocks keeps its open one."""
    found = {**state.slices, **grown}
    for row in np.flatnonzero(~table.closed):
        block = table.row(int(row))
        found[block.stratum] = replace(found.get(block.stratum) or state.part(block.stratum), open=block)
    return dict(sorted(found.items()))
