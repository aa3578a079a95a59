"""Terms: what is fixed about a guardrail before the first run of a release."""

from dataclasses import dataclass

import numpy as np

from evaluators.blocks import ALL, OTHER
from evaluators.history import History
from evaluators.mixture import CURVE, THETAS, FloatArray
from evaluators.references import Gate, Margin, gates, margin, predicted
from evaluators.rules import Guardrail, Rules


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """A guardrail, its margin, its gates and what predicts the baseline."""

    guardrail: Guardrail
    margin: Margin
    #: one a step; the last is the margin's
    gates: tuple[Gate, ...]
    #: ln weights of the slices that are compared by themselves
    slices: tuple[tuple[str, float], ...]
    #: (weight in runs, bad rate) by stratum that predict the baseline at first
    predicted: dict[str, tuple[float, float]]
    #: an e-value must reach this natural log to open a gate: ln(1/alpha_promote)
    line: float
    #: log odds ratios of the conditional test: THETAS, then 25 a gate, then CURVE
    thetas: FloatArray

    def predict(self, stratum: str) -> tuple[float, float]:
        """(weight in runs, bad rate) for a stratum; one that the rules do not list uses the whole."""
        return self.predicted.get(stratum, self.predicted[ALL])


def terms(guardrail: Guardrail, rules: Rules, history: History) -> Terms:
    """The terms of a guardrail under frozen rules and history.

    The harm e-value is 1/2 E_common + 1/2 SUM_s w_s E_s over the strata that the rules list, whose weights
    sum to one before the first run. `other` has a part of its own only where it is listed; else its runs
    count in E_common alone. So the whole starts at one and stays a mean of e-processes.
    """
    found = gates(guardrail, rules, history)
    names = [name for name, _ in rules.strata]
    at = {name: predicted(guardrail, rules, history, name) for name in (*names, OTHER, ALL)}
    total = sum(weight for _, weight in rules.strata)
    return Terms(
        guardrail,
        margin(guardrail, rules, history),
        found,
        tuple((name, float(np.log(weight / total))) for name, weight in rules.strata if weight > 0),
        at,
        float(np.log(1.0 / rules.alpha_promote)),
        np.concatenate([THETAS, *(gate.thetas for gate in found), CURVE]),
    )
