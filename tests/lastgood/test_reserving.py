import multiprocessing

import pytest

from lastgood import acting, recorder, reserving
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.decision import Reason
from lastgood.errors import CapReached, NotFound, Refused, StoreUnavailable
from lastgood.outcome import Outcome
from lastgood.release import Terms
from lastgood.reserving import Claim
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

fork = multiprocessing.get_context("fork")
MINUTE = 60_000_000
ACTIONS = Caps(None, None, None, actions_per_run=(("message", 2),), actions_per_hour=(("refund", 3),))


@pytest.fixture
def take(desk):
    served, numbers = Serving(desk.store, desk.agent, desk.environment), iter(range(10_000))

    def run(unit=None):
        return assign(served, Request(unit or f"unit-{next(numbers)}", "faq", None, None))

    return run


def end(desk, run, **fields):
    recorder.record(desk.store, run.run_id, run.decision.arm, Outcome(**fields), None, None)


def use(desk, cap=reserving.SPEND):
    rows = desk.all("SELECT used, reserved FROM cap_use WHERE cap = :cap", cap=cap)
    return sum(row["used"] for row in rows), sum(row["reserved"] for row in rows)


def spending(per_hour, per_run):
    return Terms(caps=Caps(per_hour, per_run, None), lost_after_us=10 * MINUTE)


# -- what a run claims


@pytest.mark.parametrize(
    ("now_us", "start_us"),
    [(0, 0), (3_599_999_999, 0), (3_600_000_000, 3_600_000_000), (7_200_000_001, 7_200_000_000)],
)
def test_a_window_is_the_clock_hour(now_us, start_us):
    assert reserving.window(now_us) == start_us


@pytest.mark.parametrize(
    ("caps", "claims"),
    [
        (Caps(None, 0.5, None), ()),
        (Caps(None, None, 0), (Claim(reserving.RUNS, 1, 0, held=False),)),
        (Caps(5.0, 0.5, None), (Claim(reserving.SPEND, 0.5, 5.0, held=True),)),
        (
            Caps(0.0, None, 7),
            (Claim(reserving.RUNS, 1, 7, held=False), Claim(reserving.SPEND, 0.0, 0.0, held=True)),
        ),
    ],
)
def test_a_run_claims_of_the_ceilings_that_there_are(caps, claims):
    assert reserving.run_claims(caps) == claims


@pytest.mark.parametrize(
    ("per_hour", "per_run", "most"), [(5.0, 0.5, 0.5), (5.0, None, 5.0), (None, 0.5, 0.5), (None, None, 0.0)]
)
def test_the_most_that_a_run_may_spend(per_hour, per_run, most):
    assert reserving.most_usd(Caps(per_hour, per_run)) == most


# -- ceilings


def test_runs_per_hour(desk, take):
    desk.live(terms=Terms(caps=Caps(None, None, 3)))
    arms = [take().decision.arm for _ in range(5)]
    assert arms == ["candidate"] * 3 + ["baseline"] * 2
    assert use(desk, reserving.RUNS) == (3, 0)


def test_the_statement_itself_refuses_what_does_not_fit(desk):
    release_id = desk.live()
    claim = reserving.Claim(reserving.SPEND, 0.5, 1.25, held=True)
    with desk.store.transaction() as txn:
        assert [reserving.reserve(txn, release_id, claim) for _ in range(3)] == [True, True, False]
        assert not reserving.reserve(txn, release_id, reserving.Claim("another", 2.0, 1.25, held=True))
    assert use(desk) == (0, 1.0)


def test_a_new_hour_frees_the_ceiling(desk, take):
    desk.live(terms=Terms(caps=Caps(None, None, 1)))
    assert [take().decision.arm for _ in range(2)] == ["candidate", "baseline"]
    desk.clock.advance(reserving.HOUR_US - desk.clock.now_us() % reserving.HOUR_US)
    desk.serve(desk.point.release_id, 10_000)
    assert take().decision.arm == "candidate"


def test_without_headroom_neither_arm_is_evidence(desk, take):
    """Or the arms would be drawn from other times of the hour."""
    release_id = desk.live(5_000, Terms(caps=Caps(None, None, 2)))
    for unit in desk.units(release_id, 5_000, candidate=True, number=2):
        assert take(unit).decision.eligible
    for candidate in (True, False):
        unit = desk.units(release_id, 5_000, candidate=candidate, number=3)[-1]
        decision = take(unit).decision
        assert (decision.arm, decision.eligible, decision.reason) == ("baseline", False, Reason.CAP)


def test_a_baseline_run_takes_nothing_of_a_ceiling(desk, take):
    release_id = desk.live(5_000, Terms(caps=Caps(1.0, 0.5, 2)))
    for unit in desk.units(release_id, 5_000, candidate=False, number=5):
        assert take(unit).decision.eligible
    assert use(desk) == use(desk, reserving.RUNS) == (0, 0)


def test_a_later_turn_of_a_conversation_takes_of_the_ceiling_too(desk):
    served = Serving(desk.store, desk.agent, desk.environment)
    desk.live(terms=Terms(caps=Caps(None, None, 2)))
    turns = [assign(served, Request("u", "faq", None, "talk")).decision for _ in range(3)]
    assert [turn.arm for turn in turns] == ["candidate", "candidate", "baseline"]
    assert turns[-1].reason is Reason.CAP


def test_a_run_reserves_its_maximum_and_settles_what_it_spent(desk, take):
    desk.live(terms=spending(2.0, 0.5))
    run = take()
    assert use(desk) == (0, 0.5)
    end(desk, run, cost_usd=0.125)
    assert use(desk) == (0.125, 0)
    assert desk.all("SELECT * FROM reservation") == []


def test_what_was_not_spent_is_there_for_the_next_run(desk, take):
    desk.live(terms=spending(1.0, 0.5))
    runs = [take() for _ in range(3)]
    assert [run.decision.arm for run in runs] == ["candidate", "candidate", "baseline"]
    end(desk, runs[0], cost_usd=0.0)
    assert take().decision.arm == "candidate"


def test_a_run_without_a_ceiling_of_its_own_needs_the_whole_hour(desk, take):
    desk.live(terms=spending(1.0, None))
    assert [take().decision.arm for _ in range(2)] == ["candidate", "baseline"]


def test_a_run_that_does_not_say_what_it_spent_counts_as_its_maximum(desk, take):
    desk.live(terms=spending(1.0, 0.5))
    for _ in range(2):
        end(desk, take())
    assert use(desk) == (1.0, 0)
    assert take().decision.reason is Reason.CAP


def test_the_reservation_of_a_silent_run_comes_back(desk, take):
    desk.live(terms=spending(0.5, 0.5))
    assert [take().decision.arm for _ in range(2)] == ["candidate", "baseline"]
    desk.clock.advance(10 * MINUTE)
    assert take().decision.arm == "candidate"
    assert use(desk)[1] == 0.5


@pytest.mark.parametrize(("cost", "counted"), [(0.25, 0.25), (None, 0.5)])
def test_a_late_outcome_counts_what_it_spent_all_the_same(cost, counted, desk, take):
    release_id = desk.live(terms=spending(0.5, 0.5))
    run = take()
    desk.clock.advance(10 * MINUTE)
    with desk.store.transaction() as txn:
        assert reserving.expire(txn, release_id) == 1
    assert use(desk) == (0, 0)
    end(desk, run, cost_usd=cost)
    assert use(desk) == (counted, 0)


def test_spending_above_the_ceiling_of_a_run_reverts(desk, take):
    release_id = desk.live(terms=spending(5.0, 0.5))
    run = take()
    end(desk, run, cost_usd=0.75)
    assert use(desk) == (0.75, 0)
    row = desk.one("SELECT * FROM release")
    assert (row["id"], row["state"], row["culprits"]) == (release_id, "reverted", '["overspend"]')
    assert f"run {run.run_id} spent $0.75, its ceiling was $0.50" in row["reason"]


def test_spending_exactly_the_ceiling_reverts_nothing(desk, take):
    release_id = desk.live(terms=spending(5.0, 0.5))
    end(desk, take(), cost_usd=0.5)
    assert desk.point.release_id == release_id


def _hammer(url, number, attempts, settle):
    store = Store(url)
    served = Serving(store, "support", "production")
    for attempt in range(attempts):
        run = assign(served, Request(f"unit-{number}-{attempt}", "faq", None, None))
        if settle and attempt % 2:
            recorder.record(store, run.run_id, run.decision.arm, Outcome(cost_usd=0.05), None, None)


@pytest.mark.parametrize(
    ("caps", "cap", "settle"),
    [
        (Caps(None, None, 50), reserving.RUNS, False),
        (Caps(5.0, 0.125, None), reserving.SPEND, False),
        (Caps(5.0, 0.125, None), reserving.SPEND, True),
    ],
)
def test_four_processes_never_overshoot_a_ceiling(caps, cap, settle, store, tools):
    from lastgood.clock import SystemClock

    live = Store(store.url)
    desk = tools.Desk(live, SystemClock())
    desk.adopt()
    desk.live(terms=Terms(caps=caps))
    before = reserving.window(desk.clock.now_us())
    children = [fork.Process(target=_hammer, args=(store.url, n, 100, settle)) for n in range(4)]
    [child.start() for child in children]
    [child.join(30) for child in children]
    assert [child.exitcode for child in children] == [0] * 4
    hours = 1 + (reserving.window(desk.clock.now_us()) - before) // reserving.HOUR_US
    ceiling = caps.runs_per_hour or caps.spend_usd_per_hour
    for row in desk.all("SELECT * FROM cap_use"):
        assert row["used"] + row["reserved"] <= ceiling + 1e-9
    taken = desk.one("SELECT count(*) AS n FROM run WHERE arm = 'candidate'")["n"]
    assert desk.one("SELECT count(*) AS n FROM run")["n"] == 400
    if not settle:
        assert taken in {50 * n if cap == reserving.RUNS else 40 * n for n in range(1, hours + 1)}
    else:
        spent = desk.one("SELECT sum(used) + sum(reserved) AS n FROM cap_use")["n"]
        open_runs = desk.one("SELECT count(*) AS n FROM reservation")["n"]
        done = desk.one("SELECT count(*) AS n FROM outcome JOIN run ON id = run_id WHERE arm = 'candidate'")[
            "n"
        ]
        assert spent == pytest.approx(open_runs * 0.125 + done * 0.05)
        assert taken > 40
    live.close()


# -- actions


def act(desk, run, kind="message", undo=None):
    with acting.action(desk.store, run.run_id, kind, "c-1", undo) as action_id:
        return action_id


def actions(desk):
    return desk.all("SELECT kind, target, state, undo FROM action ORDER BY reserved_us, id")


def test_an_action_is_recorded_before_the_effect_and_settled_after_it(desk, take):
    run = take()
    with acting.action(desk.store, run.run_id, "message", "c-1", {"delete": "m-7"}):
        assert actions(desk) == [
            {"kind": "message", "target": "c-1", "state": "reserved", "undo": '{"delete": "m-7"}'}
        ]
    assert [row["state"] for row in actions(desk)] == ["done"]


def test_an_action_that_fails_says_so(desk, take):
    with pytest.raises(ZeroDivisionError), acting.action(desk.store, take().run_id, "message", "", None):
        1 / 0  # noqa: B018
    assert [row["state"] for row in actions(desk)] == ["failed"]


def test_the_ceiling_of_a_run(desk, take):
    desk.live(terms=Terms(caps=ACTIONS))
    run = take()
    for _ in range(2):
        act(desk, run)
    with pytest.raises(
        CapReached, match=f"message of run {run.run_id} is refused: it took 2, its ceiling is 2 a run"
    ):
        act(desk, run)
    act(desk, run, "note")
    act(desk, take())
    assert len(actions(desk)) == 4


def test_a_failed_action_takes_nothing_of_the_ceiling_of_its_run(desk, take):
    desk.live(terms=Terms(caps=ACTIONS))
    run = take()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), acting.action(desk.store, run.run_id, "message", "", None):
            1 / 0  # noqa: B018
    act(desk, run)


def test_the_ceiling_of_an_hour(desk, take):
    desk.live(terms=Terms(caps=ACTIONS))
    for _ in range(3):
        act(desk, take(), "refund")
    minutes = -(-(reserving.HOUR_US - desk.clock.now_us() % reserving.HOUR_US) // MINUTE)
    with pytest.raises(CapReached, match=f"the ceiling of 3 an hour is reached; it frees in {minutes} min"):
        act(desk, take(), "refund")
    desk.clock.advance(minutes * MINUTE)
    desk.serve(desk.point.release_id, 10_000)
    act(desk, take(), "refund")


def test_the_baseline_has_no_ceilings(desk, take):
    desk.live(5_000, Terms(caps=ACTIONS))
    run = take(desk.units(desk.point.release_id, 5_000, candidate=False)[0])
    for _ in range(5):
        act(desk, run)
    assert len(actions(desk)) == 5


def test_the_next_action_after_a_revert_is_refused_and_leaves_no_row(desk, take):
    release_id = desk.live()
    run = take()
    act(desk, run)
    desk.revert(release_id)
    with pytest.raises(Refused, match=r"its release was reverted \(it is bad\); end the run"):
        act(desk, run)
    assert len(actions(desk)) == 1


def test_an_action_that_was_under_way_at_the_revert_is_settled(desk, take):
    release_id = desk.live()
    with acting.action(desk.store, take().run_id, "message", "", None):
        desk.revert(release_id)
    assert [row["state"] for row in actions(desk)] == ["done"]


def test_the_kill_switch_refuses(desk, take):
    desk.live()
    run = take()
    desk.kill()
    with pytest.raises(Refused, match="the kill switch of support in production is on"):
        act(desk, run)


@pytest.mark.parametrize("change", ["ramp", "promote"])
def test_a_mere_change_of_the_epoch_refuses_nothing(change, desk, take):
    release_id = desk.live(10_000)
    run = take()
    desk.serve(release_id, 5_000) if change == "ramp" else desk.promote(release_id)
    act(desk, run)
    assert [row["state"] for row in actions(desk)] == ["done"]


def test_a_baseline_run_acts_on_after_a_revert(desk, take):
    release_id = desk.live(5_000)
    run = take(desk.units(release_id, 5_000, candidate=False)[0])
    desk.revert(release_id)
    act(desk, run)


def test_an_action_of_an_unknown_run(desk):
    with pytest.raises(NotFound), acting.action(desk.store, "run_none", "message", "", None):
        pass


def test_a_store_that_goes_before_the_effect_prevents_it(desk, take):
    run, done = take(), []
    desk.vanish()
    with pytest.raises(StoreUnavailable), acting.action(desk.store, run.run_id, "message", "", None):
        done.append("sent")
    assert done == []


def test_a_store_that_goes_after_the_effect_does_not_make_the_agent_repeat_it(desk, take, caplog):
    with acting.action(desk.store, take().run_id, "message", "", None):
        desk.vanish()
    assert "is done, and stays `reserved` in the store" in caplog.text
