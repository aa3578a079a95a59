"""Freeze windows, on the clock of their zone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.freezing import frozen

BERLIN = "Europe/Berlin"
NIGHT = {"days": [], "from": "22:00", "to": "06:00", "zone": BERLIN}
WEEKEND = {"days": ["sat", "sun"], "from": None, "to": None, "zone": BERLIN}
HOLIDAYS = {"days": [], "from": "2026-12-24", "to": "2026-12-26", "zone": BERLIN}
DAY_US = 86_400_000_000


def us(text, zone=BERLIN):
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("window", "now", "until"),
    [
        (NIGHT, "2026-11-25 21:59", None),
        (NIGHT, "2026-11-25 22:00", "2026-11-26 06:00"),
        (NIGHT, "2026-11-26 05:59", "2026-11-26 06:00"),
        (NIGHT, "2026-11-26 06:00", None),
        ({**NIGHT, "days": ["fri"]}, "2026-11-28 05:00", "2026-11-28 06:00"),  # it began on Friday
        ({**NIGHT, "days": ["fri"]}, "2026-11-28 22:30", None),
        (WEEKEND, "2026-11-27 23:59", None),
        (WEEKEND, "2026-11-28 00:00", "2026-11-30 00:00"),
        (WEEKEND, "2026-11-29 12:00", "2026-11-30 00:00"),
        (WEEKEND, "2026-11-30 00:00", None),
        (HOLIDAYS, "2026-12-23 23:59", None),
        (HOLIDAYS, "2026-12-24 00:00", "2026-12-27 00:00"),
        (HOLIDAYS, "2026-12-26 23:59", "2026-12-27 00:00"),
        (HOLIDAYS, "2026-12-27 00:00", None),
        # the hours of these nights: one lasts 7, one 9
        (NIGHT, "2026-03-28 23:00", "2026-03-29 06:00"),
        (NIGHT, "2026-10-24 23:00", "2026-10-25 06:00"),
    ],
)
def test_a_window_is_open_from_its_beginning_to_before_its_end(window, now, until):
    found = frozen([window], us(now))
    assert (None if found is None else found[0]) == (None if until is None else us(until))


def test_windows_that_follow_each_other_are_one_freeze():
    found = frozen([NIGHT, WEEKEND], us("2026-11-27 22:30"))
    assert found == (us("2026-11-30 06:00"), "a freeze until Mon 2026-11-30 06:00 Europe/Berlin")


def test_zones_are_told_apart():
    night = {**NIGHT, "zone": "America/New_York"}
    assert frozen([night], us("2026-11-25 23:00")) is None
    assert frozen([night], us("2026-11-26 04:30")) is not None


def test_no_window_freezes_nothing():
    assert frozen([], 0) is None


def test_a_freeze_without_an_end_is_not_looked_through_for_ever():
    day, night = {**NIGHT, "from": "06:00", "to": "22:00"}, NIGHT
    until, said = frozen([day, night], us("2026-11-25 12:00"))
    assert until > us("2026-11-25 12:00")
    assert said.endswith("Europe/Berlin or longer")


@given(st.integers(0, 400 * DAY_US), st.lists(st.sampled_from([NIGHT, WEEKEND, HOLIDAYS]), max_size=3))
def test_a_freeze_ends_after_now_and_nothing_is_frozen_then(offset, windows):
    now = us("2026-01-01 00:00") + offset
    found = frozen(windows, now)
    if found is not None:
        assert now < found[0] < now + 10 * DAY_US
        assert frozen(windows, found[0]) is None
