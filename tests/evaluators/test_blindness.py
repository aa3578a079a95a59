"""What a release can't see is said."""

from dataclasses import replace

import pandas as pd

from evaluators.absence import SetAside
from evaluators.blindness import blind_spots, hidden
from evaluators.history import History
from evaluators.planning import can_decide
from evaluators.rules import HOUR, Guardrail, Kind, OnHarm, Rules, Step, Undecided, Waiver

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


def read_by_operators(part):
    """A baseline whose operators read so many of its outputs: 2,000 runs, .2 edits each where they read."""
    edits = [(1.0 if n % 5 == 0 else 0.0) if n % 100 < 100 * part else None for n in range(2_000)]
    return History(pd.DataFrame({"completed": True, "operator_edits": edits}))


def test_runs_without_an_amount_hide_a_harm_and_that_is_said_and_refuses_nothing(make_rules):
    edits = Guardrail("edits", "operator_edits", True, 0.1, None, 0.6, 0, kind=Kind.RATIO, cap=10.0)
    done = replace(make_rules("completion").guardrails[0], weight=0.9)
    rules = replace(
        make_rules("completion"), guardrails=(done, edits), references=(("completion", 0.05),),
        on_undecided=Undecided.ASK,
    )  # fmt: skip
    [said] = hidden(rules, read_by_operators(0.78))
    assert said.startswith(
        "edits: 22% of the baseline's runs brought no operator_edits; each counts as the worst"
    )
    assert can_decide(rules, read_by_operators(0.78)) == []
    assert hidden(rules, read_by_operators(1.0)) == hidden(rules, read_by_operators(0.96)) == ()
    short = replace(rules, horizon_runs=10)  # what every run's report would not show either is refused
    assert any("five times worse" in problem for problem in can_decide(short, read_by_operators(1.0)))
