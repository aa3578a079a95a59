import numpy as np
import pandas as pd
import pytest

from evaluators import scoring
from lastgood.errors import InvalidEvidence

NONE = np.zeros(3, dtype=bool)


def bad_runs(column, values, bad, lost=NONE, infra=NONE):
    counted, wrong = scoring.counted_and_bad(pd.DataFrame({column: values}), column, lost, infra, bad=bad)
    return counted.tolist(), wrong.tolist()


def test_a_missing_outcome_is_bad_in_either_direction():
    assert bad_runs("completed", [True, None, False], bad=False)[1] == [False, True, True]
    assert bad_runs("escalated", [0, np.nan, 1], bad=True)[1] == [False, True, True]


def test_a_count_above_zero_is_true():
    assert bad_runs("incidents", [0, 2, 1], bad=True)[1] == [False, True, True]


def test_a_lost_run_is_bad_whatever_it_reported():
    lost = np.array([True, False, False])
    assert bad_runs("completed", [True, True, False], bad=False, lost=lost)[1] == [True, False, True]


def test_an_infrastructure_failure_is_left_out_but_counts_as_infra():
    infra = np.array([True, False, False])
    counted, wrong = bad_runs("completed", [False, False, True], bad=False, infra=infra)
    assert (counted, wrong) == ([False, True, True], [False, True, False])
    assert bad_runs("infra_failure", [1, 0, None], bad=True, infra=infra) == (
        [True] * 3,
        [True, False, False],
    )


def test_a_run_without_a_word_on_lost_is_lost_and_without_one_on_infra_stays_in():
    runs = pd.DataFrame({"lost": [False, None, True], "infra_failure": [None, True, False]}, dtype=object)
    lost, infra = scoring.read_modifiers(runs)
    assert (lost.tolist(), infra.tolist()) == ([False, True, True], [False, True, False])


@pytest.mark.parametrize("value", [-1, 0.5, float("inf"), "maybe"])
def test_an_outcome_that_is_no_flag_is_refused_by_column(value):
    with pytest.raises(InvalidEvidence, match="column completed"):
        bad_runs("completed", [1, value, 0], bad=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": ["candidate", "canary"]}, "row 1.*column arm"),
        ({"arm": ["candidate", None]}, "row 1.*column arm"),
        ({"share": [0.1, 1.0]}, "row 1.*column share"),
        ({"share": [np.nan, 0.1]}, "row 0.*column share"),
        ({"share": ["a", 0.1]}, "row 0.*column share"),
        ({"share": [0.1, 0.00001]}, "row 1.*column share"),
    ],
)
def test_an_arm_or_share_that_cant_be_is_refused_by_run_and_column(change, message):
    runs = pd.DataFrame({"arm": ["candidate", "baseline"], "share": [0.1, 0.1], **change})
    with pytest.raises(InvalidEvidence, match=message):
        scoring.read_arm(runs), scoring.read_share(runs)


def test_a_unit_counts_by_its_first_run_and_no_unit_by_itself():
    runs = pd.DataFrame({"unit": ["a", None, "b", "a", None, "c"]})
    first, fresh = scoring.first_runs(runs, {"c"})
    assert first.tolist() == [True, True, True, False, True, False]
    assert fresh == ["a", "b"]
