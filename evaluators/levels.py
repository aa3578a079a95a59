"""Levels: is a rate, or a mean amount, above or under a level that was fixed before?

One-sample e-processes. A level may differ by stratum, so that another mix of runs is no evidence. All
functions are pure; logs are natural.
"""

from dataclasses import dataclass

import numpy as np

from evaluators.mixture import FISHER_PRIOR, THETAS, FloatArray, IntArray, log_mean_exp, log_sum_exp
from evaluators.monitors import spend_log_e
from evaluators.proportions import PARTS
from evaluators.references import logit, upper_rate

#: runs of a stratum from which it has a level of its own
ENOUGH = 30
#: newest runs at which a worsening may have begun; 0: all
SUFFIXES = (0, 50, 100, 200, 400)


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Some runs of one flag, in order."""

    #: place of each run's stratum, (runs,)
    stratum: IntArray
    #: 1.0 bad, 0.0 good, (runs,)
    bad: FloatArray

    @property
    def n(self) -> int:
        """Runs."""
        return len(self.bad)

    @property
    def share(self) -> float | None:
        """The bad share; None without runs."""
        return float(self.bad.mean()) if self.n else None

    def counts(self, strata: int, newest: int = 0) -> tuple[FloatArray, FloatArray]:
        """Runs and bad runs by stratum, (strata,) each; of the newest runs alone where asked."""
        last = slice(-newest, None) if newest else slice(None)
        code = self.stratum[last]
        n = np.bincount(code, minlength=strata).astype(np.float64)
        return n, np.bincount(code, weights=self.bad[last], minlength=strata).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class RateLevel:
    """A flag's level before, by stratum."""

    #: likely bad rates and their upper 95% bounds, 0..1 exclusive, (strata,)
    rate: FloatArray
    upper: FloatArray

    @classmethod
    def of(cls, before: Outcomes, strata: int) -> "RateLevel":
        """Count it; a stratum with fewer than ENOUGH runs has the level of all. The last one is the rest."""
        n, bad = before.counts(strata)
        rate = np.full(strata, _likely(before.n, float(before.bad.sum())))
        upper = np.full(strata, _upper(before.n, int(before.bad.sum())))
        for place in np.flatnonzero(n[:-1] >= ENOUGH).tolist():
            rate[place] = _likely(n[place], bad[place])
            upper[place] = _upper(int(n[place]), int(bad[place]))
        return cls(rate, upper)

    def worse(self, odds: float) -> FloatArray:
        """The upper bounds at so many times their odds."""
        return lifted(self.upper, float(np.log(odds)))


def _likely(n: float, bad: float) -> float:
    return (bad + 0.5) / (n + 1.0)


def _upper(n: int, bad: int) -> float:
    return min(upper_rate(n, bad), 1.0 - 1e-9)


def lifted(rate: FloatArray, theta: float) -> FloatArray:
    """Rates at a log odds ratio `theta` to these."""
    return np.asarray(1.0 / (1.0 + np.exp(-(np.log(rate) - np.log1p(-rate) + theta))))


def rate_over(n: FloatArray, bad: FloatArray, rate: FloatArray) -> float:
    """Ln e-value against "every run is bad with chance <= its stratum's rate"; (strata,) each.

    E[e^(th X)] <= 1 - r + r e^th for chances up to r, so y th - n ln(1 - r + r e^th) is a supermartingale's
    log; mixed over THETAS; half of it over all strata, half the mean over those with runs.
    """
    terms = bad[:, None] * THETAS - n[:, None] * np.log1p(rate[:, None] * np.expm1(THETAS))
    common = float(log_mean_exp(FISHER_PRIOR, terms.sum(axis=0)))
    if len(n) < 3:  # one stratum and the rest
        return common
    each = log_mean_exp(FISHER_PRIOR, terms)  # a stratum without runs gives 0, and its weight beforehand
    return float(np.logaddexp(common, log_sum_exp(each) - np.log(len(each))) - np.log(2.0))


def rate_over_lately(runs: Outcomes, rate: FloatArray) -> float:
    """The same for a worsening that may have begun with any of the newest SUFFIXES runs: their mean."""
    found = [rate_over(*runs.counts(len(rate), newest), rate) for newest in SUFFIXES if newest < runs.n]
    return float(log_sum_exp(found) - np.log(len(SUFFIXES))) if found else 0.0


def rate_under(n: FloatArray, bad: FloatArray, rate: FloatArray) -> float:
    """Ln e-value against "every run is bad with chance >= its stratum's rate"; (strata,) each.

    As `proportions.under_rate_log_e`, with a rate a stratum.
    """
    r = rate[:, None]
    terms = bad[:, None] * np.log(PARTS) + (n - bad)[:, None] * (np.log1p(-PARTS * r) - np.log1p(-r))
    return float(log_sum_exp(terms.sum(axis=0)) - np.log(len(PARTS)))


def between(reference: float, rate: float, part: float) -> float:
    """The rate that is `part` of the way, in log odds, from `rate` down to `reference`."""
    theta = (1.0 - part) * logit(rate) + part * logit(reference)
    return float(1.0 / (1.0 + np.exp(-theta)))


def amount_over(amounts: FloatArray, mean: float) -> float:
    """Ln e-value against "the mean amount is at most `mean`"; exact for any amounts >= 0."""
    return float(spend_log_e(amounts, mean)[-1]) if len(amounts) else 0.0


def amount_under(amounts: FloatArray, mean: float, cap: float) -> float:
    """Ln e-value against "the mean of min(amount, cap) is at least `mean`", 0 < mean < cap.

    Products of 1 - lam (x/mean - 1), lam = PARTS of the largest that stays positive, mixed. Source: betting
    (Waudby-Smith and Ramdas).
    """
    if not len(amounts):
        return 0.0
    stakes = PARTS / (cap / mean - 1.0)
    logs = np.log1p(-stakes * (np.minimum(amounts, cap)[:, None] / mean - 1.0)).sum(axis=0)
    return float(log_sum_exp(logs) - np.log(len(PARTS)))


__all__ = [
    "Outcomes", "RateLevel", "amount_over", "amount_under", "between", "lifted",
    "rate_over", "rate_over_lately", "rate_under",
]  # fmt: skip
