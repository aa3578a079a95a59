"""Draws of runs and blocks have the moments of what they stand for."""

import numpy as np
import pytest

from evaluators.history import History
from evaluators.planning_harms import Harm
from evaluators.planning_sources import Source, Sums
from evaluators.rules import Guardrail, Kind, Rules, Step

COST = Guardrail("cost", "cost_usd", True, 1.0, None, 0.10, 0, kind=Kind.RATIO, unit="USD")
DONE = Guardrail("completion", "completed", False, 1.0, 0.02, None, 0)
LOST = Guardrail("lost", "lost", True, 1.0, 0.02, None, 0)
RARE = Guardrail("incidents", "incidents", True, 1.0, 0.02, None, 0)


def source(guardrail, history, harm=None):
    return Source(guardrail, Rules(guardrails=(guardrail,), steps=(Step(3000),)), history, 3000, harm)


@pytest.fixture(scope="module")
def history(measured):
    runs = np.arange(8_000)
    return History(measured(8_000, 1).assign(lost=runs % 100 == 0, incidents=runs % 500 == 7))


@pytest.mark.parametrize("times", [5, 400])
def test_sums_have_mean_and_covariance_of_their_rows(times):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(50, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1e-3, 0.0], [0.0, 0.0, 40.0]])
    chance = rng.dirichlet(np.ones(50))
    drawn = Sums(rows, chance).draw(rng, np.full(40_000, times))
    centred = rows - chance @ rows
    spread = np.sqrt(times * (chance @ centred**2))
    assert np.abs(drawn.mean(axis=0) - times * (chance @ rows)).max() < 0.05 * spread.max()
    assert drawn.std(axis=0) == pytest.approx(spread, rel=0.03)
    both = times * chance @ (centred[:, 0] * centred[:, 1])
    assert np.cov(drawn.T)[0, 1] == pytest.approx(both, rel=0.08)


def test_every_block_of_flags_is_enumerated_with_its_chance(history):
    found = source(DONE, history)
    counts, chance = found._every_block()
    assert chance.sum() == pytest.approx(1.0)
    assert (counts[:, 0] + counts[:, 2] == 20).all()
    assert chance @ counts == pytest.approx(20 * (found.chance @ found.counts), abs=1e-5)


def test_arms_of_equal_cost_pull_mantel_haenszel_neither_way(history):
    mean = source(COST, history).blocks.mean
    assert mean[0] > 0.0
    assert mean[0] == pytest.approx(mean[1], rel=1e-9)


def test_a_harm_drifts_up_and_an_equal_candidate_down(history):
    assert source(DONE, history, Harm("completion", "", 0.3)).drift.max() > 0.0
    assert source(DONE, history).drift.max() < 0.0
    assert source(COST, history, Harm("cost", "", 0.5)).drift.max() > 0.0


def test_without_history_a_source_is_unknown():
    assert not source(COST, History()).known
    assert not source(DONE, History()).known


@pytest.mark.parametrize("guardrail", [DONE, COST], ids=["flag", "cost"])
def test_a_proof_of_drawn_runs_has_the_law_of_drawn_blocks(history, guardrail):
    found, rng = source(guardrail, history), np.random.default_rng(4)
    blocks = found.blocks.draw(rng, np.full(4_000, 60))
    counts, sums = found.draw_runs(rng, 1_200, rng.random((4_000, 2)))
    runs = found.proof(rng, 60, np.hstack([counts, sums]))
    assert runs.shape == blocks.shape
    spread = blocks.std(axis=0)
    told = spread > 0.0
    assert np.abs((runs - blocks).mean(axis=0)[told] / spread[told]).max() < 0.12
    assert runs.std(axis=0)[told] == pytest.approx(spread[told], rel=0.12)


def test_what_runs_say_for_harm_they_say_against_the_proof(history):
    found, rng = source(DONE, history), np.random.default_rng(5)
    counts, sums = found.draw_runs(rng, 2_000, rng.random((2_000, 2)))
    gates = found.gates(found.proof(rng, 100, np.hstack([counts, sums])))[:, -1]
    worse = counts[:, 1] / counts[:, 0] - counts[:, 3] / counts[:, 2]
    assert np.corrcoef(gates, worse)[0, 1] < -0.9


def test_guardrails_of_the_same_luck_see_the_same_changed_runs(history):
    rules = Rules(guardrails=(DONE, LOST), steps=(Step(3000),))
    harm, rng = Harm("lost", "", 0.5), np.random.default_rng(6)
    both = [Source(g, rules, history, 3000, harm) for g in (LOST, DONE)]
    luck = rng.random((2_000, 2))
    lost, failed = (found.draw_runs(rng, 400, luck)[0][:, 1] for found in both)
    assert np.corrcoef(lost, failed)[0, 1] > 0.85
    assert (failed >= lost).all()


def test_what_was_lost_before_is_lost_to_each_guardrail_on_both_arms(history):
    rules = Rules(guardrails=(RARE, LOST), steps=(Step(3000),))
    harm, rng, luck = Harm("lost", "", 0.01), np.random.default_rng(7), np.random.default_rng(8)
    both = [Source(g, rules, history, 3000, harm) for g in (LOST, RARE)]
    same = luck.random((2_000, 2))
    lost, rare = (found.draw_runs(rng, 2_000, same)[0] for found in both)
    for bad in (1, 3):  # .2% incidents beside 2% and 1% lost
        assert np.corrcoef(lost[:, bad], rare[:, bad])[0, 1] > 0.8
        assert (rare[:, bad] >= lost[:, bad]).all()
