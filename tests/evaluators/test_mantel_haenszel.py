import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from evaluators.mantel_haenszel import (
    WIDTH,
    ArmSums,
    block_sums,
    log_e_over,
    log_e_two_sided,
    log_e_under,
    log_e_within,
    plain_variance,
    score,
)


def arm_of(blocks):
    """Sums of blocks of (cost, success) arrays."""
    rows = [
        (len(c), c.sum(), s.sum(), (c * c).sum(), (c * s).sum(), (s * s).sum())
        for c, s in ((np.array(b[0]), np.array(b[1])) for b in blocks)
    ]
    return ArmSums(*np.array(rows, dtype=float).T)


def drawn(seed, blocks=30, ratio=1.0):
    rng = np.random.default_rng(seed)

    def arm(n, factor):
        return [
            (factor * rng.lognormal(-3, 1, n), (rng.random(n) < 0.9).astype(float)) for _ in range(blocks)
        ]

    return arm(4, ratio), arm(16, 1.0)


def test_the_statistics_are_the_published_ones(published):
    (fixture,) = published("mh_ratio_U_V_G")
    rows, ratio = fixture["input"]["buckets_raw_cost_success"], fixture["input"]["R0"]
    ours, theirs = arm_of([row["c"] for row in rows]), arm_of([row["b"] for row in rows])
    U, _, G = score(block_sums(ours, theirs).sum(axis=0), ratio)
    found = (float(U), plain_variance(ours, theirs, ratio), float(G))
    assert found == pytest.approx(fixture["expected"], abs=1e-9)


def test_the_e_value_is_the_published_one(published):
    (fixture,) = published("mh_ratio_log_e")
    row = fixture["input"]
    assert float(log_e_over(row["U"], row["V"], row["G"])) == pytest.approx(fixture["expected"], abs=1e-9)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.1, 2.5])
def test_the_totals_give_the_statistics_of_a_loop_over_runs(ratio):
    ours, theirs = drawn(3)
    U = G = k_c = k_b = e_c = e_b = 0.0
    for (cost_c, good_c), (cost_b, good_b) in zip(ours, theirs, strict=True):
        M = good_c.sum() + good_b.sum()
        r = (cost_b.sum() + cost_c.sum() / ratio) / M
        U += (cost_c.sum() * good_b.sum() - ratio * cost_b.sum() * good_c.sum()) / M
        G += ratio * cost_b.sum() * good_c.sum() / M
        k_c += (good_b.sum() / M) ** 2 * len(cost_c)
        k_b += ratio**2 * (good_c.sum() / M) ** 2 * len(cost_b)
        e_c += ((cost_c - ratio * r * good_c) ** 2).sum()
        e_b += ((cost_b - r * good_b) ** 2).sum()
    n_c, n_b = sum(len(c) for c, _ in ours), sum(len(c) for c, _ in theirs)
    V = max(e_c / n_c, ratio**2 * e_b / n_b) * k_c + e_b / n_b * k_b
    found = score(block_sums(arm_of(ours), arm_of(theirs)).sum(axis=0), ratio)
    assert [float(value) for value in found] == pytest.approx([U, V, G], rel=1e-9)


def test_the_variance_never_falls_under_its_floor():
    ours, theirs = drawn(5)
    calm = [(np.full(len(cost), 0.05), good) for cost, good in ours]
    sums = block_sums(arm_of(calm), arm_of(theirs)).sum(axis=0)
    assert score(sums, 1.1)[1] > plain_variance(arm_of(calm), arm_of(theirs), 1.1)


@given(st.floats(-3, 3), st.floats(0.1, 5), st.floats(0.1, 20))
def test_under_and_over_are_mirrors(U, V, G):
    assert float(log_e_under(U, V, G)) == float(log_e_over(-U, V, G))


@pytest.mark.parametrize("information", [0.5, 8.0])
def test_the_e_value_has_mean_one_for_a_normal_score_at_the_null(information):
    """G = V = information and U ~ N(0, V), integrated numerically."""

    def weighted(z):
        return norm.pdf(z) * np.exp(float(log_e_under(z * np.sqrt(information), information, information)))

    assert quad(weighted, -30, 30, limit=400)[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("ratio", [1.1, 0.8])
def test_a_gate_is_the_mixture_that_expects_an_equal_candidate(ratio):
    """Integrated numerically at the null, and far better than the harm prior where the ratio is one."""

    def weighted(z):
        return norm.pdf(z) * np.exp(float(log_e_within(z * 3.0, 9.0, 9.0, ratio)))

    assert quad(weighted, -40, 40, limit=500)[0] == pytest.approx(1.0, abs=1e-6)
    G = 400.0
    U = (1.0 - ratio) / ratio * G
    harm_prior = log_e_under(U, G, G) if ratio > 1 else log_e_over(U, G, G)
    assert log_e_within(U, G, G, ratio) > harm_prior + 0.5


def test_blocks_without_successes_and_no_blocks_say_exactly_nothing():
    nothing = [(np.array([3.0]), np.array([0.0]))]
    sums = block_sums(arm_of(nothing), arm_of(nothing))
    assert not sums.any()
    assert float(log_e_under(*score(np.zeros(WIDTH), 1.1))) == 0.0


def test_a_ratio_far_from_the_truth_is_ruled_out_and_the_truth_is_not():
    ours, theirs = drawn(11, blocks=400, ratio=1.5)
    sums = block_sums(arm_of(ours), arm_of(theirs)).sum(axis=0)
    low, true, high = log_e_two_sided(*score(sums[None, :], np.array([1.0, 1.5, 2.5])))
    assert min(low, high) > np.log(20.0) > true


def test_totals_of_any_shape_are_scored_as_each_by_itself():
    totals = np.abs(np.random.default_rng(3).normal(size=(2, 3, 18)))
    together = score(totals, 1.2)
    for i in range(2):
        for j in range(3):
            alone = score(totals[i, j], 1.2)
            assert [float(part[i, j]) for part in together] == [float(part) for part in alone]
