"""Shares, margins and rates as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.quantities import (
    format_margin,
    format_percentage,
    format_share,
    parse_margin,
    parse_percentage,
    parse_share,
)


@pytest.mark.parametrize(
    ("value", "points"), [("5%", 500), ("12.5 %", 1250), (0.05, 500), (0.29, 2900), ("99%", 9900)]
)
def test_a_share_is_read_as_basis_points(value, points):
    assert parse_share(value) == points


@pytest.mark.parametrize("value", [5, 0, -0.05, 1.0, "0.5%", "100%"])
def test_a_share_outside_1_to_99_percent_is_refused(value):
    with pytest.raises(ValueError, match=r"should be 1% to 99%, as '5%' or 0.05"):
        parse_share(value)


@pytest.mark.parametrize(
    "value", ["5", "five", "5 points", None, True, [], float("nan"), float("inf"), 10**400]
)
def test_what_is_no_share_is_refused(value):
    with pytest.raises(ValueError, match=r"should be a share such as '5%' or 0.05"):
        parse_share(value)


def test_a_share_finer_than_a_basis_point_is_refused():
    with pytest.raises(ValueError, match=r"steps of 0.01%"):
        parse_share("5.005%")


@pytest.mark.parametrize("value", ["2 points", "+2 points", "2points", 0.02])
def test_points_are_a_difference_of_rates(value):
    assert parse_margin(value) == 0.02


def test_one_point_is_a_point():
    assert parse_margin("1 point") == 0.01


def test_a_percentage_as_margin_is_refused_with_both_meanings():
    with pytest.raises(ValueError, match=r"margin: '2 points' .* or margin_rel: 25%"):
        parse_margin("25%")


@pytest.mark.parametrize("value", ["2", "-2 points", "two points", None, False])
def test_what_is_no_margin_is_refused(value):
    with pytest.raises(ValueError, match=r"should be a margin such as '2 points' or 0.02"):
        parse_margin(value)


@pytest.mark.parametrize(("value", "part"), [("25%", 0.25), (0.25, 0.25), ("92 %", 0.92), (1, 1.0)])
def test_a_percentage_is_a_part_of_one(value, part):
    assert parse_percentage(value) == part


@given(st.integers(100, 9_900))
def test_a_written_share_reads_as_the_same(points):
    assert parse_share(format_share(points)) == points


@given(st.floats(0.0001, 0.5))
def test_a_written_margin_reads_as_the_same_float(margin):
    assert parse_margin(format_margin(margin)) == margin


@given(st.floats(0.01, 10))
def test_a_written_percentage_reads_as_the_same_float(part):
    assert parse_percentage(format_percentage(part)) == part
