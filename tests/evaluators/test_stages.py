"""The stage machine, over all standings and verdicts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.rules import HOUR, Gate, Guardrail, Mode, Rules, Step, Undecided
from evaluators.stages import LOOKING, TRANSITIONS, Asked, Move, Standing, next_transition
from evaluators.verdict import Decision, GuardrailVerdict, Verdict, Word
from lastgood.release import ReleaseState as State

DRAWING = Path(__file__).parents[2] / "docs" / "states.md"
STEPS = (Step(500, 20, HOUR, 3.0), Step(2500, 50, HOUR, 2.0), Step(5000, 100, 2 * HOUR))
RULES = Rules(
    guardrails=(Guardrail("completion", "completed", False, 1.0, 0.02, None, 0),),
    steps=STEPS,
    horizon_runs=1_000,
    horizon_us=100 * HOUR,
)
#: edges that a person or a trigger makes, not the machine: a promotion by hand, a revert by hand
BY_MACHINE = {State.COMPARE, State.AWAITING, State.ASKING}
BY_HAND = {edge for edge in TRANSITIONS if edge[1] is Move.PROMOTE and edge[0] not in BY_MACHINE}
LIVE = [state for state in State if state.live]
NEVER = {Move.PROMOTE, Move.RAMP}
SERVING = {State.CANARY, State.CAP, State.COMPARE, State.AWAITING}
#: a policy that wants a person before everything
ASK_ALL = replace(RULES, approve=frozenset(Gate))
OPEN = Asked(HOUR)
LATE = Asked(0)
YES = Asked(-HOUR, "promote", "ana", "looks good")
NO = Asked(HOUR, "revert", "ana", "looks bad")
FROZEN = "a freeze until Monday"


WORSE = GuardrailVerdict(
    "completion", Word.FAIL, 5.0, -3.0, False, 20.0, 5.0, 40.0, 0.1, 0.3, 100, 30, 900, 90, 2.0, "worse", ()
)


def verdict(decision=Decision.HOLD, *, gates=(False, False, False), valid=True, runs=100, **changes):
    fields = {
        "decision": decision,
        "culprits": (),
        "guardrails": (WORSE,),
        "log_family": 0.0,
        "log_line": 3.0,
        "gates": gates,
        "valid": valid,
        "invalid_reason": "" if valid else "the arms' counts do not fit",
        "assigned": 10 * runs,
        "candidate_runs": runs,
    }
    return Verdict(**{**fields, **changes})


def standing(state=State.COMPARE, step=0, **changes):
    fields = {
        "state": state,
        "step": step,
        "share_bp": STEPS[step].share_bp if state in SERVING else 0,
        "age_us": 10 * HOUR,
        "step_age_us": 3 * HOUR,
        "step_runs": 200,
        "lease_left_us": HOUR,
    }
    return Standing(**{**fields, **changes})


PROVEN = verdict(Decision.PROMOTE, gates=(True, True, True))
HARM = verdict(Decision.REVERT, culprits=("completion",))

times = st.sampled_from([-HOUR, 0, 1, HOUR - 1, HOUR, 2 * HOUR, 99 * HOUR, 100 * HOUR, 1000 * HOUR])
standings = st.builds(
    Standing,
    state=st.sampled_from(LIVE),
    step=st.integers(0, 2),
    share_bp=st.sampled_from([0, 500, 2500, 5000]),
    age_us=times,
    step_age_us=times,
    step_runs=st.sampled_from([0, 19, 20, 49, 50, 99, 100, 5_000]),
    lease_left_us=times,
    invalid_us=st.none() | times,
    killed=st.booleans(),
    asked=st.sampled_from([None, OPEN, LATE, YES, NO]),
    frozen=st.sampled_from(["", FROZEN]),
)
verdicts = st.none() | st.builds(
    verdict,
    st.sampled_from(Decision),
    gates=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    valid=st.booleans(),
    runs=st.sampled_from([0, 10, 999, 1_000, 50_000]),
)
policies = st.builds(
    lambda mode, undecided, gates: replace(RULES, mode=mode, on_undecided=undecided, approve=gates),
    st.sampled_from(Mode),
    st.sampled_from(Undecided),
    st.frozensets(st.sampled_from(Gate)),
)


@given(standings, verdicts, policies)
def test_every_result_is_an_edge_of_the_machine(now, seen, rules):
    found = next_transition(now, seen, rules)
    assert (now.state, found.move, found.to) in TRANSITIONS
    assert found.reason


@given(standings, verdicts, policies)
def test_the_share_is_that_of_the_step_or_none_or_unchanged(now, seen, rules):
    found = next_transition(now, seen, rules)
    assert found.share_bp in {0, now.share_bp, STEPS[found.step].share_bp}
    if found.to in {State.LAPSED, State.ASKING, State.REVERTED} and found.move is not Move.HOLD:
        assert found.share_bp == 0


@given(standings, verdicts, policies)
def test_no_step_is_skipped(now, seen, rules):
    found = next_transition(now, seen, rules)
    opened = found.move is Move.OPEN
    assert found.step == (0 if opened else now.step + (found.move is Move.RAMP))


@given(standings, verdicts, policies)
def test_a_gate_opens_only_by_proof_at_a_served_share(now, seen, rules):
    found = next_transition(now, seen, rules)
    if found.move not in NEVER or now.state in {State.AWAITING, State.ASKING}:
        return
    step = STEPS[now.step]
    assert seen is not None
    assert seen.valid
    assert seen.gates[now.step] or seen.decision is Decision.PROMOTE
    assert now.step_runs >= step.min_runs
    assert now.step_age_us >= step.min_time_us
    assert now.state is State.COMPARE
    assert now.share_bp > 0
    assert now.lease_left_us > 0
    assert not now.killed
    assert rules.mode is Mode.ACT
    assert not now.frozen
    assert (Gate.PROMOTE if now.step == len(STEPS) - 1 else Gate.STEP) not in rules.approve
    assert (found.move is Move.PROMOTE) == (now.step == len(STEPS) - 1)


@given(standings, policies)
def test_an_absent_verdict_opens_nothing(now, rules):
    found = next_transition(now, None, rules)
    allowed = {Move.OPEN, Move.ARM, Move.COMPARE, Move.HOLD, Move.LAPSE, Move.ASK, Move.AWAIT, Move.REVERT}
    assert found.move in allowed


@given(standings, policies)
def test_proven_harm_wins_over_everything(now, rules):
    found = next_transition(now, HARM, replace(rules, mode=Mode.ACT))
    assert found.move is Move.REVERT
    assert found.by == "evidence"
    assert found.culprits == ("completion",)


@given(standings, verdicts, policies)
def test_advice_never_moves_by_evidence(now, seen, rules):
    found = next_transition(now, seen, replace(rules, mode=Mode.ADVISE))
    start = {Move.AWAIT, Move.REVERT} if now.at_start and Gate.START in rules.approve else set()
    assert found.move in {Move.OPEN, Move.ARM, Move.COMPARE, Move.HOLD, Move.REOPEN, Move.LAPSE} | start
    if found.advice is not None:
        assert found.move is Move.HOLD
        assert found.advice not in {Move.HOLD, Move.REOPEN}


@given(standings, verdicts, policies)
def test_a_lapsed_lease_never_stays_served(now, seen, rules):
    found = next_transition(now, seen, rules)
    if now.state in SERVING and now.share_bp and now.lease_left_us <= 0:
        assert found.move in {Move.LAPSE, Move.REVERT}
        assert found.share_bp == 0


@given(standings, verdicts)
def test_undecided_at_the_horizon_ends_as_the_policy_says(now, seen):
    now = replace(now, state=State.COMPARE, lease_left_us=HOUR, age_us=RULES.horizon_us, frozen="")
    found = next_transition(now, seen, RULES)
    asked = next_transition(now, seen, replace(RULES, on_undecided=Undecided.ASK))
    assert found.move in {Move.REVERT, Move.PROMOTE}
    if found.by == "undecided":
        assert (asked.move, asked.to, asked.share_bp) == (Move.ASK, State.ASKING, 0)


EDGES = [
    (standing(State.OPENED), None, RULES, Move.OPEN),
    (standing(State.CANARY), None, RULES, Move.ARM),
    (standing(State.CAP), None, RULES, Move.COMPARE),
    (standing(), verdict(), RULES, Move.HOLD),
    (standing(), None, RULES, Move.HOLD),
    (standing(), verdict(gates=(True, False, False)), RULES, Move.RAMP),
    (standing(step=2), PROVEN, RULES, Move.PROMOTE),
    (standing(invalid_us=HOUR), verdict(valid=False), RULES, Move.PAUSE),
    (standing(share_bp=0), verdict(), RULES, Move.REOPEN),
    (standing(age_us=100 * HOUR), verdict(), replace(RULES, on_undecided=Undecided.ASK), Move.ASK),
    (standing(State.CANARY, lease_left_us=0), None, RULES, Move.LAPSE),
    (standing(State.CAP, lease_left_us=0), None, RULES, Move.LAPSE),
    (standing(State.COMPARE, lease_left_us=0), PROVEN, RULES, Move.LAPSE),
    (standing(State.LAPSED), None, RULES, Move.HOLD),
    (standing(State.LAPSED), verdict(), RULES, Move.REOPEN),
    (standing(State.LAPSED, age_us=100 * HOUR), None, replace(RULES, on_undecided=Undecided.ASK), Move.ASK),
    (standing(State.ASKING, asked=OPEN), verdict(), RULES, Move.HOLD),
    (standing(State.OPENED), None, ASK_ALL, Move.AWAIT),
    (standing(State.OPENED, frozen=FROZEN), None, RULES, Move.HOLD),
    (standing(State.AWAITING, share_bp=0, asked=YES), None, ASK_ALL, Move.OPEN),
    (standing(State.AWAITING, share_bp=0, asked=OPEN), None, ASK_ALL, Move.HOLD),
    (standing(), verdict(gates=(True, False, False)), ASK_ALL, Move.AWAIT),
    (standing(State.AWAITING, asked=YES), verdict(), ASK_ALL, Move.RAMP),
    (standing(State.AWAITING, step=2, asked=YES), PROVEN, ASK_ALL, Move.PROMOTE),
    (standing(State.AWAITING, asked=OPEN, invalid_us=HOUR), verdict(valid=False), ASK_ALL, Move.PAUSE),
    (standing(State.AWAITING, asked=OPEN, lease_left_us=0), None, ASK_ALL, Move.LAPSE),
    (standing(State.ASKING, asked=YES), verdict(), RULES, Move.PROMOTE),
    *((standing(state), HARM, RULES, Move.REVERT) for state in LIVE),
]


@pytest.mark.parametrize(("now", "seen", "rules", "move"), EDGES)
def test_each_edge_is_reached(now, seen, rules, move):
    assert next_transition(now, seen, rules).move is move


def test_the_cases_reach_every_edge_that_the_machine_makes():
    results = [(now.state, next_transition(now, seen, rules)) for now, seen, rules, _ in EDGES]
    made = {(start, found.move, found.to) for start, found in results}
    assert made == TRANSITIONS - BY_HAND
    assert len(made) == 33


def test_no_edge_leaves_an_end():
    assert not {edge for edge in TRANSITIONS if not edge[0].live}


@pytest.mark.parametrize(
    ("short", "why"),
    [
        ({"step_runs": 99}, "99 of at least 100 candidate runs of this step are scored"),
        ({"step_age_us": HOUR}, "this step lasts another 60 min at least"),
        ({"killed": True}, "the kill switch is on: no candidate run starts"),
    ],
)
def test_a_hold_says_what_it_waits_for(short, why):
    found = next_transition(standing(step=2, **short), PROVEN, RULES)
    assert (found.move, found.reason) == (Move.HOLD, why)


def test_what_a_person_could_vouch_on_is_said_at_the_horizon():
    open_ = replace(WORSE, word=Word.UNDECIDED)
    passed = replace(WORSE, name="lost", word=Word.PASS)
    found = next_transition(standing(age_us=200 * HOUR), verdict(guardrails=(open_, passed)), RULES)
    assert found.reason.endswith("days; proven so far, at most this much worse: completion +40 points")


def test_a_short_spell_of_invalid_evidence_keeps_the_share():
    found = next_transition(standing(invalid_us=HOUR // 4), verdict(valid=False), RULES)
    assert (found.move, found.share_bp) == (Move.HOLD, 500)


def test_a_paused_release_whose_proof_is_there_serves_again_before_it_is_promoted():
    found = next_transition(standing(step=2, share_bp=0), PROVEN, RULES)
    assert (found.move, found.share_bp) == (Move.REOPEN, 5000)


def test_an_asking_release_is_not_promoted_by_evidence():
    assert next_transition(standing(State.ASKING, step=2, asked=OPEN), PROVEN, RULES).move is Move.HOLD


WAITING = [
    standing(State.ASKING, step=2),
    standing(State.AWAITING, step=2),
    standing(State.AWAITING, share_bp=0),
]


@pytest.mark.parametrize("now", WAITING)
@pytest.mark.parametrize("seen", [None, PROVEN, verdict(valid=False)])
def test_what_nobody_decides_in_time_is_reverted(now, seen):
    found = next_transition(replace(now, asked=LATE), seen, ASK_ALL)
    assert (found.move, found.by, found.reason) == (Move.REVERT, "undecided", "nobody decided in time")


@pytest.mark.parametrize("now", WAITING)
def test_a_no_reverts_by_hand(now):
    found = next_transition(replace(now, asked=NO), PROVEN, ASK_ALL)
    assert (found.move, found.by, found.reason) == (Move.REVERT, "hand", "ana: looks bad")


@pytest.mark.parametrize("now", WAITING)
@pytest.mark.parametrize("held", [{"killed": True}, {"frozen": FROZEN}, {"asked": OPEN}])
def test_a_yes_waits_for_the_kill_switch_and_the_end_of_a_freeze(now, held):
    found = next_transition(replace(now, **{"asked": YES, **held}), PROVEN, ASK_ALL)
    assert found.move is Move.HOLD


@pytest.mark.parametrize("seen", [None, verdict(valid=False)])
def test_a_yes_to_evidence_waits_for_a_valid_look(seen):
    assert next_transition(standing(State.AWAITING, step=2, asked=YES), seen, ASK_ALL).move is Move.HOLD


def test_a_yes_at_the_horizon_is_a_persons_and_not_the_evidences():
    asked = next_transition(standing(State.ASKING, step=2, asked=YES), verdict(), RULES)
    proven = next_transition(standing(State.AWAITING, step=2, asked=YES), PROVEN, RULES)
    assert (asked.by, proven.by) == ("hand", "evidence")
    assert asked.reason == "undecided by evidence, approved by ana: looks good"
    assert proven.reason.endswith(", approved by ana: looks good")


def test_a_release_that_waits_for_a_person_outlasts_the_horizon():
    now = standing(State.AWAITING, step=2, asked=OPEN, age_us=1_000 * HOUR)
    assert next_transition(now, PROVEN, ASK_ALL).move is Move.HOLD


@given(standings, verdicts, policies)
def test_nothing_goes_forward_in_a_freeze(now, seen, rules):
    found = next_transition(replace(now, frozen=FROZEN), seen, rules)
    assert found.move not in {Move.OPEN, Move.RAMP, Move.REOPEN, Move.PROMOTE}
    assert found.move is Move.REVERT or found.share_bp <= now.share_bp


def test_a_hold_in_a_freeze_says_until_when():
    found = next_transition(standing(step=2, frozen=FROZEN), PROVEN, RULES)
    assert found.reason == "the gate is open; a freeze until Monday: it goes on after it"


def test_an_approval_is_asked_for_in_a_freeze_already():
    found = next_transition(standing(step=2, frozen=FROZEN), PROVEN, ASK_ALL)
    assert (found.move, found.share_bp) == (Move.AWAIT, 5000)


def test_a_promotion_at_the_horizon_still_counts():
    found = next_transition(standing(step=2, age_us=100 * HOUR), PROVEN, RULES)
    assert found.move is Move.PROMOTE


def test_the_evidence_for_the_end_also_opens_an_earlier_gate():
    found = next_transition(standing(), PROVEN, RULES)
    assert (found.move, found.step, found.share_bp) == (Move.RAMP, 1, 2500)


def test_the_advice_is_named():
    found = next_transition(standing(), HARM, replace(RULES, mode=Mode.ADVISE))
    assert (found.move, found.advice) == (Move.HOLD, Move.REVERT)
    assert found.reason == (
        "advice: revert (completion is worse (30 bad of 100 candidate runs, 90 of 900 baseline runs))"
    )


def test_the_states_that_need_a_look_are_those_that_evidence_moves():
    by_evidence = {start for start, move, _ in TRANSITIONS if move in {Move.RAMP, Move.REOPEN, Move.HOLD}}
    assert by_evidence - {State.OPENED} == LOOKING


def drawn() -> set[tuple[str, str, str]]:
    lines = DRAWING.read_text("utf-8").partition("```mermaid")[2].partition("```")[0].splitlines()
    found = (re.fullmatch(r"\s*(\w+) --> (\w+): (.+)", line) for line in lines)
    return {(m[1], move, m[2]) for m in found if m for move in m[3].split(", ")}


def test_the_drawing_is_the_machine():
    assert drawn() == {(str(start), str(move), str(end)) for start, move, end in TRANSITIONS}


def test_the_drawing_shows_where_a_release_begins_and_ends():
    text = DRAWING.read_text("utf-8")
    assert re.findall(r"\[\*\] --> (\w+)", text) == [State.OPENED]
    assert set(re.findall(r"(\w+) --> \[\*\]", text)) == {state for state in State if not state.live}


def test_the_text_explains_every_move_and_state():
    text = DRAWING.read_text("utf-8")
    explained = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert explained == {*map(str, State), *map(str, Move)}
