"""Triggers: rules that revert at once, judged where an outcome is recorded.

A zero-tolerance event fires on its first occurrence. A tolerated rate fires when a one-sample e-process
against the policy's own limit crosses its line, however often it is looked at. Pure `math`: the agent side
imports this.
"""

import math
from dataclasses import dataclass

_POINTS = 24
#: log rate ratios that the alternative puts its mass on, geometric from .05 to 5
_THETAS = tuple(0.05 * math.exp(math.log(100.0) * j / (_POINTS - 1)) for j in range(_POINTS))
_BUMPS = tuple(math.exp(-0.5 * (math.log(theta / 0.8) / 0.9) ** 2) for theta in _THETAS)
_PRIOR = tuple(bump / sum(_BUMPS) for bump in _BUMPS)


@dataclass(frozen=True, slots=True)
class RateTrigger:
    """Revert when the candidate's rate of one bad outcome is proven above a limit."""

    #: the guardrail whose bad outcome is counted: `completion`, `validation`, `escalation` or `incidents`
    metric: str
    #: the tolerated share of bad runs, 0..1 exclusive
    limit: float
    #: chance that a candidate exactly at the limit ever fires, 0..1 exclusive
    alpha: float = 0.001

    def log_e(self, n: int, bad: int) -> float:
        """Return the natural-log e-value against "the rate is at most the limit" after `n` runs.

        log sum_j pi_j exp(y th_j - rho n (e^th_j - 1)), a supermartingale for Bernoulli outcomes of rate
        <= rho because 1 + p(e^th - 1) <= exp(p (e^th - 1)).
        """
        terms = [
            math.log(pi) + bad * theta - self.limit * n * math.expm1(theta)
            for theta, pi in zip(_THETAS, _PRIOR, strict=True)
        ]
        top = max(terms)
        return top + math.log(sum(math.exp(term - top) for term in terms))

    def fires(self, n: int, bad: int) -> bool:
        """Return whether `bad` of `n` runs prove the rate above the limit."""
        return self.log_e(n, bad) >= -math.log(self.alpha)


@dataclass(frozen=True, slots=True)
class Triggers:
    """The triggers of one release."""

    #: names of events (`run.event("data_leak")`) that revert on the first occurrence
    zero_tolerance: tuple[str, ...] = ("data_leak", "wrong_action")
    rates: tuple[RateTrigger, ...] = ()
