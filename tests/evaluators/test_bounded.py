from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.bounded import (
    differences,
    loss_bets,
    margin_prior,
    mean_sequence,
    under_margin,
    under_margin_counts,
)
from evaluators.mixture import THETAS
from evaluators.proportions import bet_increments

LOSSES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(LOSSES, st.floats(0.02, 0.98), st.floats(0.001, 0.999))
def test_the_bet_has_mean_one_whatever_the_losses(losses, share, rate):
    x, mean = np.array(losses), np.zeros(len(THETAS))
    for arms in product([False, True], repeat=len(losses)):
        arm = np.array(arms)
        chance = np.prod(np.where(arm, share, 1 - share))
        mean += chance * np.exp(loss_bets(x, arm, np.full(len(x), share), rate, THETAS).sum(axis=0))
    assert np.allclose(mean, 1.0, rtol=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.02, 0.98), st.floats(0.0, 1.0), st.floats(0.05, 0.95))
def test_the_bets_mean_is_at_most_one_for_a_smaller_mean_of_another_shape(share, rate, part, mean_b):
    """The baseline's loss is always its mean, the candidate's is 0 or 1: same mean or less, wider spread."""
    chance = [(1 - share), share * part * mean_b, share * (1 - part * mean_b)]
    x, arm = np.array([mean_b, 1.0, 0.0]), np.array([False, True, True])
    factor = np.exp(loss_bets(x, arm, np.full(3, share), rate, THETAS))
    assert (np.array(chance) @ factor <= 1.0 + 1e-9).all()


def test_a_loss_of_nought_or_one_is_a_good_or_bad_run():
    arm = np.array([True, True, False, False])
    cells = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])
    ours = loss_bets(np.array([0.0, 1.0, 0.0, 1.0]), arm, np.full(4, 0.1), 0.2, THETAS)
    theirs = bet_increments(cells, np.full(4, 0.1), np.full(4, 0.2), THETAS)
    assert np.allclose(ours, theirs, atol=1e-12)


@given(st.floats(0.02, 0.98), st.floats(0.0, 1.0), st.floats(0.01, 0.3), st.floats(0.0, 0.7))
def test_the_promote_factor_has_mean_one_at_the_margin_and_less_beyond(share, centre, margin, mean_b):
    for worse, exact in ((margin, True), (margin + 0.2, False)):
        high = min(mean_b + worse, 1.0)
        chance = np.array(
            [(1 - share) * (1 - mean_b), (1 - share) * mean_b, share * (1 - high), share * high]
        )
        x, arm = np.array([0.0, 1.0, 0.0, 1.0]), np.array([False, False, True, True])
        shares = np.full(4, share)
        found = np.exp(under_margin(differences(x, arm, shares, centre), shares, centre, margin))
        mean = chance @ found
        if exact and mean_b + worse <= 1.0:
            assert mean == pytest.approx(np.ones(8), abs=1e-9)
        elif mean_b + worse <= 1.0:
            assert (mean < 1.0 + 1e-12).all()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=9), st.floats(0.02, 0.98))
def test_counts_of_bad_runs_give_the_factors_of_their_runs(runs, share):
    arm, bad = (np.array(column, dtype=bool) for column in zip(*[(True, True), *runs], strict=True))
    shares = np.full(len(arm), share)
    one = under_margin(differences(bad.astype(float), arm, shares, 0.08), shares, 0.08, 0.02)
    counts = np.array([[arm.sum(), (arm & bad).sum(), (~arm).sum(), (~arm & bad).sum()]])
    found = under_margin_counts(counts, np.array([share]), 0.08, 0.02)[0]
    assert np.allclose(found, one.sum(axis=0), atol=1e-10)


def test_the_confidence_sequence_holds_the_mean_at_every_look():
    rng, missed = np.random.default_rng(8), 0
    for _ in range(200):
        x = rng.exponential(1.0, 3_000)
        total, squares = np.cumsum(x), np.cumsum(x * x)
        looks = [mean_sequence(total[n - 1], squares[n - 1], n, 0.05) for n in range(100, 3_001, 50)]
        missed += any(not low <= 1.0 <= high for _, low, high in looks)
    assert missed <= 18


def test_one_run_rules_nothing_out():
    assert mean_sequence(1.0, 1.0, 1, 0.05) == (0.0, -np.inf, np.inf)


@given(st.floats(0.001, 0.5), st.floats(0.002, 0.2), st.lists(st.floats(0.02, 0.9), min_size=1, max_size=3))
def test_the_prior_over_stakes_sums_to_one_and_leaves_none_out(rate, margin, shares):
    prior = np.exp(margin_prior(np.array(shares), rate, margin))
    assert prior.sum() == pytest.approx(1.0)
    assert (prior >= 0.1 / 8 - 1e-12).all()


def test_the_prior_over_stakes_lies_where_an_equal_candidate_grows_fastest():
    """Expected growth of each stake, run by run, by simulation."""
    rng, share, rate, margin = np.random.default_rng(4), 0.2, 0.1, 0.05
    loss, ours = (rng.random(200_000) < rate).astype(float), rng.random(200_000) < share
    shares = np.full(len(loss), share)
    growth = under_margin(differences(loss, ours, shares, rate), shares, rate, margin).mean(axis=0)
    assert np.argmax(margin_prior(np.array([share]), rate, margin)) == np.argmax(growth)
