"""The evidence on one guardrail where units may repeat: half each unit's first run, half every run, tempered.

Until a unit repeats both halves are the same and only one is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from evaluators.blocks import WHOLE, BlockCounts, BlockTable
from evaluators.clusters import MOMENTS, bet_effect, design_effect, halves
from evaluators.guardrail_state import Counts, GuardrailState, Trace
from evaluators.mixture import BoolArray, FloatArray, pack, unpack
from evaluators.terms import Terms
from lastgood.errors import InvalidEvidence

#: moments of both arms, candidate's first
BOTH = 2 * MOMENTS


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """The evidence after each closed block of one pass, and after all of them; see `Trace`."""

    harm: FloatArray
    slices: FloatArray
    gates: FloatArray
    crossed: BoolArray
    totals: FloatArray
    last: tuple[str, int]
    after: "Evidence"


@dataclass(frozen=True, eq=False)  # no slots: what is read often is kept
class Evidence:
    """One guardrail's evidence."""

    #: every run
    every: GuardrailState
    #: each unit's first run; None until a unit repeats
    first: GuardrailState | None = None
    #: moments of closed blocks, both arms, (12,)
    moments: FloatArray = field(default_factory=lambda: np.zeros(BOTH))
    #: moments of the open blocks by stratum, (12,) each
    pending: Mapping[str, FloatArray] = field(default_factory=dict)
    #: which gates have ever reached their line
    crossed: tuple[bool, ...] = ()
    #: basis points of runs to the candidate in the newest block; 0 before the first
    share_bp: int = 0

    @property
    def terms(self) -> Terms:
        """What is fixed about the guardrail."""
        return self.every.terms

    @cached_property
    def deff(self) -> float:
        """The design effect of closed blocks, 1 or more."""
        return 1.0 if self.first is None else float(design_effect(self.moments))

    @cached_property
    def bet_deff(self) -> FloatArray:
        """By alternative of the harm test, open blocks included, (J,), 1 or more each."""
        if self.first is None or self.share_bp == 0:
            return np.full(len(self.every.method.prior), self.deff)
        moments = np.sum([self.moments, *self.pending.values()], axis=0)
        return np.asarray(self.bet_effects(moments[None, :], np.array([self.share_bp / WHOLE]))[0])

    def bet_effects(self, moments: FloatArray, share: FloatArray) -> FloatArray:
        """What the harm test is divided by, (rows, J), at totals of moments (rows, 12) and shares (rows,)."""
        plain = design_effect(moments)[:, None]
        slopes = self.every.method.slopes(share)
        if slopes is None:
            return np.broadcast_to(plain, (len(moments), len(self.every.method.prior)))
        return np.maximum(plain, bet_effect(moments, slopes, share))

    def trace(self, every: BlockTable, first: BlockTable | None = None) -> Pass:
        """Add a table's closed blocks and lay its open ones over.

        `first` holds the same blocks with each unit's first runs alone, and the moments of all runs behind
        its sums; None where runs name no units.
        """
        if first is None and self.first is not None:
            raise InvalidEvidence(
                f"guardrail {self.terms.guardrail.name}: block {every.block[:1].tolist()}: units repeat in"
                " this release, and earlier blocks came with those of first runs; send them too"
            )
        if first is None:
            return self._whole(self.every.trace(every), self.moments, {}, self._newest(every))
        width = every.sums.shape[1]
        alone = first.with_counts(first.counts, first.sums[:, :width])
        added = first.sums[first.closed][:, width:]
        moments = np.vstack([self.moments, added]).cumsum(axis=0)
        pending = {name: kept for name, kept in self.pending.items() if not (first.stratum == name).any()}
        for row in np.flatnonzero(~first.closed):
            pending[str(first.stratum[row])] = first.sums[row, width:]
        if self.first is None and np.array_equal(alone.counts, every.counts):
            return self._whole(self.every.trace(every), moments[-1], pending, self._newest(every))
        share = every.share_bp[every.closed] / WHOLE
        bets = self.bet_effects(moments[1:], share)
        tempered = self.every.trace(every, design_effect(moments[1:]), bets)
        exact = (self.first or self.every).trace(alone)
        return self._halved(tempered, exact, moments[-1], pending, self._newest(every))

    def settled(self) -> "Evidence":
        """The evidence of closed blocks alone."""
        first = None if self.first is None else self.first.settled()
        return replace(self, every=self.every.settled(), first=first, pending={})

    def _newest(self, table: BlockTable) -> int:
        return int(table.share_bp[-1]) if len(table) else self.share_bp

    def _whole(
        self, trace: Trace, moments: FloatArray, pending: Mapping[str, FloatArray], share_bp: int
    ) -> Pass:
        after = Evidence(trace.after, self.first, moments, pending, share_bp=share_bp)
        crossed = self._crossing(trace.gates)
        return Pass(
            trace.harm, trace.slices, trace.gates, crossed, trace.totals, trace.last,
            replace(after, crossed=self._ever(crossed)),
        )  # fmt: skip

    def _halved(
        self,
        tempered: Trace,
        exact: Trace,
        moments: FloatArray,
        pending: Mapping[str, FloatArray],
        share_bp: int,
    ) -> Pass:
        gates = halves(exact.gates, tempered.gates)
        crossed = self._crossing(gates)
        return Pass(
            halves(exact.harm, tempered.harm),
            halves(exact.slices, tempered.slices),
            gates,
            crossed,
            tempered.totals,
            tempered.last,
            Evidence(tempered.after, exact.after, moments, pending, self._ever(crossed), share_bp),
        )

    def _crossing(self, gates: FloatArray) -> BoolArray:
        ever = np.vstack([self.has_crossed, gates >= self.terms.line])
        return np.logical_or.accumulate(ever, axis=0)[1:]

    def _ever(self, crossed: BoolArray) -> tuple[bool, ...]:
        return tuple(bool(flag) for flag in crossed[-1]) if len(crossed) else self.has_crossed

    @property
    def has_crossed(self) -> tuple[bool, ...]:
        """Whether each gate has ever reached its line."""
        return self.crossed or (False,) * self.terms.steps

    @cached_property
    def seen(self) -> Counts:
        """Runs of closed and open blocks: n_c, y_c, n_b, y_b."""
        return self.every.seen

    @cached_property
    def log_e_harm(self) -> float:
        """Ln of the harm e-value, open blocks included."""
        if self.first is None:
            return self.every.harm_now(1.0)
        return float(halves(self.first.harm_now(1.0), self.every.harm_now(self.bet_deff)))

    @cached_property
    def slices(self) -> FloatArray:
        """Ln of each listed slice's own harm e-value, open blocks included, (listed,)."""
        if self.first is None:
            return self.every.slices_now(1.0)
        return halves(self.first.slices_now(1.0), self.every.slices_now(self.bet_deff))

    @cached_property
    def log_e_gates(self) -> tuple[float, ...]:
        """Ln of each gate's e-value, closed blocks."""
        tempered = self.every.gates_now(self.deff)
        if self.first is None:
            return tempered
        return tuple(halves(np.array(self.first.gates_now(1.0)), np.array(tempered)).tolist())

    def open_blocks(self) -> dict[str, BlockCounts]:
        """Each stratum's open block, every run."""
        return {name: part.open for name, part in self.every.slices.items() if part.open is not None}

    def open_firsts(self) -> dict[str, BlockCounts]:
        """The same of first runs."""
        state = self.first or self.every
        return {name: part.open for name, part in state.slices.items() if part.open is not None}

    def to_json(self) -> dict[str, Any]:
        """A plain dict; the doubles are exact."""
        if self.terms.method is None:
            return {}
        return {
            "every": self.every.to_json(),
            "first": None if self.first is None else self.first.to_json(),
            "moments": pack(self.moments),
            "pending": {name: pack(found) for name, found in sorted(self.pending.items())},
            "crossed": list(self.has_crossed),
            "share_bp": self.share_bp,
        }

    @classmethod
    def from_json(cls, terms: Terms, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json` under the same terms."""
        if terms.method is None:
            return cls(GuardrailState(terms))
        first = None if data["first"] is None else GuardrailState.from_json(terms, data["first"])
        pending = {str(name): unpack(text, (BOTH,)) for name, text in data["pending"].items()}
        crossed = tuple(bool(flag) for flag in data["crossed"])
        every = GuardrailState.from_json(terms, data["every"])
        moments, share_bp = unpack(data["moments"], (BOTH,)), int(data["share_bp"])
        return cls(every, first, moments, pending, crossed, share_bp)


__all__ = ["BOTH", "Evidence", "Pass"]
