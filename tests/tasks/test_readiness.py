"""The seven questions, checked on a store; switching back is drilled for real."""

import json

import pytest

from config.policy import Policy
from config.profile import Profile
from evaluators.readiness import Question
from lastgood import incidents, profile, registry
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.errors import Refused
from lastgood.release import Terms
from lastgood.running import Run
from tasks import drill, driving, preflight, readiness, report

MINUTE = 60_000_000
REFUND = [
    {"name": "refund", "kind": "refund", "undo": "charge_again"},
    {"name": "charge_again", "kind": "charge"},
]
WIDE = """
name: wide
lost_after: 1 min
guardrails: {completion: {margin: 20 points}}
steps: [{share: 60%}]
"""


def undo_refund(undo):
    """A handler that can be imported."""


def bundle(tools, text="tools"):
    parts = [Part.of_value(kind, "1", text) for kind in KINDS if kind != "tools"]
    return Bundle([*parts, Part.of_value("tools", "1", tools)])


def answers(world, candidate=None, text=WIDE):
    found = readiness.check(world.store, world.agent, world.environment, Policy.load(text), candidate)
    return {answer.question: answer for answer in found.answers}


def undo(world, handler):
    found = Profile.load(f"agent: support\nundo: {{charge_again: '{handler}'}}\n")
    with world.store.transaction() as txn:
        profile.store_body(txn, "support", found.to_json(), actor="ann")


def test_an_agent_without_actions_that_serves_is_ready(world):
    found = answers(world)
    assert {str(q): a.evidence for q, a in found.items() if not a.yes} == {}
    assert "the newest 300 runs are tied to 1 bundle," in found[Question.BUNDLE].evidence


def test_an_agent_that_never_ran_is_told_so(quiet_world):
    assert answers(quiet_world)[Question.BUNDLE].evidence == "no run is recorded yet"


def test_a_bundle_that_was_edited_is_named(world):
    first = world.bundle("an older one")
    world.tamper("UPDATE run SET bundle_id = ? WHERE seq = 5", first)
    world.tamper("UPDATE bundle SET author = 'eve' WHERE id = ?", first)
    found = answers(world)[Question.BUNDLE]
    assert not found.yes
    assert f"1 of the newest 300 runs: what stands beside bundle b-{first[:8]}" in found.evidence


def test_switching_back_is_drilled_and_the_live_point_is_not_touched(world):
    before = world.dump()
    found = answers(world)[Question.BACK]
    assert found.yes
    assert " 0 after one step that took " in found.evidence
    assert world.dump() == before


def test_a_drill_that_can_not_be_made_says_why(world, monkeypatch):
    monkeypatch.setattr(drill, "_done", {})
    monkeypatch.setattr(drill.control, "rollback", _refuses)
    found = answers(world)[Question.BACK]
    assert (found.yes, found.evidence) == (False, "the drill failed: not today")


def _refuses(*_args, **_named):
    raise Refused("not today")


def test_a_switch_that_leaves_units_on_the_candidate_is_no_yes(world, monkeypatch):
    monkeypatch.setattr(drill, "_done", {})
    monkeypatch.setattr(drill.control, "rollback", lambda *_args, **_named: None)
    found = answers(world)[Question.BACK]
    assert not found.yes


def test_a_drill_of_risky_tools_and_other_runtimes_is_made_too():
    old, new = bundle([{"name": "refund", "kind": "refund", "risk": "high"}]), bundle(REFUND)
    assert drill.drill("support", old, new, Terms()).well


def test_new_actions_of_the_candidate_are_named(world):
    found = answers(world, bundle(REFUND))[Question.ACTIONS]
    assert (found.yes, found.evidence) == (
        True,
        "declared: charge, refund; new in the candidate: charge, refund",
    )


def test_an_action_that_was_made_and_never_declared_is_named(world):
    with Run(world.store, world.assign()) as run, run.action("message", "customer-1"):
        pass
    found = answers(world)[Question.ACTIONS]
    assert (found.yes, found.evidence) == (False, "made and not declared: message")


def test_a_policy_without_triggers_has_no_thresholds(world):
    found = answers(world, text=WIDE + "triggers: {zero_tolerance: []}\n")[Question.THRESHOLDS]
    assert (found.yes, found.evidence) == (False, "the policy has no trigger")
    assert "data_leak" in answers(world)[Question.THRESHOLDS].evidence


def test_outputs_that_are_not_kept_can_not_be_isolated(world):
    assert not answers(world, text=WIDE + "records: {keep: none}\n")[Question.OUTPUTS].yes


def test_every_kind_of_action_needs_a_handler_that_can_be_called(world):
    candidate = bundle(REFUND)
    assert "refund: no handler for charge_again or refund" in (
        answers(world, candidate)[Question.UNDO].evidence
    )
    undo(world, "no_such_module:undo")
    assert "no_such_module:undo can't be imported" in answers(world, candidate)[Question.UNDO].evidence
    undo(world, f"{__name__}:undo_refund")
    found = answers(world, candidate)[Question.UNDO]
    assert (found.yes, found.evidence) == (True, "every handler can be called: refund")


def test_an_action_that_nothing_undoes_is_named(world):
    candidate = bundle([{"name": "send", "kind": "message"}])
    found = answers(world, candidate)[Question.UNDO]
    assert (found.yes, found.evidence) == (
        False,
        "message: nothing is declared that undoes a message: declare `undo` in the tools part",
    )


def test_an_open_incident_without_a_case_is_a_no(world):
    wanted = incidents.Wanted(world.agent, world.environment, "ann", "a customer called")
    opened = incidents.open_by_hand(world.store, wanted)
    found = answers(world)[Question.TESTS]
    assert (found.yes, found.evidence) == (False, f"open without a case: {opened.id}")
    incidents.close(world.store, opened.id, actor="ann", reason="it was a misunderstanding")
    assert answers(world)[Question.TESTS].yes


# -- what it does to a release


def start(world, tools, text=WIDE):
    candidate, _ = registry.register(world.store, world.agent, bundle(tools), author="ann")
    return world.start(text, candidate=candidate.bundle.id)


def test_what_is_missing_bounds_the_share_of_the_canary(world):
    release_id = start(world, REFUND)
    driver = driving.begin(world.store, release_id, "me")
    world.until(driver, "compare")
    assert world.point()["share_bp"] == 2_500
    assert json.loads(world.row(release_id)["readiness"])["share_bp"] == 2_500


def test_a_release_that_is_ready_ramps_as_its_policy_says(world):
    release_id = world.start(WIDE)
    world.until(driving.begin(world.store, release_id, "me"), "compare")
    assert world.point()["share_bp"] == 6_000


def test_a_policy_may_refuse_who_is_not_ready(world):
    with pytest.raises(Refused, match=r"is there a compensation for every kind of action\? no: refund"):
        start(world, REFUND, WIDE + "readiness: {five_or_six: refuse}\n")
    assert world.rows("SELECT * FROM release") == []


def test_it_stands_in_the_report(world):
    release_id = start(world, REFUND)
    text = report.build(world.store, release_id).markdown
    assert "## Readiness\n\n6 of 7 answered with yes: a share of 25% at most." in text
    assert "| does one step switch back? | yes | drilled on a shadow control point" in text


def test_preflight_asks_all_seven(world):
    world.policy(WIDE)
    made = preflight.check(world.store, world.wanted(policy="wide"))
    assert len(json.loads(made.readiness)["answers"]) == len(Question)
