"""Runs in the gbstats environment: sums on standard input, candidate runs at each revert on standard output.

The sequential test of GrowthBook's statistics engine (asymptotic confidence sequences), its defaults; or, where
it is asked for as `fixed`, its ordinary t test, looked at as often. `alpha` is that of one metric.
"""

import json
import sys
import warnings

from gbstats.frequentist.tests import (
    FrequentistConfig,
    SequentialConfig,
    SequentialTwoSidedTTest,
    TwoSidedTTest,
)
from gbstats.models.statistics import ProportionStatistic, RatioStatistic, SampleMeanStatistic

warnings.simplefilter("ignore")
TESTS = {
    "sequential": (SequentialTwoSidedTTest, SequentialConfig),
    "fixed": (TwoSidedTTest, FrequentistConfig),
}


def statistic(arm, metric, *, amount):
    n, x = int(arm["n"]), arm[metric]
    if not amount:
        return ProportionStatistic(n=n, sum=int(x))
    main = SampleMeanStatistic(n=n, sum=x, sum_squares=arm[f"{metric}^2"])
    done = SampleMeanStatistic(n=n, sum=arm["done"], sum_squares=arm["done"])
    return RatioStatistic(n=n, m_statistic=main, d_statistic=done, m_d_sum_of_products=arm[f"{metric}*done"])


def worse(look, metric, *, amount):
    base, ours = (
        look[arm][metric] / max(look[arm]["done" if amount else "n"], 1) for arm in ("baseline", "candidate")
    )
    return ours - base


def harmful(look, metrics, test, alpha):
    kind, settings = TESTS[test]
    config = settings(alpha=alpha, difference_type="absolute")
    for metric, amount in metrics.items():
        if worse(look, metric, amount=amount) <= 0.0:
            continue  # what is not harmful is never significant harm
        arms = [statistic(look[arm], metric, amount=amount) for arm in ("baseline", "candidate")]
        result = kind(*arms, config).compute_result()
        if result.expected > 0 and result.p_value < config.alpha:
            return metric
    return None


def main():
    asked = json.load(sys.stdin)
    test, alpha = asked.get("test", "sequential"), asked.get("alpha", 0.05 / len(asked["metrics"]))
    found = []
    for looks in asked["releases"]:
        hit = None
        for look in looks:
            culprit = harmful(look, asked["metrics"], test, alpha)
            if culprit:
                hit = [int(look["candidate"]["n"]), culprit]
                break
        found.append(hit)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
