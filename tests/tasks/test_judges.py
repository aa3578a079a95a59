"""Calls that may hang: each has its time, and those that hang still are not joined by ever more."""

import threading

import pytest

from tasks import judges


@pytest.fixture
def over(monkeypatch):
    """What hanging calls wait for."""
    monkeypatch.setattr(judges, "_hanging", [])
    over = threading.Event()
    yield over
    over.set()
    for thread in judges._hanging:
        thread.join(5)


def test_a_call_has_its_time_and_its_own_error(over):
    assert judges.within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        judges.within(5, lambda: 1 / 0)
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        judges.within(0.01, over.wait)


def test_where_too_many_hang_none_is_begun_until_one_ends(over, monkeypatch):
    monkeypatch.setattr(judges, "MOST_HANGING", 2)
    begun = []
    for _ in range(2):
        with pytest.raises(TimeoutError):
            judges.within(0.01, over.wait)
    with pytest.raises(TimeoutError, match="not begun: 2 earlier calls hang still"):
        judges.within(5, lambda: begun.append(1))
    assert begun == []
    over.set()
    for thread in judges._hanging:
        thread.join(5)
    judges.within(5, lambda: begun.append(1))
    assert begun == [1]
