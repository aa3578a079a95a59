"""Figures in the unit of their guardrail."""

import pytest

from evaluators.amounts import amount, arm, bare


@pytest.mark.parametrize(
    ("value", "unit", "signed", "said"),
    [
        (0.0812345, "USD per completed run", False, "$0.0812 per completed run"),
        (0.01, "USD per completed run", True, "+$0.01 per completed run"),
        (-0.01, "USD per completed run", True, "-$0.01 per completed run"),
        (0.000004, "USD per completed run", False, "$0.000004 per completed run"),
        (1_234_567.0, "USD per run", False, "$1,234,567 per run"),
        (2.0, "points", True, "+2 points"),
        (0.4321, "edits per completed run", False, "0.432 edits per completed run"),
        (3.5, "mark", True, "+3.5 mark"),
    ],
)
def test_an_amount_reads_as_people_write_it(value, unit, signed, said):
    assert amount(value, unit, signed=signed) == said


def test_points_in_a_table_have_one_decimal():
    assert (bare(2.0, "points", signed=True), bare(-0.04, "points")) == ("+2.0", "-0.0")


def test_an_arm_is_counted_or_measured():
    counted = {"unit": "points", "n_c": 50, "y_c": 5, "candidate_rate": 0.1}
    assert arm(counted, "candidate") == "5/50 bad (10.0%)"
    measured = {"unit": "USD per completed run", "n_b": 50, "y_b": 45, "baseline_rate": 0.08}
    assert arm(measured, "baseline") == "$0.08 per completed run over 50 runs"
