"""Monitors: an always-on watch of the bundle that serves, when no release is under way.

One-sample and endless, so no alpha covers them: the e-CUSUM is read by its average run length instead.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from evaluators.mixture import FloatArray
from lastgood.triggers import SPEND_STAKES

#: the level of M at which the watch alarms: healthy bundles are looked at 1,000 times at least on average
ALARM = 1_000.0


@dataclass(frozen=True, slots=True)
class Drift:
    """The e-CUSUM of one bad outcome: M = L max(M, 1), alarm at ALARM.

    Source: Shin, Ramdas and Rinaldo, "E-detectors", the CUSUM-type; average run length >= ALARM runs.
    """

    #: the largest bad rate that counts as healthy (a little above the usual), and a drifted one, 0..1
    healthy: float
    drifted: float
    #: ln M so far; 0 before the first run
    log_m: float = 0.0

    def add(self, *, bad: bool) -> "Drift":
        """The watch after one more run."""
        return replace(self, log_m=max(self.log_m, 0.0) + self._log_ratio(bad=bad))

    @property
    def alarms(self) -> bool:
        """Whether M has reached ALARM now."""
        return self.log_m >= float(np.log(ALARM))

    def _log_ratio(self, *, bad: bool) -> float:
        top, low = (self.drifted, self.healthy) if bad else (1.0 - self.drifted, 1.0 - self.healthy)
        return float(np.log(top) - np.log(low))


def shiryaev_roberts(likelihood_ratios: Iterable[float]) -> Iterator[float]:
    """The Shiryaev-Roberts statistic R = L (R + 1) after each run: a picture, never an alarm.

    Its mean grows by one a run under no drift, so a threshold of 1/alpha on it alarms on a quarter of the
    healthy bundles at alpha .05 (STATISTICS.md, section 2(f)). It is kept to be drawn beside the e-CUSUM.
    """
    found = 0.0
    for ratio in likelihood_ratios:
        found = ratio * (found + 1.0)
        yield found


def spend_log_e(amounts: FloatArray, limit: float) -> FloatArray:
    """Ln e-value against "the mean amount is at most `limit`" after each run, (runs,).

    The mean over SPEND_STAKES of the products of 1 + lam (x/mu0 - 1): exact for any x >= 0.
    """
    stakes = np.array(SPEND_STAKES)
    logs = np.cumsum(np.log1p(stakes * (np.asarray(amounts)[:, None] / limit - 1.0)), axis=0)
    top = logs.max(axis=1)
    return np.asarray(top + np.log(np.exp(logs - top[:, None]).mean(axis=1)), dtype=np.float64)


__all__ = ["ALARM", "SPEND_STAKES", "Drift", "shiryaev_roberts", "spend_log_e"]
