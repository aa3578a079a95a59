"""What a harm to one guardrail does to the others, beside the runs of a simulation's candidate."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators.history import History
from evaluators.planning_harms import Harm, mix
from evaluators.planning_spills import seen
from evaluators.rules import Guardrail, Kind, Rules, Step
from evaluators.streams import Population, draw_history
from evaluators.worse import Worsening

DONE = Guardrail("completion", "completed", False, 0.3, 0.02, None, 0)
LOST = Guardrail("lost", "lost", True, 0.1, 0.02, None, 0)
INFRA = Guardrail("infra", "infra_failure", True, 0.1, 0.02, None, 0)
COST = Guardrail("cost", "cost_usd", True, 0.2, None, 0.10, 0, kind=Kind.RATIO)
SLOW = Guardrail("latency", "latency_s", True, 0.1, 0.03, None, 0, kind=Kind.QUANTILE)
TAIL = Guardrail("cost_tail", "cost_usd", True, 0.2, None, 1.0, 0, kind=Kind.QUANTILE, level=0.99)
RULES = Rules(guardrails=(DONE, LOST, INFRA, COST, SLOW, TAIL), steps=(Step(1000),))
BASE = replace(Population(), lost=0.05)


@pytest.fixture(scope="module")
def history():
    return History(draw_history(np.random.default_rng(1), BASE, 40_000))


@pytest.fixture(scope="module")
def worsening(history):
    return Worsening(BASE, RULES, history)


@pytest.mark.parametrize("guardrail", [DONE, SLOW, TAIL], ids=lambda g: g.name)
def test_lost_runs_fail_every_flag_and_quantile_as_a_simulation_s_do(history, worsening, guardrail):
    worse = worsening.of(LOST, 0.10, "more").candidate
    found = seen(guardrail, RULES, history, Harm("lost", "", 0.10))
    equal = mix(guardrail, RULES, history)
    wanted = worsening.level(guardrail, worsening._drawn(worse)) - worsening.level(
        guardrail, worsening.sample
    )
    assert found.candidate.sum() == pytest.approx(1.0)
    assert found.changed.sum() == pytest.approx(0.15, abs=0.005)  # the lost ones of before too
    assert found.alike.sum() == pytest.approx(0.05, abs=0.005)
    assert found.candidate[[0, -1]].sum() - equal.candidate[0] == pytest.approx(wanted, abs=0.002)
    assert found.baseline[:-1] == pytest.approx(equal.baseline)


def test_a_lost_run_brings_no_amount_and_no_success(history):
    found = seen(COST, RULES, history, Harm("lost", "", 0.10))
    silent = found.runs["cost_usd"].isna().to_numpy() & (found.runs["completed"] == 0.0).to_numpy()
    assert found.baseline[silent].sum() == pytest.approx(0.05, abs=0.005)
    assert found.candidate[silent].sum() == pytest.approx(0.15, abs=0.005)
    assert (found.changed <= found.candidate + 1e-12).all()


def test_other_harms_leave_other_guardrails_as_they_are(history):
    assert seen(INFRA, RULES, history, Harm("lost", "", 0.10)) is None
    assert seen(COST, RULES, history, Harm("completion", "", 0.10)) is None
    assert seen(LOST, RULES, history, Harm("completion", "", 0.10)) is None
    assert seen(SLOW, RULES, history, Harm("cost", "", 0.5)) is None
    assert seen(DONE, RULES, History(), Harm("lost", "", 0.10)) is None


def test_dearer_runs_are_past_the_tail_s_threshold_as_often_as_a_simulation_s(history, worsening):
    worse = worsening.of(COST, 1.5, "dearer").candidate
    found = seen(TAIL, RULES, history, Harm("cost", "", 0.5))
    assert found.candidate[0] == pytest.approx(worsening.level(TAIL, worsening._drawn(worse)), abs=0.003)
    assert found.changed.sum() == pytest.approx(0.95, abs=0.01)  # each run that brought an amount


def test_runs_past_the_tail_s_threshold_cost_as_much_as_a_simulation_s(history, worsening):
    worse = worsening.of(TAIL, 0.03, "longer tail").candidate
    found = seen(COST, RULES, history, Harm("cost_tail", "", 0.03))
    values = found.runs["cost_usd"].to_numpy()
    known = ~np.isnan(values)
    line = history.measures["cost_usd"].quantile(0.99)
    capped = np.minimum(values[known], line)
    drawn = [runs["cost_usd"].clip(upper=line).mean() for runs in (worsening._drawn(worse), worsening.sample)]
    more = (found.candidate - found.baseline)[known] @ capped / found.baseline[known].sum()
    assert more == pytest.approx(drawn[0] - drawn[1], rel=0.05)
    assert 0.03 < found.changed.sum() < 0.04  # and the dearest but half, which are moved up to the middle


def test_the_changed_runs_are_a_part_of_the_candidate_s(history):
    for harm in (
        Harm("lost", "", 0.1),
        Harm("cost", "", 0.5),
        Harm("cost_tail", "", 0.05),
        Harm("completion", "", 0.2),
    ):
        for guardrail in RULES.guardrails:
            found = seen(guardrail, RULES, history, harm)
            if found is not None:
                assert found.candidate.sum() == pytest.approx(1.0)
                assert (found.changed <= found.candidate + 1e-12).all()
