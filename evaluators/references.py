"""References: what a margin means, fixed before the first run.

A margin is a difference of bad rates; the comparison proves odds ratios. The reference rate joins them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from evaluators.history import History
from evaluators.mixture import DISTANCES, FloatArray, promote_prior
from evaluators.rules import Guardrail, Kind, Rules
from evaluators.scales import Scale, scale

#: bad runs of history below which an absolute margin has no reference of its own: about a hundred, so that
#: a history that is sized for a hundred is not refused by the luck of its draw (three standard deviations)
ENOUGH_BAD = 70
#: one-sided confidence of the reference rate
CONFIDENCE = 0.95
#: rate and weight (runs) that stand in for a history that is empty
GUESS_RATE, GUESS_RUNS, DECLARED_RUNS = 0.1, 2.0, 20.0


def upper_rate(n: int, bad: int) -> float:
    """Upper one-sided 95% Clopper-Pearson bound of a rate, 0..1; 1 without runs."""
    if n == 0 or bad >= n:
        return 1.0
    # `scipy.stats` says the same, and takes a third of a second of each start to load
    return float(betaincinv(bad + 1, n - bad, CONFIDENCE))


def logit(rate: float) -> float:
    """ln(rate / (1 - rate))."""
    return float(np.log(rate) - np.log1p(-rate))


@dataclass(frozen=True, slots=True)
class Margin:
    """A guardrail's margin as the comparison uses it."""

    #: the bad-rate difference that must be ruled out, 0..1, or None where nothing can be proven
    delta: float | None
    #: the log odds ratio that it makes at the reference rate, or None where there is no reference
    null: float | None
    #: the reference rate, 0..1, or None
    reference: float | None
    #: why there is no reference; empty where there is one
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """What one step's gate must rule out on one guardrail."""

    #: log odds ratio to rule out by the conditional test, or None where only the rate itself can prove
    null: float | None
    #: candidate bad rate to rule out by the one-sample test, 0..1, or None
    rate: float | None
    #: weight of the one-sample test in the gate's e-value, 0..1; the conditional test has the rest
    rate_weight: float
    #: difference of bad rates that the test of differences rules out, 0..1, with half of the weight; None
    #: where the margin is a part of a rate, or there is no reference
    difference: float | None = None

    @property
    def thetas(self) -> FloatArray:
        """Alternatives of the conditional test, then its null, (25,); zeros where there is none."""
        if self.null is None:
            return np.zeros(len(DISTANCES) + 1)
        return np.append(self.null - DISTANCES, self.null)

    @property
    def log_prior(self) -> FloatArray:
        """Ln prior over the alternatives, (24,)."""
        return promote_prior(self.null if self.null is not None else 1.0)


def margin(guardrail: Guardrail, rules: Rules, history: History) -> Margin:
    """The margin of a guardrail: delta = max(absolute, relative * reference), null in log odds.

    The reference is the upper bound of the history's rate. Where the history has fewer than ENOUGH_BAD bad
    runs the rules' declared rate stands in; without one an absolute margin has no null, and only a candidate
    whose own bad rate is proven under the margin can pass. Of a measured guardrail see `measured_margin`.
    """
    if guardrail.kind.measured:
        return measured_margin(guardrail, scale(guardrail, history))
    n, bad = history.outside(guardrail, rules.waived(guardrail.name))
    declared = dict(rules.references).get(guardrail.name)
    absolute, relative = guardrail.margin_abs or 0.0, guardrail.margin_rel or 0.0
    if absolute <= 0.0 and relative <= 0.0:
        return Margin(None, None, None, f"{guardrail.name} declares no margin")
    reference = declared if bad < ENOUGH_BAD and declared is not None else upper_rate(n, bad)
    by_absolute = absolute >= relative * reference
    if declared is None and bad < ENOUGH_BAD and (by_absolute or n == 0):
        why = (
            f"history of {guardrail.name} has {bad} bad runs of {n}, under {ENOUGH_BAD}: no reference rate;"
            " declare one in the policy's reference or wait for more history (until then only a candidate"
            " whose own bad rate is proven under the margin passes)"
        )
        return Margin(absolute if absolute > 0.0 else None, None, None, why)
    delta = max(absolute, relative * reference)
    if not 0.0 < reference < 1.0 or reference + delta >= 1.0:
        why = f"a margin of {delta:g} over a bad rate of {reference:.3g} leaves nothing to rule out"
        return Margin(None, None, None, f"{guardrail.name}: {why}")
    return Margin(delta, logit(reference + delta) - logit(reference), reference, "")


def measured_margin(guardrail: Guardrail, found: Scale | None) -> Margin:
    """A measured guardrail's margin: delta in its unit; null the ln ratio, of a score the loss difference.

    The reference is history's mean amount a denominator; of a score its mean loss, 0..1.
    """
    absolute, relative = guardrail.margin_abs or 0.0, guardrail.margin_rel or 0.0
    if found is None:
        why = f"history has no {guardrail.column} to fix its scale from; wait for recorded baseline runs"
        return Margin(None, None, None, why)
    if absolute <= 0.0 and relative <= 0.0:
        return Margin(None, None, None, f"{guardrail.name} declares no margin")
    delta = max(absolute, relative * found.theta)
    if guardrail.kind is Kind.SCORE:
        width = guardrail.highest - guardrail.lowest
        loss = max(absolute / width, relative * found.loss)
        return Margin(loss * width, loss, found.loss, "")
    ratio = 1.0 + delta / found.theta if guardrail.bad else 1.0 - delta / found.theta
    if ratio <= 0.0:
        why = f"a margin of {delta:g} under a mean of {found.theta:.3g} leaves nothing to rule out"
        return Margin(None, None, None, f"{guardrail.name}: {why}")
    return Margin(delta, float(np.log(ratio)), found.theta, "")


def measured_bars(guardrail: Guardrail, rules: Rules, found: Scale | None) -> tuple[float | None, ...]:
    """What each step's gate rules out: a ratio of the arms' means, or a difference of mean loss.

    An early gate of 3 rules out three times the mean (a third where more is better), of a score three times
    the odds at its mean loss; never less than the margin.
    """
    final = measured_margin(guardrail, found).null
    bars: list[float | None] = []
    for step in rules.steps:
        if final is None or found is None:
            bars.append(None)
        elif guardrail.kind is Kind.SCORE:
            lifted = 0.0 if step.rule_out is None else logit(found.loss) + float(np.log(step.rule_out))
            early = 0.0 if step.rule_out is None else float(1.0 / (1.0 + np.exp(-lifted))) - found.loss
            bars.append(max(final, early))
        else:
            early = 0.0 if step.rule_out is None else float(np.log(step.rule_out))
            bars.append(float(np.exp(max(final, early) if guardrail.bad else min(final, -early))))
    return tuple(bars)


def gates(guardrail: Guardrail, rules: Rules, history: History) -> tuple[Gate, ...]:
    """One gate a step, the last one the margin itself.

    An early gate rules out its odds ratio, or the margin where that is looser: a step is never stricter
    than the release. Where the reference (else the history's upper rate) is under half of the rate to rule
    out, hardly any run will be bad and the conditional test learns nothing from blocks without failures;
    there the one-sample test gets half of the weight. An absolute margin is tested as a difference too,
    which does not pay for the reference's uncertainty.
    """
    final = margin(guardrail, rules, history)
    n, bad = history.outside(guardrail, rules.waived(guardrail.name))
    upper = final.reference
    if upper is None and n:
        upper = upper_rate(n, bad)
    absolute = final.delta is not None and final.delta == guardrail.margin_abs
    found = []
    for step in rules.steps:
        null, rate = final.null, final.delta
        difference = final.delta if absolute and null is not None and step.rule_out is None else None
        if step.rule_out is not None:
            null = max(float(np.log(step.rule_out)), final.null or 0.0)
            if final.reference is not None and final.delta is not None:
                lifted = logit(final.reference) + null
                rate = max(final.delta, float(1.0 / (1.0 + np.exp(-lifted))) - final.reference)
        # without a reference the last gate looks at the rate alone; an early one that did not would stay shut
        known = upper if final.null is not None else None
        found.append(Gate(null, rate, _rate_weight(null, rate, known), difference))
    return tuple(found)


def _rate_weight(null: float | None, rate: float | None, upper: float | None) -> float:
    if rate is None:
        return 0.0
    if null is None:
        return 1.0
    return 0.5 if upper is None or upper < rate / 2.0 else 0.0


def predicted(guardrail: Guardrail, rules: Rules, history: History, stratum: str) -> tuple[float, float]:
    """(weight in runs, rate 0..1 exclusive) that predict the baseline's bad rate before its first block.

    Short history weighs as many runs as it has; an empty one a declared rate, or a guess that the first
    blocks outweigh.
    """
    n, bad = history.of(guardrail, stratum)
    declared = dict(rules.references).get(guardrail.name)
    usable = declared is not None and 0.0 < declared < 1.0
    guess, runs = (float(declared or 0.0), DECLARED_RUNS) if usable else (GUESS_RATE, GUESS_RUNS)
    rate = (bad + runs * guess) / (n + runs)
    return max(1.0, min(float(rules.history_weight), n + runs)), rate
