"""Harms and the kinds of runs that they make."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators.history import History
from evaluators.planning_harms import Harm, factor, harms, mix
from evaluators.rules import Guardrail, Kind, Rules, Step
from evaluators.streams import Population, draw_history
from evaluators.worse import Worsening

COST = Guardrail("cost", "cost_usd", True, 1.0, None, 0.10, 0, kind=Kind.RATIO, unit="USD")
MARK = Guardrail("judge", "mark", False, 1.0, 0.2, None, 0, kind=Kind.SCORE, lowest=1.0, highest=5.0)
SLOW = Guardrail("latency", "latency_s", True, 1.0, 0.03, None, 0, kind=Kind.QUANTILE)
DONE = Guardrail("completion", "completed", False, 1.0, 0.02, None, 0)


def rules_of(*guardrails):
    return Rules(guardrails=guardrails, steps=(Step(1000),))


@pytest.fixture(scope="module")
def runs(measured):
    return measured(8_000, 1)


@pytest.fixture(scope="module")
def history(runs):
    return History(runs)


def test_the_usual_harms_of_a_flag_are_a_collapse_a_drop_and_twice_the_margin(history):
    found = harms(DONE, rules_of(DONE), history)
    assert [harm.size for harm in found] == pytest.approx([0.82, 0.276, 0.04], abs=0.01)
    assert not any(harm.declared for harm in found)


def test_a_declared_harm_takes_the_place_of_the_usual_ones(history):
    found = harms(replace(DONE, smallest_harm=0.05), rules_of(DONE), history)
    assert [(harm.size, harm.declared) for harm in found] == [(0.05, True), (0.04, False)]


def test_without_history_and_reference_no_harm_is_planned():
    assert harms(DONE, rules_of(DONE), History()) == ()
    assert mix(DONE, rules_of(DONE), History()) is None


def test_a_harm_beyond_every_run_cant_be(history):
    assert mix(DONE, rules_of(DONE), history, Harm("completion", "", 0.95)) is None


@pytest.mark.parametrize(("guardrail", "column"), [(COST, "cost_usd"), (MARK, "mark")], ids=["cost", "mark"])
def test_a_mix_keeps_mean_and_square_mean_of_history(history, runs, guardrail, column):
    found = mix(guardrail, rules_of(guardrail), history)
    values = found.runs[column].to_numpy()
    assert found.baseline.sum() == pytest.approx(1.0)
    assert found.baseline @ values == pytest.approx(runs[column].mean(), rel=1e-3)
    assert found.baseline @ values**2 == pytest.approx((runs[column] ** 2).mean(), rel=1e-3)


def test_a_harm_moves_the_candidate_alone_and_by_its_size(history, runs):
    for guardrail, size, moved in ((COST, 0.5, runs["cost_usd"].mean() * 0.5), (MARK, 0.4, -0.4)):
        equal = mix(guardrail, rules_of(guardrail), history)
        worse = mix(guardrail, rules_of(guardrail), history, Harm(guardrail.name, "", size))
        values = worse.runs[guardrail.column].to_numpy()
        before = float(equal.candidate @ equal.runs[guardrail.column].to_numpy())
        assert worse.baseline @ values == pytest.approx(before)
        assert worse.candidate @ values - before == pytest.approx(moved)


def test_a_score_s_harm_is_runs_with_the_worst_mark_as_a_simulation_has_them(history):
    equal = mix(MARK, rules_of(MARK), history)
    worse = mix(MARK, rules_of(MARK), history, Harm("judge", "", 0.4))
    marks = worse.runs["mark"].to_numpy()
    assert marks[-1] == MARK.lowest
    assert worse.candidate[-1] == pytest.approx(0.4 / (equal.baseline @ marks - MARK.lowest))
    assert worse.candidate[:-1] == pytest.approx((1.0 - worse.candidate[-1]) * worse.baseline[:-1])
    assert mix(MARK, rules_of(MARK), history, Harm("judge", "", 4.0)) is None


def test_cost_goes_with_whether_the_run_completed(history, runs):
    found = mix(COST, rules_of(COST), history)
    done = found.runs["completed"].to_numpy()
    assert found.baseline @ done == pytest.approx(runs["completed"].mean())
    dear = found.baseline @ (done * found.runs["cost_usd"].to_numpy())
    assert dear == pytest.approx((runs["completed"] * runs["cost_usd"]).mean(), rel=1e-6)


def test_a_quantile_is_past_its_threshold_as_often_as_history_was(history):
    found = mix(SLOW, rules_of(SLOW), history)
    assert found.baseline[0] == pytest.approx(0.05, abs=0.005)
    assert np.ptp(found.runs["latency_s"].to_numpy()) == pytest.approx(1.0)


def test_runs_without_an_amount_are_in_both_arms_of_a_mix_as_often_as_in_history(runs):
    mute = runs.assign(cost_usd=runs["cost_usd"].where(np.arange(len(runs)) % 20 != 0))
    found = mix(COST, rules_of(COST), History(mute), Harm("cost", "", 0.5))
    silent = found.runs["cost_usd"].isna().to_numpy()
    for arm in (found.baseline, found.candidate):
        assert arm.sum() == pytest.approx(1.0)
        assert arm[silent].sum() == pytest.approx(0.05)
    done = silent & (found.runs["completed"] == 1.0).to_numpy()
    assert found.baseline[done].sum() == pytest.approx(
        mute["completed"][mute["cost_usd"].isna()].sum() / 8_000
    )


def test_amounts_grow_until_the_capped_mean_is_worse_by_the_size_as_in_a_simulation():
    edits = Guardrail("edits", "operator_edits", True, 1.0, None, 1.0, 0, kind=Kind.RATIO, cap=10.0)
    people = Population(operator_edits=1.0)
    recorded = draw_history(np.random.default_rng(3), people, 20_000)
    rules, history = rules_of(edits), History(recorded)
    harm = harms(edits, rules, history)[-1]
    found = mix(edits, rules, history, harm)
    capped = np.minimum(np.nan_to_num(found.runs["operator_edits"].to_numpy(), nan=10.0), 10.0)
    moved = float(capped @ found.candidate) / float(capped @ found.baseline)
    assert harm.size > 1.0
    assert moved == pytest.approx(1.0 + harm.size, rel=0.01)
    worsening = Worsening(Population.from_frame(recorded), rules, history)
    drawn = worsening.harmed()[-1].candidate.operator_edits / worsening.population.operator_edits
    values = recorded["operator_edits"].to_numpy()
    planned = factor(edits, harm.size, values, np.full(len(values), 1.0 / len(values)))
    assert planned == pytest.approx(drawn, rel=0.03)
    assert planned > 1.2 * (1.0 + harm.size)
