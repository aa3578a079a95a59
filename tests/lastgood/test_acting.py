"""The fence: what a run may still do after its bundle was left."""

import multiprocessing

import pytest

from lastgood import acting, control, recorder, reserving
from lastgood.acting import Effect
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.clock import SystemClock
from lastgood.errors import CapReached, InDoubt, InvalidInput, Refused, StoreUnavailable
from lastgood.outcome import Outcome
from lastgood.recorder import Report
from lastgood.release import Terms
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from lastgood.triggers import Triggers

fork = multiprocessing.get_context("fork")
FINISH = {"on_revert": "finish", "cooldown_us": 0, "triggers": Triggers(("data_leak",))}
MINUTE = 60_000_000


@pytest.fixture
def take(desk):
    served, numbers = Serving(desk.store, desk.agent, desk.environment), iter(range(10_000))
    return lambda unit=None: assign(served, Request(unit or f"unit-{next(numbers)}", "faq", None, None))


@pytest.fixture
def terms(tools):
    return lambda **changes: Terms(**{"caps": tools.OPEN.caps, **changes})


def act(desk, run, kind="message", **given):
    gated = acting.reserve(desk.store, run.run_id, Effect(kind, **given))
    acting.settle(desk.store, gated.id, "done")
    return gated


def late(desk):
    return [bool(row["late"]) for row in desk.all("SELECT late FROM action ORDER BY reserved_us, id")]


def test_where_the_policy_lets_runs_finish_their_actions_are_marked_late(desk, take, terms):
    release_id = desk.live(terms=terms(**FINISH))
    run = take()
    act(desk, run)
    desk.clock.advance(1_000)
    desk.revert(release_id)
    assert act(desk, run).late
    assert late(desk) == [False, True]
    assert desk.one("SELECT epoch FROM action WHERE late")["epoch"] == desk.point.epoch


def test_a_zero_tolerance_event_lets_nobody_finish(desk, take, terms):
    desk.live(terms=terms(**FINISH))
    run, other = take(), take()
    recorder.record_event(desk.store, other.run_id, "data_leak", {})
    with pytest.raises(Refused, match="its release was reverted"):
        act(desk, run)


@pytest.mark.parametrize("order", ["kill_first", "revert_first"])
def test_a_kill_lets_nobody_finish(order, desk, take, terms):
    release_id = desk.live(terms=terms(**FINISH))
    run = take()
    moves = [desk.kill, lambda: desk.revert(release_id)]
    for move in moves if order == "kill_first" else reversed(moves):
        move()
    with pytest.raises(Refused, match="the kill switch of support in production is on"):
        act(desk, run)


def test_a_kill_that_was_cleared_still_lets_nobody_finish(desk, take, terms):
    release_id = desk.live(terms=terms(**FINISH))
    run = take()
    desk.kill()
    desk.revert(release_id)
    control.clear(desk.store, desk.agent, desk.environment, actor="ann", reason="over")
    with pytest.raises(Refused, match="its release was reverted"):
        act(desk, run)


def test_a_kill_of_a_later_release_stops_no_run_of_the_promoted_one(desk, take, terms):
    release_id = desk.live(terms=terms())
    run = take()
    desk.promote(release_id)
    desk.kill()
    assert not act(desk, run).late


@pytest.mark.parametrize(
    ("on_revert", "arm"), [("abort", "candidate"), ("abort", "baseline"), ("finish", "baseline")]
)
def test_a_rollback_fences_the_runs_of_the_bundle_that_was_left(on_revert, arm, desk, take, terms):
    release_id = desk.live(terms=terms(on_revert=on_revert))
    runs = {"candidate": take()}
    desk.promote(release_id)
    runs["baseline"] = take()
    desk.clock.advance(1)
    desk.rollback()
    if on_revert == "finish":
        assert act(desk, runs[arm]).late
        return
    with pytest.raises(Refused, match="was rolled back from its bundle"):
        act(desk, runs[arm])


def test_a_rollback_fences_no_run_that_began_after_it(desk, take, terms):
    desk.promote(desk.live(terms=terms()))
    desk.rollback()
    desk.clock.advance(1)
    desk.rollback(to=desk.candidate, vouched=True)
    assert not act(desk, take()).late


def test_a_key_is_one_effect_among_processes(desk, take):
    run = take()
    first = acting.reserve(desk.store, run.run_id, Effect("message", key="k"))
    with pytest.raises(InDoubt):
        acting.reserve(desk.store, run.run_id, Effect("message", key="k"))
    acting.settle(desk.store, first.id, "done", '{"id": 1}')
    again = acting.reserve(desk.store, run.run_id, Effect("message", key="k"))
    assert (again.id, again.done, again.result) == (first.id, True, '{"id": 1}')
    assert not acting.reserve(desk.store, take().run_id, Effect("message", key="k")).done


@pytest.mark.parametrize("state", ["reserved", "done", "failed"])
def test_a_key_of_another_kind_of_effect_is_refused(desk, take, state):
    run = take()
    first = acting.reserve(desk.store, run.run_id, Effect("message", key="k", idempotent=True))
    if state != "reserved":
        acting.settle(desk.store, first.id, state)
    before = desk.all("SELECT * FROM action")
    with pytest.raises(InvalidInput, match=r"the key 'k' of run .* stands for a message already"):
        acting.reserve(desk.store, run.run_id, Effect("refund", key="k", idempotent=True))
    assert desk.all("SELECT * FROM action") == before


def test_what_failed_may_be_tried_again_by_its_key_in_the_same_row(desk, take):
    run = take()
    first = acting.reserve(desk.store, run.run_id, Effect("message", key="k"))
    acting.settle(desk.store, first.id, "failed")
    again = acting.reserve(desk.store, run.run_id, Effect("message", key="k"))
    assert (again.id, again.done) == (first.id, False)
    assert desk.all("SELECT id, state FROM action") == [{"id": first.id, "state": "reserved"}]


def test_what_was_begun_counts_once_for_its_run_and_once_an_hour(desk, take):
    caps = Caps(None, None, None, actions_per_run=(("message", 1),), actions_per_hour=(("message", 1),))
    release_id = desk.live(terms=Terms(caps=caps))
    run, effect = take(), Effect("message", key="k", idempotent=True)
    first = acting.reserve(desk.store, run.run_id, effect)
    assert acting.reserve(desk.store, run.run_id, effect).id == first.id
    assert [row["used"] for row in desk.all("SELECT used FROM cap_use")] == [1]
    desk.clock.advance(reserving.HOUR_US)
    desk.serve(release_id, 10_000)
    assert acting.reserve(desk.store, run.run_id, effect).id == first.id
    assert [row["used"] for row in desk.all("SELECT used FROM cap_use")] == [1, 1]


def test_an_action_of_a_stopped_agent_is_refused_and_leaves_no_row(desk, take):
    run = take()
    control.stop(desk.store, desk.agent, desk.environment, actor="ann", reason="haunted")
    with pytest.raises(
        Refused,
        match=rf"{run.run_id} is refused: support in production was stopped by ann \(haunted\); .* --clear",
    ):
        act(desk, run)
    assert desk.all("SELECT * FROM action") == []


def test_an_action_is_settled_once(desk, take):
    desk.live(terms=Terms(caps=Caps(None, None, None, actions_per_hour=(("message", 5),))))
    gated = acting.reserve(desk.store, take().run_id, Effect("message"))
    for _ in range(2):
        acting.settle(desk.store, gated.id, "failed")
    assert desk.one("SELECT used FROM cap_use")["used"] == 0
    baseline = desk.one("SELECT id FROM run WHERE arm = 'baseline'")
    assert baseline is None


def test_a_failed_action_of_the_baseline_gives_nothing_back(desk, take):
    release_id = desk.live(5_000, Terms(caps=Caps(None, None, None, actions_per_hour=(("message", 5),))))
    act(desk, take(desk.units(release_id, 5_000, candidate=True)[0]))
    run = take(desk.units(release_id, 5_000, candidate=False)[0])
    gated = acting.reserve(desk.store, run.run_id, Effect("message"))
    acting.settle(desk.store, gated.id, "failed")
    assert desk.one("SELECT used FROM cap_use")["used"] == 1


# -- caps among processes


def _patiently(work):
    """SQLite's lock is not fair: of eight processes at it one may wait for longer than the store does."""
    while True:
        try:
            return work()
        except StoreUnavailable as error:
            if "locked" not in str(error):
                raise


def _hammer(url, number, attempts):
    store = Store(url)
    served = Serving(store, "support", "production")
    for attempt in range(attempts):
        request = Request(f"unit-{number}-{attempt}", "faq", None, None)
        run = _patiently(lambda request=request: assign(served, request))
        for _ in range(2):
            try:
                gated = _patiently(lambda run=run: acting.reserve(store, run.run_id, Effect("message")))
            except CapReached:
                continue
            acting.settle(store, gated.id, "failed" if attempt % 5 == 0 else "done")
        report = [Report(run.run_id, Outcome(cost_usd=0.05), origin=run.origin)]
        _patiently(lambda report=report: recorder.record_batch(store, report, durable=False))
    store.close()


def test_eight_processes_never_overshoot_any_ceiling(store, tools):
    live = Store(store.url)
    desk = tools.Desk(live, SystemClock())
    desk.adopt()
    caps = Caps(1.5, 0.125, 30, actions_per_run=(("message", 1),), actions_per_hour=(("message", 12),))
    desk.live(terms=Terms(caps=caps))
    live.close()
    children = [fork.Process(target=_hammer, args=(store.url, n, 8)) for n in range(8)]
    [child.start() for child in children]
    [child.join(60) for child in children]
    assert [child.exitcode for child in children] == [0] * 8
    ceilings = {reserving.RUNS: 30, reserving.SPEND: 1.5, "action:message": 12}
    for row in desk.all("SELECT * FROM cap_use"):
        assert row["used"] + row["reserved"] <= ceilings[row["cap"]] + 1e-9
    windows = len({row["window_us"] for row in desk.all("SELECT window_us FROM cap_use")})
    done = desk.all(
        "SELECT run_id, count(*) AS n FROM action JOIN run ON run.id = run_id"
        " WHERE run.arm = 'candidate' AND action.state = 'done' GROUP BY run_id"
    )
    assert all(row["n"] == 1 for row in done)
    assert sum(row["n"] for row in done) <= 12 * windows
    used = desk.one("SELECT sum(used) AS n FROM cap_use WHERE cap = 'action:message'")["n"]
    assert used >= sum(row["n"] for row in done)  # one that could not be settled stays counted
    live.close()
