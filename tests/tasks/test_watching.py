"""The watch after a revert or a promotion, on a store whose runs are planted and whose clock is moved."""

from evaluators.watched import Answer
from lastgood import releasing
from lastgood.releasing import Ending
from tasks import driving, watching

MINUTE = 60_000_000
POLICY = """
name: watched
lost_after: 1 min
guardrails: {completion: {margin: 20 points, matures: 5 min}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 30%}]
watch: {time: 30 min, enough: 1000}
"""


def canary(world, **work):
    """A release that served its candidate to 30% of 150 runs."""
    release_id = world.start(POLICY)
    world.until(driving.begin(world.store, release_id, "me"), "compare")
    world.work(150, every=MINUTE // 60, **work)
    return release_id


def reverted(world, **work):
    release_id = canary(world, **work)
    releasing.revert(world.store, release_id, Ending("ann", "it looks worse", by="hand"))
    return release_id


def wait(world, minutes, **work):
    world.work(minutes * 6, every=MINUTE // 6, **work)


def answer(world, subject):
    return watching.look(world.store, watching.begin(world.store, subject))


def test_a_bundle_at_fault_is_fixed_by_leaving_it(world):
    release_id = reverted(world, candidate=0.3)
    wait(world, 31)
    found = answer(world, release_id)
    assert (found.verdict.answer, found.stage) == (Answer.FIXED, "fast")


def test_a_provider_at_fault_is_elsewhere(world):
    release_id = reverted(world, candidate=0.3, good=0.3)
    wait(world, 31, good=0.3)
    found = answer(world, release_id)
    assert found.verdict.answer is Answer.ELSEWHERE
    assert {hint.kind for hint in found.verdict.hints} >= {"still"}
