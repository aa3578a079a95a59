"""Guardrails that history has nothing of are set aside where the policy says so, and nowhere else."""

from dataclasses import replace

import pandas as pd
import pytest

from evaluators import History
from evaluators.absence import judged
from evaluators.rules import Guardrail, Kind, Rules, Step, Waiver, WhenAbsent
from lastgood.errors import InvalidPolicy

DONE = Guardrail("completion", "completed", False, 0.6, 0.02, None, 600)
COST = Guardrail(
    "cost",
    "cost_usd",
    True,
    0.4,
    None,
    0.1,
    600,
    kind=Kind.RATIO,
    unit="USD",
    when_absent=WhenAbsent.SET_ASIDE,
)
RULES = Rules((DONE, COST), (Step(1000),))
SILENT = pd.DataFrame({"completed": [True, False] * 50})


def test_what_no_run_reported_is_set_aside_and_its_weight_shared_out():
    found = judged(RULES, History(SILENT))
    assert [(g.name, g.weight) for g in found.rules.guardrails] == [("completion", 1.0)]
    assert [(a.name, a.why) for a in found.set_aside] == [
        ("cost", "no run of the baseline reported cost_usd")
    ]


def test_what_runs_reported_stays():
    assert judged(RULES, History(SILENT.assign(cost_usd=0.1))).rules == RULES


def test_an_amount_that_was_always_nothing_is_set_aside():
    found = judged(RULES, History(SILENT.assign(cost_usd=0.0)))
    assert "cost_usd was 0 in every run" in found.set_aside[0].why


def test_a_guardrail_that_refuses_stays_for_planning_to_refuse():
    rules = replace(RULES, guardrails=(DONE, replace(COST, when_absent=WhenAbsent.REFUSE)))
    assert judged(rules, History(SILENT)).rules == rules


def test_what_a_referee_fills_is_never_absent():
    flag = Guardrail("polite", "polite", False, 0.4, 0.1, None, 600, when_absent=WhenAbsent.SET_ASIDE)
    rules = replace(RULES, guardrails=(DONE, flag))
    assert judged(rules, History(SILENT), frozenset({"polite"})).rules == rules
    assert judged(rules, History(SILENT)).set_aside[0].name == "polite"


def test_a_waiver_and_a_reference_go_with_their_guardrail():
    rules = replace(
        RULES,
        strata=(("faq", 1.0),),
        waivers=(Waiver("cost", "faq", "cheap", "ann"),),
        references=(("cost", 0.1),),
    )
    rules = replace(rules, references=(("completion", 0.1),))
    found = judged(rules, History(SILENT)).rules
    assert (found.waivers, found.references) == ((), (("completion", 0.1),))


def test_nothing_left_to_judge_by_is_refused():
    rules = replace(RULES, guardrails=(replace(COST, weight=1.0),))
    with pytest.raises(InvalidPolicy, match="nothing is left to judge a release by: cost: no run"):
        judged(rules, History(SILENT))
