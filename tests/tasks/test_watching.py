"""The watch after a revert or a promotion, on a store whose runs are planted and whose clock is moved."""

import json

import pytest

from config.profile import Profile
from evaluators.watched import Answer
from lastgood import control, incidents, profile, recorder, releasing
from lastgood.errors import InvalidInput, NotFound
from lastgood.releasing import Ending
from lastgood.running import Run
from tasks import driving, watch_report, watching

MINUTE = 60_000_000
POLICY = """
name: watched
lost_after: 1 min
guardrails: {completion: {margin: 20 points, matures: 5 min}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 30%}]
watch: {time: 30 min, enough: 1000}
"""


def canary(world, text=POLICY, **work):
    """A release that served its candidate to 30% of 150 runs."""
    release_id = world.start(text)
    world.until(driving.begin(world.store, release_id, "me"), "compare")
    world.work(150, every=MINUTE // 60, **work)
    return release_id


def reverted(world, **work):
    release_id = canary(world, **work)
    releasing.revert(world.store, release_id, Ending("ann", "it looks worse", by="hand"))
    return release_id


def promoted(world, **work):
    release_id = canary(world, **work)
    ending = Ending("ann", "it looks well", by="hand")
    releasing.promote(world.store, release_id, proven=False, ending=ending, expect=None)
    return release_id


def wait(world, minutes, **work):
    world.work(minutes * 6, every=MINUTE // 6, **work)


def answer(world, subject):
    return watching.look(world.store, watching.begin(world.store, subject))


def incident(world):
    return world.rows("SELECT * FROM incident ORDER BY opened_us DESC")[0]


def told(world):
    return [
        (row["kind"], row["level"])
        for row in world.rows("SELECT * FROM notice WHERE key LIKE 'wat_%' ORDER BY at_us, id")
    ]


def test_a_bundle_at_fault_is_fixed_by_leaving_it(world):
    release_id = reverted(world, candidate=0.3)
    wait(world, 31)
    found = answer(world, release_id)
    assert (found.verdict.answer, found.stage) == (Answer.FIXED, "fast")
    assert incident(world)["watch"] == "fixed"
    assert told(world) == [("watched", "inform")]


def test_a_provider_at_fault_is_elsewhere_and_somebody_is_called(world):
    release_id = reverted(world, candidate=0.3, good=0.3)
    wait(world, 31, good=0.3)
    found = answer(world, release_id)
    assert found.verdict.answer is Answer.ELSEWHERE
    assert {hint.kind for hint in found.verdict.hints} >= {"still"}
    assert told(world) == [("watched", "page")]


def test_a_window_without_runs_since_is_inconclusive_and_says_so(world):
    release_id = reverted(world, candidate=0.3)
    world.clock.advance(31 * MINUTE)
    found = answer(world, release_id)
    assert found.verdict.answer is Answer.INCONCLUSIVE
    assert "no run since the switch: nothing can be said; check that the agent serves" in found.verdict.reason
    assert told(world) == [("inconclusive", "page")]


def test_a_look_before_the_end_of_the_window_stands_nowhere(world):
    watch_id = watching.begin(world.store, reverted(world, candidate=0.3))
    wait(world, 5)
    assert watching.look(world.store, watch_id).stage == "early"
    row = watching.find(world.store, watch_id)
    assert (row["state"], row["fast"], told(world)) == ("watching", None, [])


def test_the_final_verdict_comes_when_every_metric_is_matured(world):
    watch_id = watching.begin(world.store, reverted(world, candidate=0.3))
    wait(world, 31)
    assert watching.look(world.store, watch_id).stage == "fast"
    world.clock.advance(6 * MINUTE)
    assert watching.look(world.store, watch_id).stage == "final"
    row = watching.find(world.store, watch_id)
    assert (row["state"], json.loads(row["final"])["answer"]) == ("ended", "fixed")
    assert told(world) == [("watched", "inform")]  # the final one repeats it, which nobody is told


def test_enough_matured_runs_make_it_final_sooner(world):
    release_id = reverted(world, text=POLICY.replace("enough: 1000", "enough: 100"), candidate=0.3)
    wait(world, 31)
    assert answer(world, release_id).stage == "final"


def test_a_final_verdict_that_turns_is_told(world):
    release_id = reverted(world, candidate=0.3)
    world.clock.advance(30 * MINUTE + 1)
    watch_id = watching.begin(world.store, release_id)
    watching.look(world.store, watch_id)
    wait(world, 7, good=1.0)
    world.clock.advance(MINUTE)
    watching.look(world.store, watch_id)
    assert told(world)[0] == ("inconclusive", "page")
    assert incident(world)["watch"] == json.loads(watching.find(world.store, watch_id)["final"])["answer"]


def test_beginning_and_looking_again_changes_nothing(world):
    release_id = reverted(world, candidate=0.3)
    wait(world, 37)
    first = watching.begin(world.store, release_id)
    watching.look(world.store, first)
    before = world.rows("SELECT * FROM watch"), told(world)
    assert watching.begin(world.store, release_id) == first
    assert watching.begin(world.store, incident(world)["id"]) == first
    watching.look(world.store, first)
    assert (world.rows("SELECT * FROM watch"), told(world)) == before


def test_what_is_due_begins_by_itself_and_is_looked_at_when_its_time_comes(world):
    reverted(world, candidate=0.3)
    assert watching.keep_up(world.store) == []
    assert incident(world)["watch"] == "watching"
    wait(world, 31)
    assert [found.verdict.answer for found in watching.keep_up(world.store)] == [Answer.FIXED]
    world.clock.advance(6 * MINUTE)
    assert [found.stage for found in watching.keep_up(world.store)] == ["final"]
    assert watching.keep_up(world.store) == []
    assert watching.due(world.store) == ([], [])


def test_a_promotion_is_watched_too(world):
    release_id = promoted(world)
    assert watching.due(world.store)[0] == [release_id]
    wait(world, 31)
    found = answer(world, release_id)
    assert found.verdict.answer is Answer.FIXED
    assert "the promotion holds" in found.verdict.reason


def test_a_baseline_that_was_left_is_compared_with_the_one_before_it(world):
    promoted(world)
    world.work(200, every=MINUTE // 60, good=0.3)
    control.rollback(world.store, world.agent, world.environment, actor="ann", reason="it is worse")
    wait(world, 31)
    found = answer(world, incident(world)["id"])
    assert found.verdict.answer is Answer.FIXED
    assert found.row["from_us"] > found.seen.runs["at_us"].min()


def test_a_release_that_served_nobody_is_not_watched(world):
    release_id = world.start(POLICY)
    releasing.revert(world.store, release_id, Ending("ann", "changed my mind", by="hand"))
    with pytest.raises(InvalidInput, match="no run in its window"):
        watching.begin(world.store, release_id)
    assert watching.keep_up(world.store) == []
    assert (incident(world)["watch"], watching.due(world.store)) == ("none", ([], []))


def test_an_incident_that_switched_nothing_is_not_watched(world):
    wanted = incidents.Wanted(world.agent, world.environment, "ann", "a customer called")
    opened = incidents.open_by_hand(world.store, wanted)
    with pytest.raises(InvalidInput, match="nothing was switched"):
        watching.begin(world.store, opened.id)


def test_a_live_release_is_not_watched_yet(world):
    with pytest.raises(InvalidInput, match="still live"):
        watching.begin(world.store, world.start(POLICY))


@pytest.mark.parametrize("subject", ["rel_X", "inc_X", "wat_X", "nobody"])
def test_an_unknown_subject_is_named(world, subject):
    with pytest.raises(NotFound, match=subject):
        watching.resolve(world.store, subject, world.environment)


def test_what_arrives_late_counts(world):
    release_id = reverted(world, candidate=0.9)
    for row in world.rows("SELECT id FROM run WHERE arm = 'candidate'"):
        recorder.record_late(world.store, row["id"], {"escalated": True})
    wait(world, 31)
    found = answer(world, release_id)
    escalation = next(s for s in found.verdict.signals if s.name == "escalation")
    assert escalation.level["bad"] == 1.0
    assert found.verdict.answer is Answer.FIXED


def test_a_silent_run_has_failed_and_one_that_may_still_report_is_left_out(world):
    release_id = reverted(world, candidate=0.3)
    wait(world, 20)
    for _ in range(5):
        world.assign()
    world.clock.advance(11 * MINUTE)
    world.assign()
    found = answer(world, release_id)
    errors = next(s for s in found.verdict.signals if s.name == "errors")
    assert errors.n["after"] == 125
    assert errors.level["after"] == pytest.approx(5 / 125)


def test_an_event_that_is_not_tolerated_is_given_as_harm(world):
    release_id = canary(world, candidate=0.9)
    assigned = next(a for a in iter(world.assign, None) if a.decision.arm == "candidate")
    with Run(world.store, assigned) as run:
        run.event("data_leak")
    assert world.row(release_id)["state"] == "reverted"
    world.work(400, every=MINUTE // 12)
    found = answer(world, release_id)
    events = next(s for s in found.verdict.signals if s.name == "events")
    assert (found.seen.given, str(events.word)) == (("events",), "back")


def signals(world, text):
    with world.store.transaction() as txn:
        found = Profile.load(f"agent: support\nsignals:\n  {text}\n")
        profile.store_body(txn, "support", found.to_json(), actor="ann")


def test_a_signal_that_fails_is_told_and_keeps_from_fixed(world):
    signals(world, 'queue: {call: "no_such_module:depth"}')
    release_id = reverted(world, candidate=0.3)
    wait(world, 31)
    found = answer(world, release_id)
    assert found.verdict.answer is Answer.INCONCLUSIVE
    made = watch_report.build(found)
    assert "queue: no_such_module:depth failed: ModuleNotFoundError" in made.markdown


def test_the_report_says_n_of_every_signal_in_each_part(world, tmp_path):
    release_id = reverted(world, candidate=0.3)
    wait(world, 31)
    made = watch_report.write(answer(world, release_id), tmp_path / "watch.md")
    assert made.headline.startswith("FIXED: completion")
    line = next(line for line in made.markdown.splitlines() if line.startswith("| completion"))
    assert line.count("(n ") == 4
    assert (tmp_path / "watch-watch.png").read_bytes()[:4] == b"\x89PNG"
    assert "![before, during and after](watch-watch.png)" in made.markdown
