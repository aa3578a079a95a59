"""Suites that are spread: every part brings its report, or the whole proves nothing."""

import pytest

from lastgood import suite_parts
from lastgood.errors import InvalidInput, InvalidMove
from tasks.regression import Result, SuiteReport

pytestmark = pytest.mark.prefect


@pytest.fixture
def suites(monkeypatch):
    from tasks import suites

    monkeypatch.setattr(suites, "_LOOK_S", 0.01)
    return suites


def report(*names):
    return SuiteReport("support", "b", tuple(Result(name, passed=True) for name in names))


def test_the_parts_are_read_where_they_were_left(shop, suites):
    suite_parts.put(shop.store, "sui_1", 2, report("b").to_json())
    ended = iter([set(), {2}, {1, 2}])

    def look():
        found = next(ended)
        if 1 in found:
            suite_parts.put(shop.store, "sui_1", 1, report("a", "c").to_json())
        return {2} & found

    found = suites.gather(shop.store, "sui_1", 2, look, limit_s=5)
    assert [one.name for one in found.results] == ["a", "b", "c"]
    assert suite_parts.read(shop.store, "sui_1") == {}


def test_a_part_that_ends_without_a_report_is_no_pass(shop, suites):
    suite_parts.put(shop.store, "sui_1", 1, report("a").to_json())
    with pytest.raises(InvalidMove, match=r"part 2 of 2 .* ended without a report"):
        suites.gather(shop.store, "sui_1", 2, lambda: {1, 2}, limit_s=5)


def test_parts_that_nobody_takes_are_waited_for_so_long(shop, suites):
    with pytest.raises(InvalidMove, match="is a worker at hand"):
        suites.gather(shop.store, "sui_1", 2, set, limit_s=0.05)


@pytest.mark.parametrize("part", ["sui_1", "sui_1 3/2", "sui_1 0/2", "x 1/9999"])
def test_a_part_that_can_not_be_is_refused(shop, suites, part):
    with pytest.raises(InvalidInput, match="is no part of a suite"):
        suites.run_part("support", shop.good, "production", "", part)


def test_numbers_that_people_type_are_checked(shop, suites):
    with pytest.raises(InvalidInput, match="1 to 64"):
        suites.run_suite("support", shop.good, "production", "", "many")
    with pytest.raises(InvalidInput, match="no number of US dollars"):
        suites._number("much")
