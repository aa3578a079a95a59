"""Runs in the spotify-confidence environment: sums on standard input, reverts on standard output.

Its group-sequential z test (alpha spending) with Bonferroni over the metrics; means a run, since its ratios
need a bootstrap of raw runs. A release is planned for 50,000 runs at 10%. Its bounds hang on the sizes alone, which
are the same for each metric: they are computed once a release and kept.
"""

import json
import sys
import warnings

import pandas as pd
from spotify_confidence import ZTest
from spotify_confidence.analysis.frequentist.confidence_computers import z_test_computer

warnings.simplefilter("ignore")
_computed, _known = z_test_computer.sequential_bounds, {}


def kept(t, alpha, sides, state=None):
    key = (tuple(t), alpha, sides)
    if state is not None:
        return _computed(t, alpha, sides, state)
    if key not in _known:
        _known[key] = _computed(t, alpha, sides)
    return _known[key]


z_test_computer.sequential_bounds = kept


def first_harm(looks, metrics, planned):
    rows = [
        {
            "arm": arm, "metric": metric, "look": place, "n": held["n"], "sum": held[metric],
            "squares": held[f"{metric}^2"], "planned": planned,
        }
        for place, look in enumerate(looks)
        for arm, held in look.items()
        for metric in metrics
    ]  # fmt: skip
    test = ZTest(
        pd.DataFrame(rows), numerator_column="sum", numerator_sum_squares_column="squares",
        denominator_column="n", categorical_group_columns=["arm", "metric"], ordinal_group_column="look",
        interval_size=0.95, correction_method="bonferroni",
    )  # fmt: skip
    found = test.difference(
        "baseline", "candidate", groupby=["metric", "look"], final_expected_sample_size_column="planned",
        verbose=True,
    )  # fmt: skip
    bad = found[(found["difference"] > 0) & found["is_significant"]].sort_values("look")
    if bad.empty:
        return None
    return [int(looks[int(bad["look"].iloc[0])]["candidate"]["n"]), str(bad["metric"].iloc[0])]


def main():
    asked = json.load(sys.stdin)
    planned = 50_000
    json.dump([first_harm(looks, asked["metrics"], planned) for looks in asked["releases"]], sys.stdout)


if __name__ == "__main__":
    main()
