"""What a release can't see is said."""

from evaluators.absence import SetAside
from evaluators.blindness import blind_spots
from evaluators.rules import HOUR, Guardrail, OnHarm, Rules, Step, Waiver

DONE = Guardrail("completion", "completed", False, 0.5, 0.02, None, HOUR)
VALID = Guardrail("validation", "validated", False, 0.5, 0.02, None, HOUR)
INCIDENTS = Guardrail("incidents", "incidents", True, 0.5, 0.02, None, 3 * HOUR)


def spots(*guardrails, aside=(), refereed=()):
    return blind_spots(Rules(guardrails, (Step(1000),)), aside, refereed)


def test_nobody_who_checks_answers_is_the_first_thing_said():
    assert spots(DONE, aside=[SetAside("cost", "why")])[0].startswith("nobody checks what runs answer")


def test_a_validator_without_a_referee_is_said():
    assert spots(DONE, VALID) == (
        "no referee: a wrong answer that passes the agent's own validator counts as right",
    )


def test_a_referee_sees_what_a_validator_does_not():
    assert spots(DONE, refereed=["polite"]) == ()


def test_what_comes_late_and_what_is_set_aside_is_named():
    found = spots(VALID, INCIDENTS, aside=[SetAside("cost", "no run reported it")], refereed=["polite"])
    assert found == (
        "cost is not watched: no run reported it",
        "incidents: what is reported later than 3 h after a run's start changes no verdict",
    )


def test_trades_and_slices_that_revert_nothing_are_said():
    waiver = Waiver("completion", "faq", "the old parser guessed", "ann")
    strata = (("faq", 0.4), ("chat", 0.3), ("mail", 0.3))
    on_harm = (("chat", OnHarm.HOLD), ("mail", OnHarm.REPORT), ("faq", OnHarm.REVERT))
    rules = Rules((DONE, VALID), (Step(1000),), strata=strata, on_harm=on_harm, waivers=(waiver,))
    assert blind_spots(rules, (), ["polite"]) == (
        "completion in slice faq may get worse: the old parser guessed (accepted by ann)",
        "harm in slice chat that the other runs do not show holds the release and reverts nothing",
        "harm in slice mail that the other runs do not show is only reported",
    )
