"""Worth: what a release's runs say on one guardrail, as a plan reckons it.

Not every run says something: those of a waived slice are not judged, infrastructure failures are left out,
and runs of one unit are alike. And harm is read slice by slice as the release will read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluators.blocks import ALL, OTHER
from evaluators.guardrail_state import GuardrailState
from evaluators.history import History, Rates
from evaluators.mixture import FloatArray
from evaluators.rules import Guardrail, Rules
from evaluators.scoring import INFRA
from evaluators.terms import terms

#: part of the runs under which a slice is as good as empty
NONE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """What runs are worth as evidence on one guardrail; slices are taken as alike but in size."""

    #: reads the harm test over the slices
    state: GuardrailState
    #: part of all runs that each judged slice has, 0..1; those of no listed slice under OTHER
    parts: Mapping[str, float]
    #: part of a block's runs that count, 0..1: without infrastructure failures where a guardrail watches them
    counted: float = 1.0
    #: runs that say as much as one independent one, 1 or more
    design_effect: float = 1.0
    #: nats that the halves of first and of all runs cost: ln 2 where units repeat
    price: float = 0.0

    @property
    def judged(self) -> float:
        """Part of the runs that is judged, 0..1."""
        return self.counted * sum(self.parts.values())

    @property
    def proof(self) -> float:
        """Runs that prove as much as one judged, independent one; infinite where none is judged."""
        return self.design_effect / self.judged if self.judged else np.inf

    @property
    def reverts(self) -> bool:
        """Whether harm can revert: not where every judged run is of one slice that holds or reports."""
        return bool(self.parts) and set(self.parts) not in [{name} for name in self.state.terms.quiet]

    def log_e(self, sums: Mapping[str, FloatArray]) -> FloatArray:
        """Ln harm e-value, (rows,), from each judged slice's sums over the alternatives, (rows, J) each."""
        common = np.sum(list(sums.values()), axis=0)
        listed = {name: sums.get(name, np.zeros_like(common)) for name, _, _ in self.state.terms.listed}
        return self.state.read(common, listed, 1.0)[0]

    def expected(self, sums: FloatArray) -> FloatArray:
        """The same from what all runs would add up to, (rows, J), if each were judged and independent."""
        each = self.counted / self.design_effect * sums
        return self.log_e({name: part * each for name, part in self.parts.items()})


def worth_of(guardrail: Guardrail, rules: Rules, history: History) -> Worth:
    """What a candidate's runs are worth, by the rules' slices and the history's runs."""
    shares, waived = slice_shares(rules, history), rules.waived(guardrail.name)
    n, failed = history.overall.get(f"{INFRA}=true", (0, 0))
    watched = guardrail.column != INFRA and any(g.column == INFRA for g in rules.guardrails)
    parts = {name: part for name, part in shares.items() if name not in waived and part > NONE}
    return Worth(
        GuardrailState(terms(guardrail, rules, history)),
        parts,
        1.0 - failed / n if n and watched else 1.0,
        history.clusters.get(guardrail.column, 1.0) if history.clusters else 1.0,
        float(np.log(2.0)) if history.clusters else 0.0,
    )


def slice_shares(rules: Rules, history: History) -> dict[str, float]:
    """The part of the runs that each slice has, 0..1, `other` too; by weight where history tells none."""
    if not rules.strata:
        return {ALL: 1.0}
    total, listed = _runs(history.overall), dict(rules.strata)
    if history.strata and total:
        listed = {name: _runs(history.strata.get(name, {})) / total for name in listed}
    rest = max(1.0 - sum(listed.values()), 0.0)
    return listed if OTHER in listed else {**listed, OTHER: rest}


def _runs(rates: Rates) -> int:
    return max((n for n, _ in rates.values()), default=0)


__all__ = ["Worth", "slice_shares", "worth_of"]
