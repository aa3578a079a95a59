import dataclasses
import threading

import pytest

from lastgood import control
from lastgood.assigning import Request, assign
from lastgood.decision import Reason
from lastgood.errors import InvalidInput
from lastgood.release import Terms
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

MINUTE = 60_000_000


@pytest.fixture
def served(desk):
    return Serving(desk.store, desk.agent, desk.environment)


def take(served, unit="unit", task_type="faq", risk=None, conversation=None):
    return assign(served, Request(unit, task_type, risk, conversation))


def turn(served, conversation="talk"):
    return take(served, f"unit of {conversation}", conversation=conversation)


def row(desk, assigned):
    return desk.one("SELECT * FROM run WHERE id = :id", id=assigned.run_id)


def test_the_row_says_what_was_decided(desk, served):
    release_id = desk.live(10_000)
    assigned = take(served, "user-1")
    found = row(desk, assigned)
    assert (found["unit"], found["task_type"], found["risk"]) == ("user-1", "faq", "low")
    assert (found["bundle_id"], found["arm"], found["release_id"]) == (
        desk.candidate,
        "candidate",
        release_id,
    )
    assert (found["eligible"], found["reason"], found["share_bp"], found["epoch"]) == (1, "split", 10_000, 2)
    assert found["assigned_us"] == desk.clock.now_us() == assigned.assigned_us


def test_without_a_release_everybody_gets_the_baseline_and_is_no_evidence(desk, served):
    found = row(desk, take(served))
    assert (found["bundle_id"], found["eligible"], found["reason"]) == (desk.baseline, 0, "no_release")
    assert found["block"] is None
    assert found["release_id"] is None


def test_an_unknown_risk_assigns_nothing(desk, served):
    with pytest.raises(InvalidInput, match="use one of low, medium, high"):
        take(served, risk="wild")
    assert desk.all("SELECT * FROM run") == []


def test_no_decision_begun_after_a_switch_serves_what_was_switched_away(desk):
    """Eight threads assign while releases come and go: the row's epoch and bundle always belong together."""
    stop, wrong = threading.Event(), []

    def work(number):
        store = Store(desk.store.url, desk.clock)
        mine = Serving(store, desk.agent, desk.environment)
        while not stop.is_set():
            take(mine, f"unit-{number}")
        store.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [thread.start() for thread in threads]
    for number in range(8):
        release_id = desk.live(10_000, candidate=desk.register(f"candidate {number}"))
        before = desk.one("SELECT max(seq) AS n FROM run")["n"] or 0
        desk.revert(release_id)
        after = desk.point.epoch
        late = desk.all("SELECT * FROM run WHERE seq > :n AND epoch >= :epoch", n=before, epoch=after)
        wrong += [run for run in late if run["bundle_id"] != desk.baseline]
    stop.set()
    [thread.join() for thread in threads]
    assert wrong == []
    assert desk.all("SELECT * FROM run WHERE arm = 'candidate' AND release_id IS NULL") == []
    shares = desk.all(
        "SELECT ledger.epoch, candidate FROM ledger JOIN release ON release.id = ledger.release_id"
        " WHERE action = 'share'"
    )
    serving = {share["epoch"]: share["candidate"] for share in shares}
    for run in desk.all("SELECT * FROM run"):
        assert run["bundle_id"] == serving.get(run["epoch"], desk.baseline)


# -- conversations


def test_a_conversation_keeps_the_candidate_through_ramp_up_and_promote(desk, served):
    release_id = desk.start()
    desk.serve(release_id, 5_000)
    talks = [f"talk-{i}" for i in range(12)]
    first = {talk: turn(served, talk).bundle.id for talk in talks}
    assert set(first.values()) == {desk.baseline, desk.candidate}
    desk.serve(release_id, 10_000)
    assert {talk: turn(served, talk).bundle.id for talk in talks} == first
    desk.promote(release_id)
    assert {talk: turn(served, talk).bundle.id for talk in talks} == first


def test_later_turns_are_no_evidence(desk, served):
    desk.live(10_000)
    first, second = turn(served), turn(served)
    assert first.decision.eligible
    assert (second.decision.eligible, second.decision.reason) == (False, Reason.CONVERSATION)
    assert second.decision.arm == "candidate"
    assert row(desk, second)["block"] is None


def test_a_conversation_that_began_before_the_release_stays_on_the_baseline(desk, served):
    turn(served)
    desk.live(10_000)
    later = turn(served)
    assert (later.bundle.id, later.decision.reason) == (desk.baseline, Reason.CONVERSATION)


@pytest.mark.parametrize("stop", ["revert", "kill", "lapse", "pause"])
def test_a_conversation_on_the_candidate_moves_to_the_baseline(stop, desk, served):
    release_id = desk.live(10_000)
    assert turn(served).bundle.id == desk.candidate
    {
        "revert": lambda: desk.revert(release_id),
        "kill": desk.kill,
        "lapse": lambda: desk.clock.advance(61 * MINUTE),
        "pause": lambda: desk.serve(release_id, 0),
    }[stop]()
    moved = turn(served)
    assert (moved.bundle.id, moved.decision.arm, moved.decision.eligible) == (
        desk.baseline,
        "baseline",
        False,
    )


def test_a_conversation_that_was_moved_stays_moved(desk, served):
    desk.live(10_000)
    turn(served)
    desk.kill()
    turn(served)
    control.clear(desk.store, "support", "production", actor="ann", reason="")
    assert turn(served).bundle.id == desk.baseline


def test_a_risky_turn_of_a_conversation_on_the_candidate_goes_to_the_baseline(desk, served):
    desk.live(10_000)
    turn(served)
    assert take(served, risk="high", conversation="talk").bundle.id == desk.baseline


def test_a_conversation_on_an_older_good_bundle_keeps_it_until_it_is_withdrawn(desk, served):
    desk.promote(desk.live())
    assert turn(served).bundle.id == desk.candidate
    third = desk.register("third")
    desk.promote(desk.live(candidate=third))
    assert turn(served).bundle.id == desk.candidate
    desk.rollback()
    desk.rollback()
    assert turn(served).bundle.id == desk.baseline


def test_a_conversation_does_not_pull_in_a_bundle_whose_runtime_is_not_announced(desk):
    image = frozenset({"image:2"})
    able = Serving(desk.store, desk.agent, desk.environment, runtimes=image)
    desk.promote(desk.live(candidate=desk.register("needs", "image:2")))
    assert turn(able).bundle.runtimes == image
    desk.promote(desk.live(candidate=desk.register("needs nothing")))
    unable = Serving(desk.store, desk.agent, desk.environment)
    assert turn(able).bundle.runtimes == image
    assert turn(unable).bundle.runtimes == frozenset()


def test_the_candidate_of_an_earlier_release_is_not_the_candidate_of_this_one(desk, served, tools):
    terms = Terms(caps=tools.OPEN.caps, cooldown_us=0)
    desk.revert(desk.live(10_000, terms))
    release_id = desk.live(10_000, terms)
    turn(served, "talk")
    desk.revert(release_id)
    desk.live(10_000, terms)
    assert turn(served, "talk").bundle.id == desk.baseline
    assert turn(served, "another").bundle.id == desk.candidate


# -- blocks


def blocks(desk, served, units, **how):
    return [row(desk, take(served, unit, **how))["block"] for unit in units]


def terms_of(tools, **changes):
    return dataclasses.replace(tools.OPEN, **changes)


def test_blocks_are_closed_by_their_size_over_both_arms(desk, served, tools):
    desk.live(5_000, terms_of(tools, block_size=4))
    assert blocks(desk, served, [f"u{i}" for i in range(10)]) == [0] * 4 + [1] * 4 + [2] * 2


def test_a_repeated_unit_takes_its_place_in_a_block_and_is_marked(desk, served):
    desk.live(5_000)
    rows = [row(desk, take(served, unit)) for unit in ("one", "one", "two", "one", "two")]
    assert [found["block"] for found in rows] == [0] * 5
    assert [found["reason"] for found in rows] == ["split", "repeat", "split", "repeat", "repeat"]


def test_a_unit_that_was_not_eligible_before_is_no_repeated_one(desk, served):
    desk.live(5_000)
    take(served, "one", risk="high")
    assert row(desk, take(served, "one"))["reason"] == "split"


def test_a_change_of_the_share_opens_a_new_block(desk, served):
    release_id = desk.live(1_000)
    assert blocks(desk, served, ["a", "b"]) == [0, 0]
    desk.serve(release_id, 2_000)
    assert blocks(desk, served, ["c", "d"]) == [1, 1]


def test_the_clock_closes_a_block(desk, served, tools):
    desk.live(5_000, terms_of(tools, block_time_us=10 * MINUTE))
    assert blocks(desk, served, ["a"]) == [0]
    desk.clock.advance(10 * MINUTE - 1)
    assert blocks(desk, served, ["b"]) == [0]
    desk.clock.advance(1)
    assert blocks(desk, served, ["c", "d"]) == [1, 1]


def test_strata_have_blocks_of_their_own_and_what_is_not_listed_is_other(desk, served, tools):
    desk.live(5_000, terms_of(tools, strata=("faq",), block_size=2))
    assert blocks(desk, served, ["a", "b", "c"], task_type="faq") == [0, 0, 1]
    assert blocks(desk, served, ["d"], task_type="poem") == [0]
    assert blocks(desk, served, ["e", "f"], task_type="song") == [0, 1]
    counters = {r["stratum"]: (r["block"], r["size"]) for r in desk.all("SELECT * FROM block_counter")}
    assert counters == {"faq": (1, 1), "other": (1, 1)}


def test_runs_that_are_not_eligible_take_no_place_in_a_block(desk, served):
    desk.live(5_000)
    assert blocks(desk, served, ["a"], risk="high") == [None]
    assert blocks(desk, served, ["a", "b"]) == [0, 0]
