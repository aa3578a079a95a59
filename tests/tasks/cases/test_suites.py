"""Suites that are spread: every part brings its report, or the whole proves nothing."""

import json
from dataclasses import replace

import pytest

from lastgood import case_store, suite_parts
from lastgood.errors import InvalidInput, InvalidMove
from tasks import case_making
from tasks.regression import Options, Result, SuiteReport

pytestmark = pytest.mark.prefect


def part(number, of):
    told = {"suite": "sui_1", "number": number, "of": of, "live": [], "usd": 1.0, "workers": 1}
    return json.dumps(told | {"timeout_s": 60.0, "time_s": 60.0, "replay": ""})


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


@pytest.mark.parametrize("part", ["sui_1", "3", "{}", part(3, 2), part(0, 2), part(1, 9999), part("1", 2)])
def test_a_part_that_can_not_be_is_refused(shop, suites, part):
    with pytest.raises(InvalidInput, match="is no part of a suite"):
        suites.run_part("support", shop.good, "production", "", part)


def test_numbers_that_people_type_are_checked(shop, suites):
    with pytest.raises(InvalidInput, match="1 to 64"):
        suites.run_suite("support", shop.good, "production", "", "many")
    with pytest.raises(InvalidInput, match="no number of US dollars"):
        suites._number("much")


@pytest.fixture
def cased(shop):
    """Three proven cases of the malformed wrapper."""
    shop.bad = shop.register(wrapper="broken")
    [made] = case_making.make(shop.store, shop.wanted(shop.bad, shop.fail(shop.bad)))
    for name in ("a", "b"):
        case_store.put(shop.store, replace(made.draft, case=replace(made.case, name=name)))
    return shop


@pytest.fixture
def started(suites, monkeypatch):
    """Parts that run at once, here; what each was given."""
    given, gone = [], []

    def passing(store, agent, environment, bundle, options):  # what pytest would say, in no time
        found = suites.regression.gather(store, agent, environment, options)
        return report(*(case.name for case in found))

    def start(parameters):
        given.append(parameters)
        suites.run_part(
            parameters["agent"], parameters["bundle"], parameters["environment"], "", parameters["part"]
        )
        return len(given)

    monkeypatch.setattr(suites.regression, "run", passing)
    monkeypatch.setattr(suites, "_start", start)
    monkeypatch.setattr(suites, "_ended", lambda ids: set(range(1, len(ids) + 1)))
    monkeypatch.setattr(suites, "_cancel", gone.extend)
    return given, gone


def test_every_part_may_use_what_the_whole_may_and_its_share_of_the_dollars(cased, suites, started):
    options = Options(spread=2, live=("api.example.com",), usd=3.0, timeout_s=9.0, time_s=50.0)
    found = suites.run(cased.store, "support", "production", cased.good, options)
    assert [one.name[:7] for one in found.results] == ["a", "b", "group-0"]
    _, mine = suites.Part.read(started[0][1]["part"], "")
    assert mine == Options(live=("api.example.com",), usd=1.5, timeout_s=9.0, time_s=50.0, shard=(2, 2))


def test_no_more_parts_than_cases_are_started(cased, suites, started):
    suites.run(cased.store, "support", "production", cased.good, Options(spread=60))
    assert len(started[0]) == 3


def test_cases_that_changed_meanwhile_prove_nothing(cased, suites, started, monkeypatch):
    start = suites._start

    def changing(parameters):
        if started[0]:
            with cased.store.transaction() as txn:
                txn.run("DELETE FROM regression_case WHERE name = 'b'")
        return start(parameters)

    monkeypatch.setattr(suites, "_start", changing)
    with pytest.raises(InvalidMove, match="b was not replayed"):
        suites.run(cased.store, "support", "production", cased.good, Options(spread=2))


def test_parts_that_run_on_are_called_back_where_one_could_not_be_started(
    cased, suites, started, monkeypatch
):
    start = suites._start

    def failing(parameters):
        if len(started[0]) == 1:
            raise InvalidInput("Prefect is down")
        return start(parameters)

    monkeypatch.setattr(suites, "_start", failing)
    with pytest.raises(InvalidInput, match="Prefect is down"):
        suites.run(cased.store, "support", "production", cased.good, Options(spread=3))
    assert started[1] == [1]
    with cased.store.reading() as txn:
        assert txn.all("SELECT part FROM suite_part") == []


def test_a_server_without_the_deployment_is_told_what_serves_it(suites, monkeypatch):
    from prefect.exceptions import ObjectNotFound

    def nowhere(*_, **__):
        raise ObjectNotFound(KeyError("regression-suite"))

    monkeypatch.setattr(suites, "run_deployment", nowhere)
    with pytest.raises(InvalidMove, match=r"can't be spread: .* `lastgood up` serves it"):
        suites._start({})
