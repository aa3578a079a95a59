"""Signals from outside: points, or the reason why there are none."""

import sqlite3
import sys
import types
from datetime import UTC, datetime, timedelta

import pytest

from tasks import signals

MINUTE = 60_000_000
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
SINCE = NOON_US - 60 * MINUTE


@pytest.fixture
def team(monkeypatch):
    """A team's own module, whose function `read` a test gives."""
    module = types.ModuleType("team_signals")
    monkeypatch.setitem(sys.modules, "team_signals", module)

    def give(function, **spec):
        module.read = function
        found = signals.source("queue", {"call": "team_signals:read", **spec})
        return found.read(SINCE, NOON_US)

    return give


def test_a_function_is_asked_for_a_span_of_time(team):
    asked = []

    def read(since, until):
        asked.extend([since, until])
        return [(until - timedelta(minutes=1), 4), (since, 3.5)]

    found = team(read)
    assert asked == [NOON - timedelta(hours=1), NOON]
    assert found.points == ((SINCE, 3.5), (NOON_US - MINUTE, 4.0))
    assert (found.absent, found.lower_is_better, found.required) == ("", True, True)


@pytest.mark.parametrize("at", [NOON, NOON.replace(tzinfo=None), NOON.isoformat(), NOON.timestamp()])
def test_a_time_may_be_written_in_several_ways(team, at):
    assert team(lambda *_: [(at, 1)]).points == ((NOON_US, 1.0),)


def test_what_the_profile_says_goes_along(team):
    found = team(lambda *_: [(NOON, 1)], better="higher", required=False)
    assert (found.lower_is_better, found.required) == (False, False)


def _raises(*_):
    raise ConnectionError("no route to the queue")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_raises, "team_signals:read failed: ConnectionError: no route to the queue; mend it"),
        (lambda *_: [], "without a point: missing is not zero"),
        (lambda *_: [(NOON - timedelta(minutes=16), 1)], "newest point is 16 min old: stale is not fresh"),
        (lambda *_: [(NOON, float("nan"))], "the value nan is no finite number; leave the point out"),
        (lambda *_: [(NOON, None)], "the value None is no finite number"),
        (lambda *_: [5], "5 is no pair of a time and a number"),
        (lambda *_: [("yesterday", 1)], "Invalid isoformat string: 'yesterday'"),
        (lambda *_: None, "TypeError"),
    ],
)
def test_whatever_goes_wrong_is_an_absence_that_says_why(team, function, said):
    found = team(function)
    assert found.points == ()
    assert said in found.absent


def test_a_function_that_hangs_is_left_behind(team, monkeypatch):
    import time

    monkeypatch.setattr(signals, "_PATIENCE_S", 0.05)
    assert "no answer within 0.05 s" in team(lambda *_: time.sleep(5)).absent


def test_a_staler_signal_is_fresh_where_its_profile_says_so(team):
    assert team(lambda *_: [(NOON - timedelta(minutes=50), 1)], stale_after="1 h").absent == ""


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "outside.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE depth (at REAL, n INTEGER)")
        rows = [(NOON.timestamp() - 60 * minutes, minutes) for minutes in range(90)]
        connection.executemany("INSERT INTO depth VALUES (?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def ask(sql, database):
    return signals.source("queue", {"sql": sql, "database": database}).read(SINCE, NOON_US)


def test_a_query_is_asked_for_a_span_of_time(database):
    found = ask("SELECT at, n FROM depth WHERE at >= :since_s AND at <= :until_s", database)
    assert len(found.points) == 61
    assert found.points[-1] == (NOON_US, 0.0)


def test_a_database_may_be_named_by_a_secret(database, monkeypatch):
    monkeypatch.setenv("OUTSIDE", database)
    assert ask("SELECT at, n FROM depth", "env:OUTSIDE").absent == ""


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT at FROM depht", "its query failed: OperationalError: no such table: depht; correct its sql"),
        ("SELECT at FROM depth", "is no pair of a time and a number"),
        ("SELECT at, NULL FROM depth", "the value None is no finite number"),
        ("SELECT at, n FROM depth WHERE n > 100", "without a point"),
    ],
)
def test_a_query_that_fails_is_an_absence_that_says_why(database, sql, said):
    assert said in ask(sql, database).absent


def test_a_secret_that_is_not_there_is_named(database):
    assert "env:NOBODY_SET_THIS is not set" in ask("SELECT 1, 2", "env:NOBODY_SET_THIS").absent


def test_a_query_writes_nothing(database):
    ask("INSERT INTO depth VALUES (1, 1) RETURNING at, n", database)
    connection = sqlite3.connect(database.removeprefix("sqlite:///"))
    assert connection.execute("SELECT count(*) FROM depth").fetchone() == (90,)
    connection.close()
