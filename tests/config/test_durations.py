"""Durations: a unit on every number, one exact way to write each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.durations import between, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("90 s", 90_000_000),
        ("90s", 90_000_000),
        ("0.25 s", 250_000),
        ("10 min", 600_000_000),
        ("1.5 h", 5_400_000_000),
        ("14 d", 1_209_600_000_000),
        ("0 s", 0),
    ],
)
def test_a_number_with_a_unit_is_read_as_microseconds(text, micros):
    assert parse_duration(text) == micros


@pytest.mark.parametrize("bare", [10, 0.5, "10", " 10 "])
def test_a_bare_number_is_refused_with_what_may_be_meant(bare):
    with pytest.raises(ValueError, match=r"has no unit of time; write '(10|0\.5) s', '(10|0\.5) min'"):
        parse_duration(bare)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("10 mins", "min"), ("1 hour", "h"), ("3 days", "d"), ("9 m", "min"), ("5 Sec", "s"), ("2 mim", "min")],
)
def test_an_unknown_unit_is_refused_with_the_nearest(text, meant):
    with pytest.raises(ValueError, match=f"unknown unit of time .* did you mean '{meant}'"):
        parse_duration(text)


def test_a_unit_like_no_other_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"unknown unit of time 'parsecs'\. Units are s, min, h, d"):
        parse_duration("3 parsecs")


@pytest.mark.parametrize("value", ["soon", "", "-3 s", "1:30", None, True, ["1 s"], "1 s 2", "\u0661 s"])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="should be a duration such as '90 s'"):
        parse_duration(value)


def test_a_duration_finer_than_a_millisecond_is_refused():
    with pytest.raises(ValueError, match="finer than a millisecond"):
        parse_duration("0.0001 s")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 s"),
        (250_000, "0.25 s"),
        (90_000_000, "90 s"),
        (5_400_000_000, "90 min"),
        (86_400_000_000, "1 d"),
    ],
)
def test_a_duration_is_written_with_the_largest_exact_unit(micros, text):
    assert format_duration(micros) == text


@given(st.integers(0, 365 * 86_400_000))
def test_what_is_written_reads_as_the_same(millis):
    assert parse_duration(format_duration(millis * 1_000)) == millis * 1_000


def test_bounds_are_told_in_the_words_of_the_policy():
    check = between("30 min", "60 min").func
    assert check(parse_duration("1 h")) == 3_600_000_000
    with pytest.raises(ValueError, match="should be 30 min to 60 min, not 10 min"):
        check(parse_duration("10 min"))
