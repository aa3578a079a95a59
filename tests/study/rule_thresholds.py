"""The decision rules of Argo Rollouts and Flagger, written anew: imitations, not their code.

Both look at the canary alone, once an interval, and count what is out of bounds.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Argo:
    """A background analysis: measurements until more than `failure_limit` failed, or the rollout is over.

    Rules: argoproj/argo-rollouts, analysis/analysis.go (`failed > failureLimit`), Apache-2.0. Numbers: the
    example of https://argoproj.github.io/argo-rollouts/features/analysis/ (success rate of at least .95,
    failureLimit 3; four steps of ten minutes, measured every five).
    """

    failure_limit: int = 3
    #: measurements until the rollout is over; None: as many as there are
    count: int | None = 8

    def failed(self, measurements: Iterable[bool]) -> int | None:
        """Measurements until the analysis failed, each of them whether it was out of bounds."""
        bad = 0
        for number, out in enumerate(measurements, 1):
            if self.count is not None and number > self.count:
                return None
            bad += out
            if bad > self.failure_limit:
                return number
        return None


@dataclass(frozen=True)
class Flagger:
    """Checks that raise the weight when they pass; so many that don't roll back, counted over all of it.

    Rules: fluxcd/flagger, pkg/controller/scheduler.go (`FailedChecks >= threshold`; a failed check halts,
    the count is kept), Apache-2.0. Numbers: https://docs.flagger.app/usage/how-it-works (threshold 10,
    stepWeight 5 to maxWeight 50: ten checks that pass promote; request-success-rate of at least 99).
    """

    threshold: int = 10
    #: checks that have to pass until the canary is promoted
    steps: int = 10

    def failed(self, checks: Iterable[bool]) -> int | None:
        """Checks until the rollback, each of them whether it was out of bounds; None: promoted, or no end."""
        bad = good = 0
        for number, out in enumerate(checks, 1):
            bad, good = bad + out, good + (not out)
            if bad >= self.threshold:
                return number
            if good >= self.steps:
                return None
        return None
