"""The decision: e-values of all guardrails in, one word out.

Everything works on rows (one a look), so that a verdict and a path are made by the same rule.
"""

from dataclasses import dataclass

import numpy as np

from evaluators.assignment_health import MISMATCH_ALPHA
from evaluators.mixture import BoolArray, FloatArray, log_family
from evaluators.rules import Guardrail, OnHarm, Rules
from evaluators.verdict import Decision

#: the guardrail whose proven harm makes the evidence invalid
INFRA = "infra"
#: natural log that mismatch or infrastructure harm must reach
INVALID_LINE = float(np.log(1.0 / MISMATCH_ALPHA))


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """E-values of the guardrails (in the rules' order) at some looks; natural logs."""

    #: harm, (looks, guardrails)
    harm: FloatArray
    #: each gate, (looks, guardrails, steps)
    gates: FloatArray
    #: whether each gate has ever reached its line, (looks, guardrails, steps)
    crossed: BoolArray
    #: whether both arms have scored runs, (looks, guardrails)
    scored: BoolArray
    #: the assignment's mismatch, (looks,)
    mismatch: FloatArray
    #: whether harm is proven in a slice where it holds the release, (looks,)
    held: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The decision at some looks."""

    #: largest ln SUM w_k E_k over the maturity classes, (looks,)
    family: FloatArray
    #: whether it reached ln(1/alpha_revert), (looks,)
    reverts: BoolArray
    #: whether the evidence can be used to promote, (looks,)
    valid: BoolArray
    #: whether each gate may open, (looks, steps)
    gates: BoolArray

    @property
    def words(self) -> list[Decision]:
        """The decision at each look."""
        found = []
        for reverts, opens in zip(self.reverts.tolist(), self.gates[:, -1].tolist(), strict=True):
            held = Decision.PROMOTE if opens else Decision.HOLD
            found.append(Decision.REVERT if reverts else held)
        return found


def judge(rules: Rules, looks: Looks) -> Judged:
    """Revert where a class's family reaches its line; open a gate where every guardrail proves it.

    A gate needs, of every guardrail, data on both arms, an e-value that reached 1/alpha_promote once and
    is at least 1 now; and valid evidence, no revert, and no proven harm in a slice that holds.
    """
    family = families(rules, looks.harm).max(axis=1)
    reverts = family >= revert_line(rules)
    valid = looks.mismatch < INVALID_LINE
    for column, guardrail in enumerate(rules.guardrails):
        if guardrail.name == INFRA:
            valid &= looks.harm[:, column] < INVALID_LINE
    proven = looks.crossed & (looks.gates >= 0.0) & looks.scored[:, :, None]
    gates = proven.all(axis=1) & (valid & ~reverts & ~looks.held)[:, None]
    return Judged(family, np.asarray(reverts), np.asarray(valid), np.asarray(gates))


def families(rules: Rules, harm: FloatArray) -> FloatArray:
    """Ln SUM_k w_k E_k of each maturity class, (looks, classes), from harm (looks, guardrails).

    Within a class the e-values share one filtration, so their weighted sum is an e-process of mean at most
    the class's weight under any dependence; between classes the error bounds add up to alpha.
    """
    columns = []
    for members in rules.classes.values():
        places = [rules.guardrails.index(member) for member in members]
        columns.append(log_family([member.weight for member in members], harm[:, places]))
    return np.stack(columns, axis=1)


def slices_over(rules: Rules, guardrail: Guardrail, slices: FloatArray) -> BoolArray:
    """Whether each listed slice proves harm by itself, (looks, listed), from its own ln e-values.

    A slice has half of its weight in its guardrail's part of the family: w_k w_s / 2 E_s >= 1/alpha.
    """
    if not rules.strata:
        return np.zeros(slices.shape, dtype=np.bool_)
    weights = np.array([weight for _, weight in rules.strata])
    with np.errstate(divide="ignore"):
        parts = np.log(guardrail.weight * weights / 2.0)
    return np.asarray(slices + parts >= revert_line(rules))


def holding(rules: Rules, guardrail: Guardrail) -> BoolArray:
    """Listed slices in which harm to a guardrail holds the release, (listed,)."""
    does = [rules.on_harm_in(guardrail.name, name) for name, _ in rules.strata]
    return np.array([word is OnHarm.HOLD for word in does], dtype=np.bool_)


def revert_line(rules: Rules) -> float:
    """ln(1/alpha_revert)."""
    return float(np.log(1.0 / rules.alpha_revert))


def culprits(rules: Rules, harm: FloatArray) -> tuple[str, ...]:
    """Guardrails with w_k E_k >= 1/alpha at one look (guardrails,), the largest share first; at least one."""
    parts = np.log([guardrail.weight for guardrail in rules.guardrails]) + harm
    order = np.argsort(-parts, kind="stable")
    guilty = [int(k) for k in order if parts[k] >= revert_line(rules)]
    if not guilty:
        crossing = np.flatnonzero(families(rules, harm[None, :])[0] >= revert_line(rules))
        members = [m for c in crossing for m in list(rules.classes.values())[c]]
        allowed = {rules.guardrails.index(member) for member in members} or set(order.tolist())
        guilty = [int(k) for k in order if k in allowed][:1]
    return tuple(rules.guardrails[k].name for k in guilty)


def invalid_reason(rules: Rules, looks: Looks) -> str:
    """Why the last of some looks can't be used to promote; empty where it can."""
    if looks.mismatch[-1] >= INVALID_LINE:
        return f"the arms' run counts do not fit the recorded shares (log e {looks.mismatch[-1]:.1f})"
    for column, guardrail in enumerate(rules.guardrails):
        if guardrail.name == INFRA and looks.harm[-1, column] >= INVALID_LINE:
            return f"infrastructure failures differ between the arms (log e {looks.harm[-1, column]:.1f})"
    return ""
