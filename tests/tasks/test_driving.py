"""Driving a release from stage to stage, by one driver, whatever breaks."""

import threading
import time

import pytest

from evaluators import Comparison
from lastgood import control, recorder, releasing
from lastgood.errors import InvalidMove, NotFound, StaleDriver
from lastgood.releasing import Ending
from lastgood.running import Run
from tasks import driving
from tasks.driving import ENDED, StageName

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
ASK = """
name: asking
guardrails: {completion: {margin: 15 points, matures: 10 min}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 20%, min_runs: 10, rule_out: 4}, {share: 50%}]
horizon: {time: 2 h}
on_undecided: ask
"""
EPOCHS = "SELECT DISTINCT epoch FROM ledger ORDER BY epoch"


@pytest.fixture
def comparing(world):
    """A release that compares, its driver, and the world."""
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    return world, release_id, driver


def kill(world):
    control.kill(world.store, "support", "production", actor="ann", reason="drill")


def clear(world):
    control.clear(world.store, "support", "production", actor="ann", reason="over")


def broken(*_args, **_kwargs):
    raise TypeError("a defect of ours")


def test_a_good_candidate_is_promoted_stage_after_stage(world):
    release_id = world.start()
    moves = world.drive(release_id)
    assert moves == ["open", "arm", "compare", "ramp", "arm", "compare", "promote"]
    row, point = world.row(release_id), world.point()
    assert (row["state"], point["baseline"], point["standing"]) == ("promoted", world.candidate, "proven")
    assert (point["candidate"], point["release_id"], point["share_bp"]) == (None, None, 0)
    assert [found["epoch"] for found in world.rows(EPOCHS)] == [1, 2, 3, 4]
    keys = [row["key"] for row in world.rows("SELECT key FROM stage ORDER BY at_us, epoch")]
    assert sorted(keys) == [
        "canary:0@1", "canary:1@2", "cap:0@2", "cap:1@3", "compare:0@2", "compare:1@3", "promote"
    ]  # fmt: skip


def test_a_harmful_candidate_is_reverted_and_quarantined(world):
    release_id = world.start()
    moves = world.drive(release_id, candidate=0.1)
    assert moves[-1] == "revert"
    assert "ramp" not in moves
    row, point = world.row(release_id), world.point()
    assert (row["state"], row["culprits"]) == ("reverted", '["completion"]')
    assert row["reason"].startswith("completion is worse (")
    assert (point["baseline"], point["share_bp"]) == (world.baseline, 0)
    assert world.rows("SELECT until_us FROM quarantine") == [{"until_us": None}]


def test_an_ended_release_is_due_nothing(world):
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    releasing.revert(world.store, release_id, Ending("ann", "a typo", by="hand"))
    assert driving.due(world.store, driver) == ENDED
    driving.act(world.store, driver, ENDED)
    assert ENDED.label == "ended"


def test_an_ended_release_has_no_new_driver(world):
    release_id = world.start()
    releasing.revert(world.store, release_id, Ending("ann", "a typo", by="hand"))
    with pytest.raises(InvalidMove, match="it ended as reverted"):
        driving.begin(world.store, release_id, "late")


def test_an_unknown_release_has_no_driver(world):
    with pytest.raises(NotFound):
        driving.begin(world.store, "rel_nope", "me")


def test_a_driver_that_was_taken_over_is_told_by_whom(comparing):
    world, release_id, driver = comparing
    what = driving.due(world.store, driver)
    driving.begin(world.store, release_id, "another")
    with pytest.raises(StaleDriver, match=f"{release_id} was taken over by another; me stops driving it"):
        driving.due(world.store, driver)
    before = world.dump()
    with pytest.raises(StaleDriver, match="taken over by another; me stops driving it"):
        driving.act(world.store, driver, what)
    assert world.dump() == before


@pytest.mark.parametrize("stage", ["canary", "cap", "compare"])
def test_of_two_drivers_only_the_newer_moves(world, stage):
    release_id = world.start()
    old = driving.begin(world.store, release_id, "old")
    what = world.until(old, stage)
    new = driving.begin(world.store, release_id, "new")
    with pytest.raises(StaleDriver):
        driving.act(world.store, old, what)
    world.step(new)
    with pytest.raises(StaleDriver):
        driving.act(world.store, old, what)


def test_the_same_move_twice_is_made_once(world):
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    what = driving.due(world.store, driver)
    driving.act(world.store, driver, what)
    before = world.dump()
    driving.act(world.store, driver, what)
    assert world.dump() == before


def test_a_completed_look_renews_the_lease(comparing):
    world, _, driver = comparing
    world.clock.advance(MINUTE)
    world.step(driver)
    assert world.point()["lease_until_us"] == world.clock.now_us() + 3 * MINUTE
    assert world.row(driver.release_id)["driver_seen_us"] == world.clock.now_us()


def test_a_failed_look_does_not(comparing, monkeypatch, caplog):
    world, _, driver = comparing
    before = world.dump()
    monkeypatch.setattr(Comparison, "verdict", broken)
    world.clock.advance(MINUTE)
    what = world.step(driver)
    assert what.waits
    assert what.transition.reason == "no completed look"
    assert world.dump() == before
    assert "proves nothing: TypeError('a defect of ours')" in caplog.text


def test_an_evaluator_that_breaks_lets_the_lease_lapse_and_never_promotes(world, monkeypatch):
    release_id = world.start()
    monkeypatch.setattr(Comparison, "verdict", broken)
    assert world.drive(release_id, looks=10) == ["open", "arm", "compare", "lapse"]
    assert (world.row(release_id)["state"], world.point()["share_bp"]) == ("lapsed", 0)


def test_an_evaluator_that_stays_broken_ends_in_a_revert_at_the_horizon(comparing, monkeypatch):
    world, release_id, driver = comparing
    monkeypatch.setattr(Comparison, "verdict", broken)
    world.clock.advance(28 * 24 * HOUR)
    world.step(driver)
    world.step(driver)
    row = world.row(release_id)
    assert row["state"] == "reverted"
    assert row["reason"] == "undecided at the horizon, after 0 candidate runs and 28.0 days"
    assert world.rows("SELECT until_us FROM quarantine")[0]["until_us"] is not None


def test_an_evaluator_that_is_mended_goes_on(comparing, monkeypatch):
    world, _, driver = comparing
    with monkeypatch.context() as patched:
        patched.setattr(Comparison, "verdict", broken)
        world.clock.advance(4 * MINUTE)
        assert world.step(driver).transition.move == "lapse"
        world.step(driver)
    assert world.step(driver).transition.move == "reopen"
    assert world.point()["share_bp"] == 2000


def test_a_lapsed_lease_is_recorded_and_reopened_at_a_new_epoch(comparing):
    world, _, driver = comparing
    epoch = world.point()["epoch"]
    world.clock.advance(3 * MINUTE)
    assert world.step(driver).transition.move == "lapse"
    assert world.point()["share_bp"] == 0
    assert world.step(driver).transition.move == "reopen"
    point = world.point()
    assert (point["share_bp"], point["epoch"]) == (2000, epoch + 2)


def test_a_lease_that_lapses_while_a_look_is_slow_is_not_renewed(comparing):
    world, _, driver = comparing
    what = driving.due(world.store, driver)
    world.clock.advance(4 * MINUTE)
    driving.act(world.store, driver, what)
    assert world.point()["lease_until_us"] < world.clock.now_us()
    assert world.assign().decision.reason == "lapsed"
    assert world.step(driver).transition.move == "lapse"


def test_proven_harm_reverts_though_the_lease_has_lapsed(comparing):
    world, release_id, driver = comparing
    world.work(100, candidate=0.05, every=SECOND)
    world.clock.advance(11 * MINUTE)
    assert world.step(driver).transition.move == "revert"
    assert world.row(release_id)["state"] == "reverted"


def test_the_kill_switch_holds_a_release_and_lets_it_go_on(comparing):
    world, _, driver = comparing
    kill(world)
    world.clock.advance(MINUTE)
    what = world.step(driver)
    assert what.transition.reason == "the kill switch is on: no candidate run starts"
    assert world.assign().decision.reason == "killed"
    clear(world)
    world.work(3)
    assert world.assign().decision.reason == "split"
    assert world.step(driver).transition.reason != what.transition.reason


@pytest.mark.parametrize("stage", ["canary", "cap", "compare", "promote"])
def test_a_kill_between_deciding_and_acting_voids_the_move_and_not_the_driver(world, one_step, stage):
    release_id = world.start(one_step)
    driver = driving.begin(world.store, release_id, "me")
    what = world.until(driver, stage) if stage != "promote" else promoting(world, driver)
    kill(world)
    before = world.dump()
    driving.act(world.store, driver, what)
    assert world.dump() == before
    assert driving.due(world.store, driver).stage != StageName.ENDED


def promoting(world, driver):
    """A decided promotion, not made yet."""
    for _ in range(60):
        what = driving.due(world.store, driver)
        if what.stage == "promote":
            return what
        driving.act(world.store, driver, what)
        world.work(30, every=SECOND)
    raise AssertionError("no promotion")


def test_a_trigger_reverts_while_a_look_is_under_way(comparing):
    world, release_id, driver = comparing
    what = driving.due(world.store, driver)
    bad = next(run for run in iter(world.assign, None) if run.decision.arm == "candidate")
    recorder.record_event(world.store, bad.run_id, "data_leak", {})
    driving.act(world.store, driver, what)
    assert driving.due(world.store, driver) == ENDED
    row = world.row(release_id)
    assert (row["state"], row["culprits"]) == ("reverted", '["data_leak"]')
    assert world.ledger().count("revert") == 1


def test_a_promotion_that_a_trigger_overtakes_is_not_made(world, one_step):
    release_id = world.start(one_step)
    driver = driving.begin(world.store, release_id, "me")
    what = promoting(world, driver)
    bad = next(run for run in iter(world.assign, None) if run.decision.arm == "candidate")
    recorder.record_event(world.store, bad.run_id, "wrong_action", {})
    driving.act(world.store, driver, what)
    assert world.row(release_id)["state"] == "reverted"
    assert world.point()["baseline"] == world.baseline


def test_an_undecided_release_asks_a_person_who_vouches(world):
    release_id = world.start(ASK)
    driver = driving.begin(world.store, release_id, "me")
    world.until(driver, "compare")
    world.clock.advance(2 * HOUR)
    for _ in range(2):
        world.step(driver)
    assert (world.row(release_id)["state"], world.point()["share_bp"]) == ("asking", 0)
    assert driving.due(world.store, driver).stage is StageName.ASKING
    releasing.promote(
        world.store, release_id, proven=False, ending=Ending("ann", "I saw it", by="hand"), expect=None
    )
    assert world.point()["standing"] == "vouched"
    assert driving.due(world.store, driver) == ENDED


def test_an_asking_release_is_still_reverted_by_proven_harm(world):
    release_id = world.start(ASK)
    driver = driving.begin(world.store, release_id, "me")
    world.until(driver, "compare")
    world.work(100, candidate=0.05, every=SECOND)
    with world.store.transaction() as txn:
        txn.run("UPDATE release SET state = 'asking'")
    world.clock.advance(11 * MINUTE)
    assert world.step(driver).transition.move == "revert"
    assert world.row(release_id)["state"] == "reverted"


def test_a_release_without_traffic_ends_at_its_horizon(world):
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    world.until(driver, "compare")
    moves = []
    for _ in range(40):
        what = world.step(driver)
        moves.append(what.transition and what.transition.move)
        if what == ENDED:
            break
        world.clock.advance(24 * HOUR)
    assert world.row(release_id)["state"] == "reverted"
    assert "promote" not in moves


def test_advice_is_written_down_and_moves_nothing(world, one_step):
    release_id = world.start(one_step + "mode: advise\n")
    moves = world.drive(release_id, looks=20, candidate=0.1)
    assert moves == ["open", "arm", "compare"]
    reasons = [
        row["reason"] for row in world.rows("SELECT reason FROM ledger WHERE action = 'renew' ORDER BY seq")
    ]
    assert reasons[-1].startswith("advice: revert (completion is worse")
    assert world.row(release_id)["state"] == "compare"
    assert world.point()["share_bp"] == 5000


def test_invalid_evidence_pauses_the_share_after_the_policys_time(world):
    """Infrastructure fails in the candidate's runs alone: nothing may be concluded."""
    release_id = world.start(
        "{name: infra, guardrails: {completion: {margin: 15 points, weight: 0.99}, "
        "infra: {margin: 40 points, weight: 0.01}}, steps: [{share: 50%}], alpha: {revert: 0.0001}}"
    )
    driver = driving.begin(world.store, release_id, "me")
    world.until(driver, "compare")
    states = []
    for place in range(60):
        world.clock.advance(2 * MINUTE)
        for _ in range(3):
            assigned = world.assign()
            with Run(world.store, assigned) as run:
                run.report(completed=True, infra_failure=assigned.decision.arm == "candidate" and place < 40)
        what = world.step(driver)
        if what == ENDED:
            break
        states.append((what.transition.move, world.row(release_id)["invalid_since_us"] is not None))
        if what.transition.move == "pause":
            break
    assert states[-1] == ("pause", True)
    assert world.point()["share_bp"] == 0
    assert world.row(release_id)["state"] == "compare"


# -- evaluate


def test_a_living_driver_is_left_alone(comparing):
    world, release_id, _ = comparing
    world.clock.advance(3 * MINUTE - 1)
    before = world.dump()
    assert driving.evaluate(world.store, release_id, "the schedule") is None
    assert world.dump() == before


def test_a_silent_driver_is_replaced_and_the_release_goes_on(comparing):
    world, release_id, old = comparing
    world.clock.advance(3 * MINUTE)
    driver, what = driving.evaluate(world.store, release_id, "the schedule")
    assert driver.name == "the schedule"
    assert what.waits
    assert world.row(release_id)["state"] == "compare"
    assert world.point()["share_bp"] == 2000
    with pytest.raises(StaleDriver, match="taken over by the schedule"):
        driving.due(world.store, old)


def test_a_release_that_nobody_drives_yet_is_driven(world):
    release_id = world.start()
    driver, what = driving.evaluate(world.store, release_id, "the schedule")
    assert (what.stage, world.row(release_id)["state"]) == (StageName.COMPARE, "compare")
    assert world.row(release_id)["driver"] == driver.name == "the schedule"


def test_the_schedule_alone_takes_a_release_to_its_end(world):
    release_id = world.start()
    for _ in range(200):
        if driving.evaluate(world.store, release_id, "the schedule") is None:
            break
        world.work(30, every=2 * SECOND)
    assert world.row(release_id)["state"] == "promoted"


def test_an_ended_release_is_left_alone(world):
    release_id = world.start()
    releasing.revert(world.store, release_id, Ending("ann", "a typo", by="hand"))
    before = world.dump()
    assert driving.evaluate(world.store, release_id, "the schedule") is None
    assert world.dump() == before


def test_an_evaluation_that_is_overtaken_stops_quietly(world, monkeypatch):
    release_id = world.start()
    made = driving.due

    def overtaken(store, driver):
        if driver.name == "the schedule":
            driving.begin(store, release_id, "a flow run")
        return made(store, driver)

    monkeypatch.setattr(driving, "due", overtaken)
    assert driving.evaluate(world.store, release_id, "the schedule") is None
    assert world.row(release_id)["driver"] == "a flow run"


def test_a_release_that_ends_before_the_takeover_is_left_alone(comparing, monkeypatch):
    world, release_id, _ = comparing
    made = driving.begin

    def ended(store, *args):
        releasing.revert(store, release_id, Ending("ann", "a typo", by="hand"))
        return made(store, *args)

    monkeypatch.setattr(driving, "begin", ended)
    world.clock.advance(3 * MINUTE)
    assert driving.evaluate(world.store, release_id, "the schedule") is None


def test_live_releases_are_listed_and_ended_ones_are_not(world):
    assert driving.live_releases(world.store) == []
    release_id = world.start()
    assert driving.live_releases(world.store) == [release_id]
    releasing.revert(world.store, release_id, Ending("ann", "a typo", by="hand"))
    assert driving.live_releases(world.store) == []


# -- rest


def test_a_rest_lasts_until_the_next_look(comparing, monkeypatch):
    world, _, driver = comparing
    slept = []
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda s: (slept.append(s), now.__setitem__(0, now[0] + s)))
    what = world.step(driver)
    driving.rest(world.store, driver, what)
    assert sum(slept) == pytest.approx(60)
    assert max(slept) <= 1


def test_a_rest_ends_when_somebody_moves_the_release(comparing):
    world, release_id, driver = comparing
    what = world.step(driver)
    began = time.monotonic()
    ending = Ending("ann", "a typo", by="hand")
    threading.Timer(0.2, lambda: releasing.revert(world.store, release_id, ending)).start()
    driving.rest(world.store, driver, what)
    assert time.monotonic() - began < 10
    assert driving.due(world.store, driver) == ENDED
