"""Streams: what is drawn has the rates that were asked for, and fits the comparison."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluators import Comparison, History
from evaluators.streams import FLAGS, Population, draw, draw_history
from lastgood.errors import InvalidEvidence

N = 40_000
HEALTHY = Population()


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def recorded():
    """400 runs in which a failed run cost three times as much, some outcomes are missing, two tasks mix."""
    rng = np.random.default_rng(5)
    done = rng.random(400) < 0.8
    validated = pd.Series(np.where(rng.random(400) < 0.1, None, rng.random(400) < 0.9), dtype=object)
    return pd.DataFrame(
        {
            "variant": "v1",
            "unit": [f"u{i}" for i in range(400)],
            "stratum": np.where(np.arange(400) % 4 == 0, "hard", "easy"),
            "completed": done,
            "validated": validated,
            "cost_usd": rng.exponential(0.1, 400) * np.where(done, 1.0, 3.0),
            "note": "text",
        }
    )


def within(count, n, rate):
    """Whether a count is what the rate gives, but for one chance in ten thousand."""
    return stats.binomtest(int(count), n, rate).pvalue > 1e-4


@pytest.mark.parametrize("name", FLAGS)
def test_flags_have_their_rates(rng, name):
    population = HEALTHY.at(name, 0.07)
    assert within(draw_history(rng, population, N)[name].sum(), N, 0.07)


def test_costs_are_log_normal_with_their_mean(rng):
    log = np.log(draw_history(rng, HEALTHY, N)["cost_usd"])
    assert log.mean() == pytest.approx(np.log(0.08) - 0.5, abs=4 / np.sqrt(N))
    assert log.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * N))


def test_edits_are_negative_binomial(rng):
    edits = draw_history(rng, HEALTHY, N)["operator_edits"].to_numpy()
    law = stats.nbinom(0.5, 0.5 / 0.9)
    assert edits.mean() == pytest.approx(0.4, abs=4 * law.std() / np.sqrt(N))
    assert all(within((edits == k).sum(), N, law.pmf(k)) for k in range(4))


def test_the_arm_is_a_coin_of_the_share_even_a_moving_one(rng):
    share = np.repeat([0.1, 0.5], N // 2)
    runs = draw(rng, HEALTHY, HEALTHY, N, share)
    arm = (runs["arm"] == "candidate").to_numpy()
    assert within(arm[: N // 2].sum(), N // 2, 0.1)
    assert within(arm[N // 2 :].sum(), N // 2, 0.5)
    assert (runs["share"].to_numpy() == share).all()


def test_each_arm_has_its_own_population(rng):
    runs = draw(rng, HEALTHY, HEALTHY.at("completed", 0.5), N, 0.5)
    ours = runs["arm"] == "candidate"
    assert within(runs["completed"][ours].sum(), int(ours.sum()), 0.5)
    assert within(runs["completed"][~ours].sum(), int((~ours).sum()), 0.92)


def test_a_column_of_one_arm_is_missing_in_the_other(rng):
    runs = draw(rng, HEALTHY, replace(HEALTHY, others={"polite": 0.5}), 500, 0.5)
    assert runs["polite"].isna().equals(runs["arm"] == "baseline")


def test_what_is_drawn_is_what_the_comparison_takes(rng, make_rules):
    comparison = Comparison(make_rules(), History(draw_history(rng, HEALTHY, 2_000)))
    comparison.observe(draw(rng, HEALTHY, HEALTHY.at("completed", 0.1), 2_000, 0.1))
    assert comparison.verdict().culprits == ("completion",)


def test_slices_have_their_shares(rng):
    runs = draw_history(rng, replace(HEALTHY, strata={"a": 3.0, "b": 1.0}), N)
    assert within((runs["stratum"] == "b").sum(), N, 0.25)


def test_recorded_runs_keep_their_rates_and_what_goes_together(rng, recorded):
    population = Population.from_frame(recorded)
    runs = draw_history(rng, population, N)
    assert population.columns() == ("completed", "validated", "cost_usd")
    assert within(runs["completed"].sum(), N, recorded["completed"].mean())
    assert within(runs["validated"].isna().sum(), N, recorded["validated"].isna().mean())
    assert within((runs["stratum"] == "hard").sum(), N, 0.25)
    means = runs.groupby(runs["completed"] > 0)["cost_usd"].mean()
    assert means[False] / means[True] > 2.0


@pytest.mark.parametrize("wanted", [0.3, 0.95])
def test_a_recorded_rate_moves_to_any_other(rng, recorded, wanted):
    population = Population.from_frame(recorded).at("completed", wanted).at("validated", wanted)
    runs = draw_history(rng, population, N)
    known = runs["validated"].dropna()
    assert within(runs["completed"].sum(), N, wanted)
    assert within((known > 0).sum(), len(known), wanted)


def test_a_population_knows_whether_its_runs_are_the_recorded_ones(recorded):
    population = Population.from_frame(recorded)
    assert population.as_recorded
    assert not population.at("completed", 0.5).as_recorded
    assert not replace(population, replaced={"cost_usd": (0.5, 1.0)}).as_recorded
    assert not HEALTHY.as_recorded


def test_a_recorded_mean_is_moved_by_a_factor(recorded):
    population = Population.from_frame(recorded)
    same = draw_history(np.random.default_rng(1), population, 500)["cost_usd"]
    more = draw_history(np.random.default_rng(1), population.at("cost_usd", 2 * population.cost_usd), 500)
    assert more["cost_usd"].to_numpy() == pytest.approx(2 * same.to_numpy())


@pytest.mark.parametrize(("edge", "to"), [(0.1, 0.2), (0.1, 0.05)])
def test_amounts_beyond_an_edge_are_pushed(rng, edge, to):
    same = draw_history(np.random.default_rng(1), HEALTHY, 500)["cost_usd"].to_numpy()
    pushed = replace(HEALTHY, pushed={"cost_usd": (edge, to)})
    found = draw_history(np.random.default_rng(1), pushed, 500)["cost_usd"].to_numpy()
    beyond = same >= edge if to > edge else same <= edge
    assert (found[~beyond] == same[~beyond]).all()
    assert (found[beyond] >= to).all() if to > edge else (found[beyond] <= to).all()


def test_a_replaced_amount_comes_as_often_as_asked(rng):
    runs = draw_history(rng, replace(HEALTHY, replaced={"latency_s": (0.2, 99.0)}), N)
    assert within((runs["latency_s"] == 99.0).sum(), N, 0.2)


def test_the_same_generator_draws_the_same_runs():
    one, other = (draw(np.random.default_rng(9), HEALTHY, HEALTHY, 300, 0.2) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_no_recorded_run_is_refused():
    with pytest.raises(InvalidEvidence, match="no recorded run"):
        Population.from_frame(pd.DataFrame({"completed": []}))


def test_a_recorded_outcome_that_cant_be_is_refused(recorded):
    with pytest.raises(InvalidEvidence, match="column completed"):
        Population.from_frame(recorded.assign(completed=-1.0))


def test_an_unknown_column_has_no_level():
    with pytest.raises(KeyError):
        HEALTHY.at("polite", 0.5)
