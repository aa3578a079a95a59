from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from evaluators.blocks import ALL
from evaluators.history import History
from evaluators.references import ENOUGH_BAD, gates, logit, margin, predicted, upper_rate
from evaluators.rules import Step

LONG = History.from_counts({"completion": (20_000, 1_600), "lost": (20_000, 0), "incidents": (20_000, 20)})


@given(st.integers(1, 3000), st.data())
def test_the_upper_rate_leaves_five_in_a_hundred_below(n, data):
    bad = data.draw(st.integers(0, n - 1))
    assert binom.cdf(bad, n, upper_rate(n, bad)) == pytest.approx(0.05, abs=1e-6)


def test_a_margin_is_the_larger_of_absolute_and_relative_at_the_upper_rate(make_rules):
    rules = make_rules("completion")
    guardrail = rules.guardrails[0]
    p = upper_rate(20_000, 1_600)
    assert margin(guardrail, rules, LONG).null == pytest.approx(logit(p + 0.02) - logit(p))
    assert margin(replace(guardrail, margin_rel=0.5), rules, LONG).delta == pytest.approx(0.5 * p)


def test_an_absolute_margin_on_short_history_is_refused_with_the_way_out(make_rules):
    rules = make_rules("incidents")
    found = margin(rules.guardrails[0], rules, LONG)
    assert found.null is None
    assert "incidents has 20 bad runs of 20000" in found.reason
    assert "reference" in found.reason


def test_a_declared_rate_serves_short_history_and_not_long(make_rules):
    rules = make_rules("incidents", references=(("incidents", 0.01),))
    assert margin(rules.guardrails[0], rules, LONG).reference == 0.01
    longer = History.from_counts({"incidents": (20_000, ENOUGH_BAD)})
    assert margin(rules.guardrails[0], rules, longer).reference == upper_rate(20_000, ENOUGH_BAD)


def test_a_guardrail_without_a_margin_cant_be_proven(make_rules):
    rules = make_rules("completion")
    bare = replace(rules.guardrails[0], margin_abs=None)
    assert margin(bare, rules, LONG).delta is None
    assert "no margin" in margin(bare, rules, LONG).reason


def test_a_margin_past_every_rate_leaves_nothing_to_rule_out(make_rules):
    rules = make_rules("completion")
    high = History.from_counts({"completion": (1_000, 990)})
    assert "nothing to rule out" in margin(rules.guardrails[0], rules, high).reason


def test_an_early_gate_rules_out_its_odds_ratio_and_the_last_the_margin(make_rules):
    rules = make_rules("completion", steps=(Step(500, rule_out=3.0), Step(2500)))
    early, last = gates(rules.guardrails[0], rules, LONG)
    assert early.null == pytest.approx(np.log(3.0))
    assert last.null == margin(rules.guardrails[0], rules, LONG).null


def test_an_early_gate_is_never_stricter_than_the_margin(make_rules):
    rules = make_rules("completion", steps=(Step(500, rule_out=1.1), Step(2500)))
    early, last = gates(rules.guardrails[0], rules, LONG)
    assert early.null == last.null


def test_the_one_sample_test_has_weight_where_hardly_anything_fails(make_rules):
    rules = make_rules("completion", "lost", references=(("lost", 0.001),))
    assert [gates(g, rules, LONG)[-1].rate_weight for g in rules.guardrails] == [0.0, 0.5]
    undeclared = make_rules("lost")
    assert gates(undeclared.guardrails[0], undeclared, LONG)[-1].rate_weight == 1.0


@given(st.integers(0, 500), st.data())
def test_a_predicted_rate_is_never_zero_or_one(n, data):
    bad = data.draw(st.integers(0, n))
    rules = plain_rules()
    weight, rate = predicted(rules.guardrails[0], rules, History.from_counts({"completion": (n, bad)}), ALL)
    assert 0.0 < rate < 1.0
    assert 1.0 <= weight <= rules.history_weight


def test_short_history_weighs_what_it_has(make_rules):
    rules = make_rules("completion")
    at = [
        predicted(rules.guardrails[0], rules, History.from_counts({"completion": (n, 0)}), ALL)[0]
        for n in (0, 50, 5_000)
    ]
    assert at == [2.0, 52.0, 200.0]


def plain_rules():
    from evaluators.rules import Guardrail, Rules

    return Rules((Guardrail("completion", "completed", False, 1.0, 0.02, None, 0),), (Step(1000),))
