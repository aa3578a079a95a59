"""Triggers over figures from outside: they revert, hold, and are never a pass while they are not known."""

import threading
import time
from datetime import timedelta

import pytest

from config.policy import Policy
from evaluators.outside import Stand
from lastgood import releasing
from lastgood.errors import InvalidPolicy, Refused
from tasks import driving, outside, readings, report
from tests.tasks.answering import answering

MINUTE = 60_000_000
POLICY = """
name: small
lost_after: 1 min
guardrails: {completion: {margin: 20 points}}
alpha: {promote: 0.1}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 10}]
preflight: {open_incidents: allow}
triggers: {outside: {queue: {call: "team_figures:read", limit: 5, lasts: 3 min MORE}}}
"""


@pytest.fixture
def figures(world, monkeypatch):
    """What a team's own function answers: `figures.values`, one a minute up to now."""
    import sys
    import types

    module = types.ModuleType("team_figures")
    module.values = [1, 1, 1, 1, 1]

    def read(since, until):
        if isinstance(module.values, Exception):
            raise module.values
        newest = len(module.values) - 1
        return [(until - timedelta(minutes=newest - at), each) for at, each in enumerate(module.values)]

    module.read = read
    monkeypatch.setitem(sys.modules, "team_figures", module)
    return module


@pytest.fixture
def released(world, figures):
    """`released("then: hold")`: a release that serves, and its driver."""

    def begin(more=""):
        world.history()
        release_id = world.start(POLICY.replace(" MORE", f", {more}" if more else ""))
        driver = driving.begin(world.store, release_id, "me")
        for _ in range(3):
            world.step(driver)
        return driver

    return begin


def ask(world, driver):
    outside.work_quietly(world.store, driver.release_id, seconds=10)
    return driving.read(world.store, driver.release_id)[0]


def proven(world, driver):
    """Serve until the last gate would open; what is due then."""
    for _ in range(60):
        world.work(30, every=2_000_000)
        ask(world, driver)
        what = driving.due(world.store, driver)
        if "the gate is open" in what.transition.reason or not what.waits:
            return what
        driving.act(world.store, driver, what)
    pytest.fail("the gate did not open")


def test_figures_that_stay_beyond_their_limit_revert_at_once(world, figures, released):
    driver = released()
    figures.values = [1, 9, 9, 9]
    assert ask(world, driver)["ended_us"] is None  # two minutes yet
    figures.values = [9, 9, 9, 9]
    row = ask(world, driver)
    assert (row["state"], row["culprits"]) == ("reverted", '["queue"]')
    assert row["reason"] == "queue: 9 is above 5, for 3 min"
    assert driving.read(world.store, driver.release_id)[1].release_id is None


def test_the_report_says_what_is_watched_outside(world, figures, released):
    driver = released("then: hold")
    figures.values = [9, 9, 9, 9]
    ask(world, driver)
    text = report.build(world.store, driver.release_id).markdown
    assert "## Figures from outside\n\n- queue: 9 is above 5, for 3 min (beyond)" in text


def test_what_was_bad_before_anything_was_served_is_not_the_candidates_doing(world, figures):
    world.history()
    driver = driving.begin(world.store, world.start(POLICY.replace(" MORE", "")), "me")
    figures.values = [9, 9, 9, 9]
    assert ask(world, driver)["ended_us"] is None


def test_figures_that_hold_keep_a_proven_candidate_back(world, figures, released):
    driver = released("then: hold")
    figures.values = [9, 9, 9, 9]
    what = proven(world, driver)
    assert what.waits
    assert what.transition.reason == (
        "the gate is open; queue is bad: 9 is above 5, for 3 min: it goes on after that"
    )
    figures.values = [1]
    ask(world, driver)
    assert str(driving.due(world.store, driver).transition.move) == "promote"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (ConnectionError("no route"), "team_figures:read failed: ConnectionError: no route"),
        ([], "without a point: missing is not zero"),
    ],
)
def test_what_is_not_known_is_no_pass(world, figures, released, values, said):
    driver = released()
    figures.values = values
    what = proven(world, driver)
    assert what.waits
    assert what.transition.reason.startswith("the gate is open; queue can't be known: ")
    assert said in what.transition.reason


def test_what_is_not_known_is_left_aside_where_the_policy_says_so(world, figures, released):
    driver = released("when_absent: set_aside")
    figures.values = ConnectionError("no route")
    assert str(proven(world, driver).transition.move) == "promote"


def test_what_was_never_read_holds(world, figures, released):
    driver = released()
    with world.store.reading() as txn:
        [told] = outside.told(txn, releasing.read(txn, driver.release_id))
    assert (told.found.stand, told.holds) == (
        Stand.ABSENT,
        "queue can't be known: it was not read yet",
    )


def test_a_reading_that_was_not_renewed_is_none(world, figures, released):
    driver = released()
    ask(world, driver)
    world.clock.advance(60 * MINUTE)
    with world.store.reading() as txn:
        [told] = outside.told(txn, releasing.read(txn, driver.release_id))
    assert told.holds == "queue can't be known: it was read last 60 min ago"


def test_a_release_that_would_be_held_from_the_start_is_refused(world, figures):
    world.history()
    figures.values = ConnectionError("no route")
    with pytest.raises(Refused, match=r"watches queue outside, and nothing is known of it: .*no route"):
        world.start(POLICY.replace(" MORE", ""))
    world.start(POLICY.replace(" MORE", ", when_absent: set_aside"))


def test_a_reading_that_hangs_holds_nobody_up_and_reverts_by_itself(world, figures, released):
    driver, go_on = released(), threading.Event()
    figures.values = [9, 9, 9, 9]
    answer = figures.read

    def read(since, until):
        assert go_on.wait(20)
        return answer(since, until)

    figures.read = read
    began = time.monotonic()
    outside.work_quietly(world.store, driver.release_id, seconds=0.05)
    outside.work_quietly(world.store, driver.release_id, seconds=5)  # one at a time: this returns at once
    assert time.monotonic() - began < 4
    assert driving.read(world.store, driver.release_id)[0]["ended_us"] is None
    go_on.set()
    until = time.monotonic() + 20
    while driving.read(world.store, driver.release_id)[0]["ended_us"] is None:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_at_the_horizon_what_is_not_known_ends_undecided(world, figures, released):
    driver = released()
    figures.values = []
    proven(world, driver)
    world.clock.advance(29 * 24 * 60 * MINUTE)
    world.step(driver)  # lapsed
    assert str(driving.due(world.store, driver).transition.move) == "revert"


def test_in_advice_nothing_is_reverted(world, figures):
    world.history()
    release_id = world.start(POLICY.replace(" MORE", "").replace("name: small", "name: small\nmode: advise"))
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    figures.values = [9, 9, 9, 9]
    assert ask(world, driver)["ended_us"] is None


def test_a_query_may_name_the_bundles(world, tmp_path):
    """By value in SQL, as text elsewhere."""
    import sqlite3

    path = tmp_path / "outside.db"
    with sqlite3.connect(path) as held:
        held.execute("CREATE TABLE depth (bundle TEXT, at REAL, n REAL)")
        now_s = world.clock.now_us() / 1e6
        held.execute("INSERT INTO depth VALUES (?, ?, 7)", (world.candidate, now_s))
        held.execute("INSERT INTO depth VALUES (?, ?, 1)", (world.baseline, now_s))
    held.close()
    sql = "SELECT at, n FROM depth WHERE bundle = :candidate"
    line = f"{{sql: '{sql}', database: 'sqlite:///{path}', limit: 5, lasts: 0 s}}"
    text = POLICY.replace('{call: "team_figures:read", limit: 5, lasts: 3 min MORE}', line)
    release_id = world.start(text)
    row, point = driving.read(world.store, release_id)
    specs = Policy.load(text).declared_triggers.outside
    assert (
        outside.read(specs, outside.names_of(row, point), world.clock.now_us())["queue"].said
        == "7 is above 5, for 0 min"
    )


def test_an_address_may_name_the_bundles(world):
    with answering() as server:
        line = f"{{json: '{server.url}/of/{{candidate}}', points: rows, time: at, value: n, limit: 5}}"
        text = POLICY.replace('{call: "team_figures:read", limit: 5, lasts: 3 min MORE}', line)
        release_id = world.start(text)
        row, point = driving.read(world.store, release_id)
        specs = Policy.load(text).declared_triggers.outside
        at = readings.time_of(world.clock.now_us()).isoformat()
        server.answer = lambda *_: (200, f'{{"rows": [{{"at": "{at}", "n": 9}}]}}'.encode())
        assert (
            outside.read(specs, outside.names_of(row, point), world.clock.now_us())["queue"].stand
            is Stand.SHORT
        )
        assert server.asked[0][0] == f"/of/{world.candidate}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{limit: 5}", "needs one of call, sql, prometheus, langfuse, json, and has none"),
        ("{prometheus: 'http://p:9090', query: up}", "limit"),
        ("{prometheus: 'http://p:9090', query: up, limit: 1, required: true}", "required"),
        ("{prometheus: 'http://p:9090', query: up, limit: 1, then: shout}", "then"),
        ("{prometheus: 'http://p:9090', query: up, limit: .nan}", "limit"),
    ],
)
def test_a_trigger_that_can_not_be_is_refused(line, said):
    with pytest.raises(InvalidPolicy, match=said):
        Policy.load(f"name: x\ntriggers: {{outside: {{queue: {line}}}}}")
