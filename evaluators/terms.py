"""Terms: what is fixed about a guardrail before the first run of a release."""

from dataclasses import dataclass

import numpy as np

from evaluators.blocks import ALL, OTHER, WHOLE
from evaluators.bounded import PARTS, margin_prior
from evaluators.history import History
from evaluators.method import Method, with_declared
from evaluators.mixture import BET_PRIOR, CURVE, FISHER_PRIOR, THETAS
from evaluators.proportion_method import ProportionMethod
from evaluators.ratio_method import RatioMethod
from evaluators.references import Margin, gates, logit, margin, measured_bars, predicted
from evaluators.residual_bet import COST_CENTRE, COUNT_CENTRE, STAKES, ResidualBet, stake_prior
from evaluators.rules import Guardrail, Kind, OnHarm, Rules
from evaluators.scales import Scale, scale, threshold
from evaluators.score_method import ScoreMethod
from evaluators.tilt import LevelTilt, residual_levels
from lastgood.errors import InvalidPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """A guardrail, its margin and how it is judged."""

    guardrail: Guardrail
    margin: Margin
    #: gates: one a step, the last is the margin's
    steps: int
    #: ln weights of the slices whose own evidence counts towards a revert
    slices: tuple[tuple[str, float], ...]
    #: every listed slice with its weight in the policy, and what proven harm in it does
    listed: tuple[tuple[str, float, OnHarm], ...]
    #: slices whose runs are judged neither for harm nor for proof: a trade that was accepted beforehand
    waived: tuple[str, ...]
    #: an e-value must reach this natural log to open a gate: ln(1/alpha_promote)
    line: float
    #: None where nothing fixes the guardrail's scale: it has no data then
    method: Method | None

    @property
    def quiet(self) -> tuple[str, ...]:
        """Judged slices in which harm alone does not revert."""
        return tuple(s for s, _, does in self.listed if does is not OnHarm.REVERT and s not in self.waived)

    @property
    def bars(self) -> list[float | None]:
        """What each gate rules out, to tell one release's terms from another's."""
        if isinstance(self.method, ProportionMethod):
            return [gate.null for gate in self.method.bars]
        if isinstance(self.method, RatioMethod | ScoreMethod):
            return list(self.method.bars)
        return []


def terms(guardrail: Guardrail, rules: Rules, history: History) -> Terms:
    """The terms of a guardrail under frozen rules and history.

    The harm e-value is 1/2 E_common + 1/2 SUM_s w_s E_s over the strata that the rules list, whose weights
    sum to one before the first run; those in which harm does not revert are left out and their weight
    shared out. `other` has a part of its own only where it is listed; else its runs count in E_common
    alone. So the whole starts at one and stays a mean of e-processes.

    E_common is over all runs but those of waived slices. Where harm in a slice alone does not revert, the
    runs without that slice have to say so too: E_common is the least of both, which is at most an e-process.
    """
    listed = tuple((s, weight, rules.on_harm_in(guardrail.name, s)) for s, weight in rules.strata)
    counting = [(s, weight) for s, weight, does in listed if does is OnHarm.REVERT and weight > 0]
    total = sum(weight for _, weight in counting)
    return Terms(
        guardrail,
        margin(guardrail, rules, history),
        len(rules.steps),
        tuple((name, float(np.log(weight / total))) for name, weight in counting),
        listed,
        rules.waived(guardrail.name),
        float(np.log(1.0 / rules.alpha_promote)),
        method(guardrail, rules, history),
    )


def method(guardrail: Guardrail, rules: Rules, history: History) -> Method | None:
    """How a guardrail is judged; None where nothing fixes its scale. InvalidPolicy where it can't be."""
    if not guardrail.kind.measured:
        line = threshold(guardrail, history) if guardrail.kind is Kind.QUANTILE else None
        if guardrail.kind is Kind.QUANTILE and line is None:
            return None
        return _proportion(guardrail, rules, history, line)
    if guardrail.kind is Kind.SCORE and not rules.share_ours:
        raise InvalidPolicy(
            f"guardrail {guardrail.name} is a score and the share is not ours: both of its tests need the"
            " share; watch a proportion, a quantile, a count or a ratio instead"
        )
    found = scale(guardrail, history)
    if found is None:
        return None
    bars = measured_bars(guardrail, rules, found)
    if guardrail.kind is Kind.SCORE:
        prior = with_declared(BET_PRIOR, THETAS, _declared_loss(guardrail, found))
        return ScoreMethod(guardrail, found, bars, prior)
    centre = COST_CENTRE if guardrail.cap is None else COUNT_CENTRE
    at = None if guardrail.smallest_harm is None else guardrail.smallest_harm * found.level
    harm = ResidualBet() if rules.share_ours else LevelTilt(residual_levels(found, bad=guardrail.bad))
    return RatioMethod(guardrail, found, bars, with_declared(stake_prior(centre), STAKES, at), harm)


def _proportion(guardrail: Guardrail, rules: Rules, history: History, line: float | None) -> ProportionMethod:
    bars = gates(guardrail, rules, history)
    names = [name for name, _ in rules.strata]
    at = {name: predicted(guardrail, rules, history, name) for name in (*names, OTHER, ALL)}
    shares = np.unique([step.share_bp for step in rules.steps]) / WHOLE
    flat = np.full(len(PARTS), -np.log(len(PARTS)))
    stakes = [
        flat if gate.difference is None else margin_prior(shares, at[ALL][1], gate.difference)
        for gate in bars
    ]
    base = np.asarray(BET_PRIOR if rules.share_ours else FISHER_PRIOR)
    return ProportionMethod(
        guardrail,
        bars,
        at,
        line,
        at[ALL][1],
        np.concatenate([THETAS, *(gate.thetas for gate in bars), CURVE]),
        with_declared(base, THETAS, _lifted(guardrail.smallest_harm, at[ALL][1])),
        rules.share_ours,
        np.array(stakes),
    )


def _declared_loss(guardrail: Guardrail, found: Scale) -> float | None:
    if guardrail.smallest_harm is None:
        return None
    return _lifted(guardrail.smallest_harm / (guardrail.highest - guardrail.lowest), found.loss)


def _lifted(harm: float | None, rate: float) -> float | None:
    """The log odds ratio that a difference of rates makes at a rate."""
    return None if harm is None else logit(min(rate + harm, 0.999)) - logit(rate)
