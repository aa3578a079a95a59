"""The judge that imitates Kayenta's: it agrees with Kayenta's own cases, and with the interval's definition."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

FOLDER = Path(__file__).parent
with (FOLDER / "data" / "kayenta_classifier_cases.csv").open(encoding="utf-8", newline="") as file:
    CASES = list(csv.DictReader(file))
#: not applicable: another classifier
OTHER = [case for case in CASES if case["classifier"] == "MeanInequalityClassifier"]
#: not applicable: recorded without the classifier's parameters (effect size by CLES, two critical thresholds)
#: or without a label (it asks for the text of a reason)
BARE = [case for case in CASES if not case["params"] and case not in OTHER]
BARE += [case for case in CASES if not case["expected"] and case not in BARE]
OURS = [case for case in CASES if case not in OTHER and case not in BARE]


@pytest.fixture(scope="module")
def kayenta():
    import rule_kayenta

    return rule_kayenta


def numbers(case, name):
    """A parameter's value or values."""
    found = re.search(rf"{name} = \(?([\d.]+(?:, [\d.]+)?)", case["params"].replace("=(", "= ("))
    return tuple(float(each) for each in found[1].split(", ")) if found else ()


def asked(case, kayenta):
    """The classifier as the case makes it."""
    return kayenta.Classifier(
        tolerance=numbers(case, "tolerance")[0],
        confidence=numbers(case, "confLevel")[0],
        allowed=numbers(case, "effectSizeThresholds") or (1.0, 1.0),
        direction=re.search(r"MetricDirection\.(\w+)", case["call"])[1],
        missing="Replace" if "NaNStrategy.Replace" in case["call"] else "Remove",
    )


def test_the_cases_are_all_accounted_for():
    assert (len(CASES), len(OURS), len(OTHER), len(BARE)) == (37, 28, 3, 6)


@pytest.mark.parametrize("case", OURS, ids=lambda case: case["test"])
def test_a_case_of_kayenta_is_classified_as_there(case, kayenta):
    experiment, control = (np.array(case[arm].split(), dtype=float) for arm in ("experiment", "control"))
    assert (len(experiment), len(control)) == (int(case["n_exp"]), int(case["n_ctl"]))
    assert asked(case, kayenta).classify(experiment, control) == case["expected"]


@pytest.mark.parametrize("digits", [2, 9], ids=["with ties", "without"])
def test_the_interval_is_where_the_rank_statistic_crosses_its_quantile(kayenta, digits):
    rng = np.random.default_rng(3)
    x, y = rng.gamma(2.0, size=40).round(digits) + 0.3, rng.gamma(2.0, size=55).round(digits)

    def statistic(mu, quantile):
        ranks = rankdata(np.concatenate([x - mu, y]))
        n, m = len(x), len(y)
        above = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
        ties = np.unique(ranks, return_counts=True)[1].astype(float)
        sigma = np.sqrt(n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1))))
        return (above - np.sign(above) * 0.5) / sigma - quantile

    ends = [brentq(statistic, -9, 9, args=(norm.ppf(q),), xtol=1e-9) for q in (0.99, 0.01)]
    low, high, estimate = kayenta.shift(x, y, 0.98)
    assert (low, high) == pytest.approx(ends, abs=1e-4), "as near as the search is"
    assert low < estimate < high


def test_outliers_go_and_missing_points_too(kayenta):
    points = np.append(np.random.default_rng(1).normal(10.0, 1.0, 300), [np.nan, 60.0])
    assert len(kayenta.cleaned(points)) == 300
    assert not len(kayenta.cleaned(np.array([np.nan])))


def series(kayenta, **shifted):
    """Two metrics in both arms, 150 points each."""
    rng = np.random.default_rng(7)
    arms = [{name: rng.normal(10.0, 1.0, 150) for name in ("a", "b", "c", "d", "e")} for _ in range(2)]
    return {name: points + shifted.get(name, 0.0) for name, points in arms[0].items()}, arms[1]


def test_one_bad_metric_of_five_is_marginal_until_the_last_judgement(kayenta):
    judge, bad = kayenta.Judge(), series(kayenta, a=3.0)
    assert judge.failed(*series(kayenta)) is None
    assert judge.failed(*bad) == 150, "80 is marginal twice, and no pass at the end"
    assert judge.failed(*series(kayenta, a=3.0, b=3.0)) == 50, "60 is below marginal"
    assert judge.every_metric_critical().failed(*bad) == 50


def test_nothing_to_judge_by_is_no_pass(kayenta):
    experiment, control = series(kayenta)
    assert kayenta.Judge().score(dict.fromkeys(experiment, np.full(50, np.nan)), control) == 0.0
