import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.blocks import BlockCounts
from evaluators.guardrail_state import GuardrailState
from evaluators.history import History
from evaluators.rules import Guardrail, Rules, Step
from evaluators.terms import terms
from lastgood.errors import InvalidEvidence

GUARDRAIL = Guardrail("completion", "completed", False, 1.0, 0.02, None, 0)
HISTORY = History.from_counts({"completion": (4_000, 320)}, {"a": {"completion": (900, 200)}})
PLAIN = Rules((GUARDRAIL,), (Step(1000, rule_out=3.0), Step(5000)))
SLICED = replace(PLAIN, strata=(("a", 0.7), ("b", 0.3)))


def fresh(rules=PLAIN, history=HISTORY):
    return GuardrailState(terms(rules.guardrails[0], rules, history))


@st.composite
def some_blocks(draw):
    """Up to nine closed blocks of three strata, numbered within each, at any share."""
    blocks, next_number = [], {"a": 0, "b": 0, "other": 0}
    for _ in range(draw(st.integers(1, 9))):
        name = draw(st.sampled_from(sorted(next_number)))
        n_c, n_b = draw(st.integers(0, 12)), draw(st.integers(0, 20))
        y_c, y_b = draw(st.integers(0, n_c)), draw(st.integers(0, n_b))
        share = draw(st.sampled_from([500, 1000, 5000]))
        blocks.append(BlockCounts(name, next_number[name], share, n_c, y_c, n_b, y_b, closed=True))
        next_number[name] += draw(st.integers(1, 3))
    return blocks


@pytest.mark.parametrize("rules", [PLAIN, SLICED])
@given(blocks=some_blocks(), cut=st.integers(0, 9))
def test_one_by_one_is_bit_for_bit_all_at_once(rules, blocks, cut):
    once = fresh(rules).add(blocks)
    parts = fresh(rules).add(blocks[:cut]).add(blocks[cut:])
    single = fresh(rules)
    for one in blocks:
        single = single.add([one])
    assert once.to_json() == parts.to_json() == single.to_json()


@pytest.mark.parametrize("rules", [PLAIN, SLICED])
@given(blocks=some_blocks())
def test_a_path_ends_where_the_state_stands(rules, blocks):
    from evaluators.blocks import BlockTable

    trace = fresh(rules).trace(BlockTable.of(blocks))
    assert trace.harm[-1] == pytest.approx(trace.after.log_e_harm, abs=1e-12)
    assert trace.gates[-1] == pytest.approx(trace.after.log_e_gates, abs=1e-12)
    assert tuple(trace.totals[-1]) == trace.after.totals


@given(blocks=some_blocks())
def test_the_state_survives_json(blocks):
    state = fresh(SLICED).add(blocks)
    again = GuardrailState.from_json(state.terms, json.loads(json.dumps(state.to_json())))
    assert again.to_json() == state.to_json()
    assert again.log_e_harm == state.log_e_harm


@given(blocks=some_blocks(), n=st.integers(0, 20))
def test_an_uninformative_block_moves_no_conditional_test(blocks, n):
    state = fresh().add(blocks)
    number = state.slices["a"].last + 1 if "a" in state.slices else 0
    after = state.add([BlockCounts("a", number, 1000, n, 0, 2 * n, 0, closed=True)])
    differences = 8 * len(PLAIN.steps)  # a clean block proves something about differences, nothing about odds
    assert np.array_equal(after.conditional[differences:], state.conditional[differences:])


@given(blocks=some_blocks())
def test_an_empty_block_moves_nothing(blocks):
    state = fresh().add(blocks)
    number = state.slices["a"].last + 1 if "a" in state.slices else 0
    after = state.add([BlockCounts("a", number, 1000, 0, 0, 0, 0, closed=True)])
    assert np.array_equal(after.conditional, state.conditional)
    assert (after.log_e_harm, after.log_e_gates) == (state.log_e_harm, state.log_e_gates)


@given(blocks=some_blocks())
def test_swapping_the_arms_of_a_proven_harm_is_no_harm(blocks):
    swapped = [
        replace(b, n_c=b.n_b, y_c=b.y_b, n_b=b.n_c, y_b=b.y_c, share_bp=10_000 - b.share_bp) for b in blocks
    ]
    ours, theirs = fresh().add(blocks), fresh().add(swapped)
    assert min(ours.log_e_conditional, theirs.log_e_conditional) <= 1e-9


def test_an_improvement_of_the_size_of_a_proven_harm_is_no_harm(block):
    harm, gain = fresh().add([block(0, 20, 12, 180, 14)]), fresh().add([block(0, 20, 0, 180, 40)])
    assert harm.log_e_harm > np.log(20.0)
    assert gain.log_e_harm < 0.0


@pytest.mark.parametrize("rules", [PLAIN, SLICED])
@pytest.mark.parametrize("outcomes", [(1, 0, 1, 0, 0, 1), (0, 0, 0, 1, 1, 1), (1, 1, 1, 1, 1, 1)])
def test_harm_has_mean_one_over_a_ramp_with_a_rate_learned_on_the_way(rules, outcomes):
    """Exact: all deals of six runs to the arms, three blocks at three shares, the rate moved by each deal."""
    shares, names = (1000, 3000, 6000), ("a", "b", "a")
    short = History.from_counts({"completion": (3, 1)})
    mean, bets = 0.0, np.zeros(24)
    for deal in product([0, 1], repeat=6):
        chance, blocks = 1.0, []
        for k in range(3):
            arms, bad = deal[2 * k : 2 * k + 2], outcomes[2 * k : 2 * k + 2]
            n_c, y_c = sum(arms), sum(a * y for a, y in zip(arms, bad, strict=True))
            q = shares[k] / 10_000
            chance *= q**n_c * (1 - q) ** (2 - n_c)
            blocks.append(BlockCounts(names[k], k, shares[k], n_c, y_c, 2 - n_c, sum(bad) - y_c, closed=True))
        state = fresh(rules, short).add(blocks)
        mean += chance * np.exp(state.log_e_harm)
        bets += chance * np.exp(state.bet)
    assert mean == pytest.approx(1.0, abs=1e-12)
    assert np.allclose(bets, 1.0, rtol=1e-12)


def test_an_open_block_counts_for_harm_at_once_and_for_promotion_when_it_closes(block):
    half = block(0, 5, 5, 10, 0, closed=False)
    state = fresh().add([half])
    assert state.log_e_harm > 1.0
    assert state.log_e_gates == fresh().log_e_gates
    closed = state.add([replace(half, closed=True)])
    assert closed.log_e_harm == pytest.approx(state.log_e_harm, abs=1e-12)
    assert closed.log_e_gates[-1] < -0.5


def test_an_open_block_replaces_the_one_before(block):
    state = fresh().add([block(0, 1, 1, 4, 0, closed=False)]).add([block(0, 2, 1, 9, 0, closed=False)])
    assert state.seen == (2, 1, 9, 0)


def test_another_stratums_blocks_leave_an_open_block_open(block):
    state = fresh(SLICED).add([block(0, 1, 1, 4, 0, stratum="a", closed=False)])
    assert state.add([block(0, 3, 0, 9, 0, stratum="b")]).seen == (4, 1, 13, 0)


def test_a_gate_that_once_crossed_stays_crossed(block):
    clean = [block(i, 60, 0, 60, 30) for i in range(4)]
    state = fresh().add(clean)
    assert state.crossed == (True, True)
    later = state.add([block(9, 200, 200, 200, 0)])
    assert later.log_e_gates[-1] < 0.0
    assert later.crossed == (True, True)


def test_a_harm_in_one_stratum_alone_stands_out_against_the_whole(block):
    blocks = [block(0, 8, 6, 72, 6, stratum="b"), block(0, 60, 2, 540, 40, stratum="a")]
    state = fresh(SLICED).add(blocks)
    assert dict(state.log_e_slices)["b"] > 5.0 > dict(state.log_e_slices)["a"]
    whole = fresh().add([replace(b, stratum="all", block=i) for i, b in enumerate(blocks)])
    assert state.log_e_harm > whole.log_e_harm


def test_an_unlisted_stratum_bets_only_in_the_common_effect(block):
    state = fresh(SLICED).add([block(0, 8, 8, 72, 6, stratum="other")])
    common = fresh().add([block(0, 8, 8, 72, 6, stratum="other")]).log_e_harm
    assert state.log_e_harm == pytest.approx(np.log(0.5 * np.exp(common) + 0.5), abs=1e-12)


def test_a_block_out_of_order_is_refused_and_changes_nothing(block):
    state = fresh().add([block(3, 2, 0, 18, 1)])
    with pytest.raises(InvalidEvidence, match="guardrail completion: block 2 "):
        state.add([block(2, 2, 0, 18, 1)])


def test_a_guardrail_of_one_stratum_is_kept_in_two_kilobytes(block):
    state = fresh().add([block(i, 2, 1, 18, 1) for i in range(50)])
    numbers = state.bet.nbytes + state.conditional.nbytes + 2 * state.bet.nbytes
    assert numbers <= 2_000
    assert len(json.dumps(state.to_json())) <= 3_000
