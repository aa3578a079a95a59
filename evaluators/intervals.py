"""Intervals: what is shown of a guardrail while it is watched.

A confidence sequence covers the true log odds ratio at every look together with chance 1 - alpha.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from evaluators.mixture import FINE, FINE_PRIOR, FloatArray, IntArray, log_mean_exp


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its confidence sequence, in one unit."""

    #: the most likely value
    estimate: float
    #: lower end
    low: float
    #: upper end
    high: float


def log_odds_sequence(grid: FloatArray, log_likelihood: FloatArray, alpha: float) -> Interval:
    """The log odds ratios not ruled out at `alpha`: {th : ln mean_prior exp(L) - L(th) < ln(1/alpha)}.

    `log_likelihood` (points,) is the blocks' sum at `grid` (points,), which spans -6..6; between points it
    is interpolated by a cubic spline (it is smooth and concave). The prior is N(0, 1) on 2,401 points.
    Ends are -6 and 6 where nothing is ruled out. Source: STATISTICS.md, section 2(a').
    """
    spline, repeats, x = _spline(grid.tobytes())
    pieces = spline @ log_likelihood
    a, b, c, d = np.repeat(pieces, repeats, axis=1)
    fine = ((a * x + b) * x + c) * x + d
    line = float(log_mean_exp(FINE_PRIOR, fine)) - float(np.log(1.0 / alpha))
    peak = int(np.argmax(fine))
    if fine[peak] == fine.min():
        peak = len(FINE) // 2
    inside = np.flatnonzero(fine > line)
    first, last = int(inside[0]), int(inside[-1])

    knots = grid.tolist()

    def gap(theta: float) -> float:
        place = min(max(bisect_right(knots, theta) - 1, 0), len(knots) - 2)
        a, b, c, d = pieces[:, place].tolist()
        x = theta - knots[place]
        return float(((a * x + b) * x + c) * x + d) - line

    low = float(FINE[0]) if first == 0 else brentq(gap, FINE[first - 1], FINE[first], xtol=1e-13)
    high = float(FINE[-1]) if last == len(FINE) - 1 else brentq(gap, FINE[last], FINE[last + 1], xtol=1e-13)
    return Interval(float(FINE[peak]), float(low), float(high))


@lru_cache(maxsize=4)
def _spline(grid: bytes) -> tuple[FloatArray, IntArray, FloatArray]:
    """What makes a cubic spline's coefficients of its values at a grid of doubles, (4, points - 1, points).

    And how many of FINE lie in each of its pieces, (points - 1,), and how far from its start, (2401,). A
    spline is linear in its values, and every look has the same grid: a tenth of the time of a new one.
    """
    points = np.frombuffer(grid, dtype=np.float64)
    place = np.clip(np.searchsorted(points, FINE, side="right") - 1, 0, len(points) - 2)
    repeats = np.bincount(place, minlength=len(points) - 1)
    return np.ascontiguousarray(CubicSpline(points, np.eye(len(points))).c), repeats, FINE - points[place]


def risk_difference(odds: Interval, n_b: int, y_b: int) -> Interval:
    """Log odds ratios as differences of the bad rate, in points, at the baseline's pooled rate.

    Half a bad run in one run is added to the baseline, so that a rate of 0 or 1 still shows a width.
    """
    rate = (y_b + 0.5) / (n_b + 1.0)
    logit = float(np.log(rate) - np.log1p(-rate))

    def points(theta: float) -> float:
        return 100.0 * (float(1.0 / (1.0 + np.exp(-(logit + theta)))) - rate)

    return Interval(points(odds.estimate), points(odds.low), points(odds.high))
