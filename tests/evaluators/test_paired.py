"""The paired proof: it admits what tells the bundles apart, and hardly ever anything else."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import paired
from evaluators.paired import Gate, Pairs, Peaks, Proof, Rules
from lastgood.errors import InvalidEvidence, InvalidInput

RULES = Rules()


def prove(draw, p_bad, p_good, rules=RULES, *, varies=True):
    """Prove one case whose bad bundle fails with `p_bad` and whose good one with `p_good`."""
    pairs, peaks, proof = Pairs(), Peaks(), Proof.GO_ON
    while proof is Proof.GO_ON:
        pairs = pairs.add(
            bad_fails=draw.random() < p_bad, good_passes=draw.random() >= p_good, same=not varies
        )
        peaks = peaks.seen(pairs)
        proof = paired.decide(pairs, peaks, rules)
    return proof, pairs


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_bet_has_mean_one_at_the_null_and_below_it_less(wins, losses):
    now = math.exp(paired.log_wealth(wins, losses))
    won, lost = math.exp(paired.log_wealth(wins + 1, losses)), math.exp(paired.log_wealth(wins, losses + 1))
    assert 0.5 * won + 0.5 * lost == pytest.approx(now)
    assert 0.4 * won + 0.6 * lost <= now * (1 + 1e-12)


def test_it_begins_at_one():
    assert paired.log_wealth(0, 0) == pytest.approx(0)


@pytest.mark.parametrize(
    ("p_bad", "p_good", "proof"),
    [
        (1, 0, Proof.PROVEN),
        (0, 0, Proof.BOTH_PASS),
        (1, 1, Proof.BOTH_FAIL),
        (0, 1, Proof.REVERSED),
    ],
)
def test_an_agent_that_never_varies_is_decided_after_five_pairs(p_bad, p_good, proof):
    found, pairs = prove(random.Random(1), p_bad, p_good, varies=False)
    assert (found, pairs.n) == (proof, 5)


def test_a_stricter_alpha_takes_more_pairs():
    rules = Rules(alpha=0.001)
    assert prove(random.Random(1), 1, 0, rules, varies=False) == (Proof.PROVEN, Pairs(apart=rules.fewest))
    assert rules.fewest == 11


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_case_that_tells_nothing_is_admitted_in_at_most_alpha(rate, alpha):
    draw, n = random.Random(f"{rate} {alpha}"), 2_000
    admitted = sum(prove(draw, rate, rate, Rules(alpha=alpha, pairs=60))[0] is Proof.PROVEN for _ in range(n))
    assert admitted / n <= alpha


@pytest.mark.parametrize("p_good", [0.5, 0.7, 0.9])
def test_a_case_whose_good_bundle_mostly_fails_is_admitted_in_at_most_alpha(p_good):
    draw, n = random.Random(f"{p_good}"), 2_000
    admitted = sum(prove(draw, 1.0, p_good)[0] is Proof.PROVEN for _ in range(n))
    assert admitted / n <= RULES.alpha


@pytest.mark.parametrize(
    ("p_bad", "p_good", "least"), [(0.95, 0.02, 0.99), (0.7, 0.1, 0.95), (0.4, 0.02, 0.9)]
)
def test_a_case_that_tells_is_admitted(p_bad, p_good, least):
    draw, n = random.Random(f"{p_bad} {p_good}"), 500
    proofs = [prove(draw, p_bad, p_good) for _ in range(n)]
    assert sum(proof is Proof.PROVEN for proof, _ in proofs) / n >= least


def test_the_gate_of_an_agent_that_never_varies_tries_once():
    assert paired.gate(Pairs(apart=5), RULES) == Gate(1, 1)


def test_the_gate_of_a_case_that_varies_tries_until_both_errors_are_small():
    gate = paired.gate(Pairs(apart=15, both_pass=4, both_fail=1, same=False), RULES)
    good, bad = 19 / 20, 4 / 20
    turned_away = 1 - sum(
        math.comb(gate.attempts, k) * good**k * (1 - good) ** (gate.attempts - k)
        for k in range(gate.needed, gate.attempts + 1)
    )
    let_through = sum(
        math.comb(gate.attempts, k) * bad**k * (1 - bad) ** (gate.attempts - k)
        for k in range(gate.needed, gate.attempts + 1)
    )
    assert 1 < gate.attempts <= RULES.attempts
    assert max(turned_away, let_through) <= RULES.beta


def test_a_case_that_varies_too_much_has_no_gate():
    assert paired.gate(Pairs(apart=12, both_pass=14, both_fail=8, against=6, same=False), RULES) is None


def test_impossible_counts_and_rules_are_refused():
    with pytest.raises(InvalidEvidence, match="negative"):
        Pairs(apart=-1)
    with pytest.raises(InvalidInput, match="alpha"):
        Rules(alpha=0)
    with pytest.raises(InvalidInput, match="one pair"):
        Rules(pairs=0)
