"""Worse candidates: each is worse by what its guardrail's margin is made of, and by nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import History
from evaluators.planning_harms import harms
from evaluators.references import margin
from evaluators.rules import Guardrail, Kind, Rules, Step
from evaluators.streams import Population, draw_history
from evaluators.worse import Worsening

COMPLETION = Guardrail("completion", "completed", False, 1.0, 0.02, None, 0)
INCIDENTS = Guardrail("incidents", "incidents", True, 1.0, 0.005, None, 0)
COST = Guardrail("cost", "cost_usd", True, 1.0, None, 0.10, 0, kind=Kind.RATIO, unit="USD")
EDITS = Guardrail("edits", "operator_edits", True, 1.0, None, 0.30, 0, kind=Kind.RATIO, cap=10.0)
CALLS = Guardrail("calls", "operator_edits", True, 1.0, None, 0.50, 0, kind=Kind.COUNT, cap=4.0)
SPEED = Guardrail("speed", "latency_s", False, 1.0, None, 0.25, 0, kind=Kind.COUNT, unit="steps")
TAIL = Guardrail("cost_tail", "cost_usd", True, 1.0, None, 1.0, 0, kind=Kind.QUANTILE, level=0.99)
FAST = Guardrail("fast", "latency_s", False, 1.0, 0.02, None, 0, kind=Kind.QUANTILE, level=0.95)
MARK = Guardrail("judge", "mark", False, 1.0, 0.2, None, 0, kind=Kind.SCORE, lowest=1.0, highest=5.0)
EVERY_KIND = (COMPLETION, INCIDENTS, COST, EDITS, CALLS, SPEED, TAIL, FAST, MARK)


@pytest.fixture(scope="module")
def marked():
    """A population of recorded runs with a judge's marks."""
    rng = np.random.default_rng(2)
    runs = draw_history(rng, Population(), 20_000)
    runs["mark"] = np.clip(rng.normal(4.0, 0.8, len(runs)), 1.0, 5.0)
    return Population.from_frame(runs), History(runs)


@pytest.fixture(scope="module")
def worsening(marked):
    def make(guardrail, population=None):
        rules = Rules((guardrail,), (Step(1000),))
        return Worsening(population or marked[0], rules, marked[1])

    return make


def amount(found, guardrail, candidate):
    """By how much a candidate is worse: a difference, or a factor on a mean."""
    before = found.level(guardrail, found.sample)
    after = found.level(guardrail, found._drawn(candidate))
    return after / before if guardrail.kind in {Kind.RATIO, Kind.COUNT} else after - before


@pytest.mark.parametrize("guardrail", EVERY_KIND, ids=lambda g: g.name)
def test_a_candidate_at_its_margin_is_worse_by_the_margin(worsening, marked, guardrail):
    found = worsening(guardrail)
    (worse,) = found.at_margins()
    final = margin(guardrail, found.rules, marked[1])
    wanted = {Kind.PROPORTION: final.delta, Kind.QUANTILE: final.delta, Kind.SCORE: final.null}.get(
        guardrail.kind, np.exp(final.null or 0.0)
    )
    assert worse.guardrail == guardrail.name
    assert amount(found, guardrail, worse.candidate) == pytest.approx(wanted, rel=0.08)


def test_edits_of_a_population_without_records_move_by_their_capped_mean():
    healthy = Population()
    history = History(draw_history(np.random.default_rng(1), healthy, 20_000))
    found = Worsening(healthy, Rules((EDITS,), (Step(1000),)), history)
    (worse,) = found.at_margins()
    assert amount(found, EDITS, worse.candidate) == pytest.approx(1.3, rel=0.02)
    assert worse.candidate.operator_edits > 1.3 * healthy.operator_edits  # the cap takes some of it


@pytest.mark.parametrize("guardrail", EVERY_KIND, ids=lambda g: g.name)
def test_nothing_else_gets_worse(worsening, guardrail):
    (worse,) = worsening(guardrail).at_margins()
    rng = [np.random.default_rng(4) for _ in range(2)]
    same = draw_history(rng[0], worsening(guardrail).population, 3_000)
    found = draw_history(rng[1], worse.candidate, 3_000)
    changed = {name for name in same if not same[name].equals(found[name])}
    assert guardrail.column in changed
    for name in changed - {guardrail.column}:
        assert found[name].mean() == pytest.approx(same[name].mean(), abs=6 * same[name].std() / 3_000**0.5)


def test_a_lost_run_cant_fail_twice(worsening):
    population = Population(lost=0.2)
    found = worsening(COMPLETION, population)
    (worse,) = found.at_margins()
    assert amount(found, COMPLETION, worse.candidate) == pytest.approx(0.02, rel=0.05)


def test_harms_are_those_that_a_plan_is_made_for(worsening, marked):
    found = worsening(COMPLETION)
    wanted = [harm.name for harm in harms(COMPLETION, found.rules, marked[1])]
    assert [worse.label for worse in found.harmed()] == wanted


def test_a_declared_harm_is_simulated(worsening):
    declared = replace(COST, smallest_harm=0.4)
    found = worsening(declared)
    assert amount(found, declared, found.harmed()[0].candidate) == pytest.approx(1.4, rel=0.01)


def test_a_guardrail_without_a_margin_has_no_candidate_at_it(worsening):
    assert worsening(replace(COMPLETION, margin_abs=None)).at_margins() == ()


def test_words_read_as_people_count():
    history = History(draw_history(np.random.default_rng(1), Population(), 20_000))
    found = Worsening(Population(), Rules((COMPLETION,), (Step(1000),)), history).at_margins()
    assert found[0].words == "91.9% completed -> 89.9% completed"
