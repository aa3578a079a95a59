"""Runs in the gbstats environment: sums on standard input, candidate runs at each revert on standard output.

The sequential test of GrowthBook's statistics engine (asymptotic confidence sequences), its defaults.
"""

import json
import sys
import warnings

from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
from gbstats.models.statistics import ProportionStatistic, RatioStatistic, SampleMeanStatistic

warnings.simplefilter("ignore")


def statistic(arm, metric, *, amount):
    n, x = int(arm["n"]), arm[metric]
    if not amount:
        return ProportionStatistic(n=n, sum=int(x))
    main = SampleMeanStatistic(n=n, sum=x, sum_squares=arm[f"{metric}^2"])
    done = SampleMeanStatistic(n=n, sum=arm["done"], sum_squares=arm["done"])
    return RatioStatistic(n=n, m_statistic=main, d_statistic=done, m_d_sum_of_products=arm[f"{metric}*done"])


def harmful(look, metrics, alpha):
    config = SequentialConfig(alpha=alpha / len(metrics), difference_type="absolute")
    for metric, amount in metrics.items():
        arms = [statistic(look[arm], metric, amount=amount) for arm in ("baseline", "candidate")]
        result = SequentialTwoSidedTTest(*arms, config).compute_result()
        if result.expected > 0 and result.p_value < config.alpha:
            return metric
    return None


def main():
    asked = json.load(sys.stdin)
    found = []
    for looks in asked["releases"]:
        hit = None
        for look in looks:
            culprit = harmful(look, asked["metrics"], 0.05)
            if culprit:
                hit = [int(look["candidate"]["n"]), culprit]
                break
        found.append(hit)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
