"""Triggers: rules that revert at once, judged where an outcome is recorded.

A zero-tolerance event fires on its first occurrence. A tolerated rate and a tolerated cost fire when a
one-sample e-process against the policy's own limit crosses its line, however often it is looked at; a
repeated failure fires by counting. Pure `math` (STATISTICS.md, section 2(f)): the agent side imports this.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from lastgood.outcome import Outcome

_POINTS = 24
#: log rate ratios that the alternative puts its mass on, geometric from .05 to 5
_THETAS = tuple(0.05 * math.exp(math.log(100.0) * j / (_POINTS - 1)) for j in range(_POINTS))
_BUMPS = tuple(math.exp(-0.5 * (math.log(theta / 0.8) / 0.9) ** 2) for theta in _THETAS)
_PRIOR = tuple(bump / sum(_BUMPS) for bump in _BUMPS)
#: stakes of the spend test
SPEND_STAKES = (0.02, 0.05, 0.1, 0.2, 0.4)
#: free metric that says whether a run made a call that the tool manifest refuses
TOOL_MALFORMED = "tool_malformed"
#: a run that was silent for too long
LOST = "lost"
#: bad outcomes whose rate a trigger can be set on
RATES = ("completion", "validation", "escalation", "incidents", LOST, "corrections", TOOL_MALFORMED)


def is_lost(assigned_us: int, received_us: int | None, lost_after_us: int) -> bool:
    """Whether a run whose time to report is over is lost: silent, or heard of too late, whatever it said.

    All in microseconds UTC but the last, how long a run may be silent.
    """
    return received_us is None or received_us > assigned_us + lost_after_us


def bad_outcomes(outcome: Outcome) -> dict[str, bool]:
    """What an ended run did badly, by the name that a rate trigger has (all of `RATES` but `LOST`).

    A client that went away is no failure. `corrections`: an operator edited what the run made.
    """
    disconnected = outcome.status == "disconnected"
    return {
        "completion": outcome.completed is not True and not disconnected,
        "validation": outcome.validated is not True and not disconnected,
        "escalation": outcome.escalated is True,
        "incidents": bool(outcome.incidents),
        "corrections": bool(outcome.operator_edits),
        TOOL_MALFORMED: bool(outcome.metrics.get(TOOL_MALFORMED)),
    }


@dataclass(frozen=True, slots=True)
class RateTrigger:
    """Revert when the candidate's rate of one bad outcome is proven above a limit."""

    #: the bad outcome that is counted, one of `RATES`
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
        return _log_sum(terms)

    def fires(self, n: int, bad: int) -> bool:
        """Return whether `bad` of `n` runs prove the rate above the limit."""
        return self.log_e(n, bad) >= -math.log(self.alpha)


def _log_sum(terms: Sequence[float]) -> float:
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


@dataclass(frozen=True, slots=True)
class SpendTrigger:
    """Revert when the candidate's mean cost of a run is proven above a limit: the cost spike."""

    #: US dollars that a run may cost in the mean, > 0
    limit_usd: float
    #: chance that a candidate exactly at the limit ever fires, 0..1 exclusive
    alpha: float = 0.001

    def log_factors(self, cost_usd: float) -> tuple[float, ...]:
        """Ln of 1 + lam (x/mu0 - 1) for each stake lam, (5,): what one run of cost x >= 0 multiplies by.

        Exact for any x >= 0 whose mean is at most mu0, with no other assumption.
        """
        ratio = cost_usd / self.limit_usd - 1.0
        return tuple(math.log1p(stake * ratio) for stake in SPEND_STAKES)

    @staticmethod
    def log_e(wealth: Sequence[float]) -> float:
        """Natural-log e-value of the summed ln factors, (5,): the mean over the stakes."""
        return _log_sum(wealth) - math.log(len(wealth))

    def fires(self, wealth: Sequence[float]) -> bool:
        """Return whether the runs behind `wealth` prove the mean cost above the limit."""
        return self.log_e(wealth) >= -math.log(self.alpha)


@dataclass(frozen=True, slots=True)
class RepeatTrigger:
    """Revert when one error type comes again and again, and the baseline does not have it."""

    #: failures of one error type
    times: int
    #: among this many newest ended candidate runs; equal to `times`: in a row
    of: int

    def fires(self, errors: Sequence[str | None]) -> str | None:
        """Return the error type that the newest runs repeat, or None.

        `errors` are those of the newest ended runs, newest first; None for one that ended well or failed by
        an infrastructure failure. Only an error that the newest run had can fire.
        """
        newest = errors[0] if errors else None
        if newest is None:
            return None
        return newest if list(errors[: self.of]).count(newest) >= self.times else None


@dataclass(frozen=True, slots=True)
class Triggers:
    """The triggers of one release."""

    #: names of events (`run.event("data_leak")`) that revert on the first occurrence
    zero_tolerance: tuple[str, ...] = ("data_leak", "wrong_action")
    rates: tuple[RateTrigger, ...] = ()
    #: the cost spike; None: not watched
    spend: SpendTrigger | None = None
    #: the repeated failure; None: not watched
    repeats: RepeatTrigger | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; what is not watched is left out, as schema 0001 wrote it."""
        raw = asdict(self)
        return {name: value for name, value in raw.items() if value is not None}

    @classmethod
    def of_plain(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `plain` wrote; raises KeyError or TypeError where it can't."""
        spend, repeats = raw.get("spend"), raw.get("repeats")
        return cls(
            tuple(raw["zero_tolerance"]),
            tuple(RateTrigger(**rate) for rate in raw["rates"]),
            None if spend is None else SpendTrigger(**spend),
            None if repeats is None else RepeatTrigger(**repeats),
        )
