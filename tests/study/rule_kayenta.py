"""Kayenta's judge, written anew from its rules: an imitation, not its code.

Rules and numbers: spinnaker/kayenta, kayenta-judge (NetflixACAJudge, MannWhitneyClassifier, IQRDetector,
WeightedSumScorer) and kayenta-mannwhitney, Apache-2.0. The interval is that of R's `wilcox.test`: normal
approximation, continuity correction, ends by a root search that stops within 1e-4. Where most points are equal
(no failures in most of them) the verdict hangs on where that search stops, so it is made as there.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

#: factor of the interquartile range beyond which a point is an outlier
OUTLIER = 3.0


@dataclass(frozen=True)
class Classifier:
    """How one metric is judged; the defaults are the judge's own."""

    #: fraction of the estimated shift that the interval has to stay clear of
    tolerance: float = 0.25
    #: of the interval of the shift, two-sided
    confidence: float = 0.98
    #: ratio of the means at which a Low and a High count
    allowed: tuple[float, float] = (1.0, 1.0)
    #: `Increase`, `Decrease` or `Either`: what is bad
    direction: str = "Either"
    #: `Remove` or `Replace` (by zero): what missing points are
    missing: str = "Remove"

    def classify(self, experiment: np.ndarray, control: np.ndarray) -> str:
        """`Pass`, `High`, `Low` or `Nodata`."""
        if not (len(experiment) and len(control)):
            return "Nodata" if self.missing == "Remove" else "Pass"
        if len(experiment) == len(control) and np.array_equal(np.sort(experiment), np.sort(control)):
            return "Pass"
        if len(np.unique(np.concatenate([experiment, control]))) == 1:
            return "Pass"
        low, high, estimate = shift(experiment, control, self.confidence)
        bound, ratio = self.tolerance * abs(estimate), _ratio(experiment, control)
        if self.direction != "Decrease" and low > bound and ratio >= self.allowed[1]:
            return "High"
        if self.direction != "Increase" and high < -bound and ratio <= self.allowed[0]:
            return "Low"
        return "Pass"


def shift(x: np.ndarray, y: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Interval and estimate of how far x lies above y (Hodges and Lehmann)."""
    if np.ptp(x) == 0.0 and np.ptp(y) == 0.0:  # Kayenta adds noise that is far below the difference
        return (float(x[0] - y[0]),) * 3
    statistic = Statistic.of(x, y)
    least, most = float(x.min() - y.max()), float(x.max() - y.min())
    quantile = float(norm.ppf(0.5 + confidence / 2))

    def end(at: float) -> float:
        f_least, f_most = statistic(least) - at, statistic(most) - at
        if f_least <= 0.0 or f_most >= 0.0:
            return least if f_least <= 0.0 else most
        return zero(lambda mu: statistic(mu) - at, least, most)

    return end(quantile), end(-quantile), zero(statistic, least, most)


@dataclass(frozen=True)
class Statistic:
    """The standardised rank sum of `x - mu` beside y, corrected for ties and continuity."""

    x: np.ndarray
    #: sorted
    y: np.ndarray
    #: sum of t^3 - t over the ties within x and within y
    tied: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> "Statistic":
        return cls(x, np.sort(y), _ties(x) + _ties(y))

    def __call__(self, mu: float) -> float:
        moved = self.x - mu
        left, right = np.searchsorted(self.y, moved, "left"), np.searchsorted(self.y, moved, "right")
        across = bool((left != right).any())
        tied = _ties(np.concatenate([moved, self.y])) if across else self.tied
        n, m = len(self.x), len(self.y)
        sigma = math.sqrt(n * m / 12 * (n + m + 1 - tied / ((n + m) * (n + m - 1))))
        above = float((left + right).sum()) / 2 - n * m / 2
        return (above - 0.5 * float(np.sign(above))) / sigma


def _ties(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(float)
    return float((counts**3 - counts).sum())


def zero(f: Callable[[float], float], a: float, b: float, tol: float = 1e-4) -> float:
    """Where f changes its sign (Brent 1973, chapter 4): inverse interpolation, or halves where it is slow."""
    fa, fb = f(a), f(b)
    if fa == 0.0 or fb == 0.0:
        return a if fa == 0.0 else b
    c, fc = a, fa
    for _ in range(1000):
        step = b - a
        if abs(fc) < abs(fb):
            a, b, c, fa, fb, fc = b, c, b, fb, fc, fb
        least = 2 * sys.float_info.epsilon * abs(b) + tol / 2
        half = (c - b) / 2
        if abs(half) <= least or fb == 0.0:
            return b
        move = _interpolated(a, b, c, fa, fb, fc, least, step) or half
        move = math.copysign(max(abs(move), least), move)
        a, fa = b, fb
        b, fb = b + move, f(b + move)
        if fb * fc > 0.0:
            c, fc = a, fa
    return b


def _interpolated(a, b, c, fa, fb, fc, least, step) -> float | None:
    """A move by two or three points; None where halving is safer."""
    if abs(step) < least or abs(fa) <= abs(fb):
        return None
    ratio = fb / fa
    if a == c:
        p, q = (c - b) * ratio, 1.0 - ratio
    else:
        r, t = fa / fc, fb / fc
        p = ratio * ((c - b) * r * (r - t) - (b - a) * (t - 1.0))
        q = (r - 1.0) * (t - 1.0) * (ratio - 1.0)
    p, q = abs(p), -q if p > 0.0 else q
    inside = p < 0.75 * (c - b) * q - abs(least * q) / 2 and p < abs(step * q / 2)
    return p / q if inside else None


def _ratio(experiment: np.ndarray, control: np.ndarray) -> float:
    mean = float(control.mean())
    return float(experiment.mean()) / mean if mean else math.inf


def cleaned(points: np.ndarray) -> np.ndarray:
    """Points without missing ones and outliers."""
    found = points[~np.isnan(points)]
    if not len(found):
        return found
    p1, q1, q3, p99 = np.percentile(found, [1, 25, 75, 99], method="weibull")
    reach = OUTLIER * (q3 - q1)
    return found[(found >= min(p1, q1 - reach)) & (found <= max(p99, q3 + reach))]


@dataclass(frozen=True)
class Judge:
    """When a canary analysis fails.

    Source: Spinnaker's best practices for canary analysis, "some configuration values to start with":
    https://spinnaker.io/docs/guides/user/canary/best-practices/
    """

    #: points of a judgement; their text asks for 50 at least
    points: int = 50
    #: judgements, each on all points so far
    judgements: int = 3
    #: scores below which a judgement fails at once, and the last one fails
    marginal: float = 75.0
    passed: float = 95.0
    #: whether one bad metric fails the analysis at once
    critical: bool = False
    classifier: Classifier = Classifier(direction="Increase")

    def failed(self, experiment: dict[str, np.ndarray], control: dict[str, np.ndarray]) -> int | None:
        """Points until the analysis failed; each metric is a group of its own, all of one weight."""
        for number in range(1, self.judgements + 1):
            upto = number * self.points
            score = self.score({k: v[:upto] for k, v in experiment.items()}, control)
            if score < (self.passed if number == self.judgements else self.marginal):
                return upto
        return None

    def score(self, experiment: dict[str, np.ndarray], control: dict[str, np.ndarray]) -> float:
        """0 to 100: the share of metrics that pass, of those that have data."""
        found = [
            self.classifier.classify(cleaned(points), cleaned(control[name][: len(points)]))
            for name, points in experiment.items()
        ]
        counted = [label for label in found if label != "Nodata"]
        if 2 * len(counted) <= len(found) or (self.critical and "High" in counted):
            return 0.0
        return 100.0 * counted.count("Pass") / len(counted)

    def every_metric_critical(self) -> "Judge":
        """The same with `critical: true` on each metric."""
        return replace(self, critical=True)
