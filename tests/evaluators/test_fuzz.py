"""Whatever comes in: a typed error that names its place, or a verdict that the evidence bears."""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import Comparison, Decision, History
from evaluators.blocks import BlockCounts
from evaluators.checking import known_columns
from evaluators.path import ASSIGNED
from evaluators.rules import Guardrail, Kind, Rules, Step
from evaluators.streams import Population, draw, draw_history
from lastgood.errors import InvalidEvidence

GUARDRAILS = (
    Guardrail("completion", "completed", False, 0.3, 0.02, None, 0),
    Guardrail("incidents", "incidents", True, 0.2, 0.005, None, 0),
    Guardrail("cost", "cost_usd", True, 0.2, None, 0.1, 0, kind=Kind.RATIO, unit="USD"),
    Guardrail("edits", "operator_edits", True, 0.1, None, 0.3, 0, kind=Kind.COUNT, cap=10.0),
    Guardrail("mark", "mark", False, 0.1, 0.05, None, 0, kind=Kind.SCORE),
    Guardrail("latency", "latency_s", True, 0.1, 0.03, None, 0, kind=Kind.QUANTILE),
)
RULES = Rules(GUARDRAILS, (Step(1000, rule_out=3.0), Step(5000)))
HEALTHY = Population()
FLAG = ("completed", "incidents", "lost", "infra_failure")
NUMBER = ("cost_usd", "operator_edits", "latency_s", "mark")


def marked(rng, runs):
    """Runs with a judge's mark, 0..1."""
    return runs.assign(mark=rng.beta(8, 2, len(runs)))[
        [name for name in (*runs.columns, "mark") if name in known_columns(RULES)]
    ]


@lru_cache
def history():
    rng = np.random.default_rng(1)
    return History(marked(rng, draw_history(rng, HEALTHY, 5_000)))


def released(seed, n, candidate=HEALTHY, share=0.5):
    rng = np.random.default_rng(seed)
    return marked(rng, draw(rng, HEALTHY, candidate, n, share))


def watched(*frames, rules=RULES, known=None):
    comparison = Comparison(rules, history() if known is None else known)
    for frame in frames:
        comparison.observe(frame)
    return comparison


@lru_cache
def forty():
    """Forty runs with all columns."""
    return released(3, 40).assign(lost=False, infra_failure=False, unit=[f"user-{i}" for i in range(40)])


@lru_cache
def begun():
    """A comparison that has seen something."""
    return watched(released(2, 50).assign(lost=False, infra_failure=False, unit="user-1"))


@settings(max_examples=60)
@given(
    place=st.one_of(
        st.tuples(st.sampled_from(FLAG), st.sampled_from([-1, 0.5, np.inf, -np.inf, "yes"])),
        st.tuples(st.sampled_from(NUMBER), st.sampled_from([-0.01, np.inf, -np.inf, "dear", -1e300])),
        st.tuples(st.just("arm"), st.sampled_from(["canary", None, 1, np.nan])),
        st.tuples(st.just("share"), st.sampled_from([0.0, 1.0, -0.1, np.nan, np.inf, 1e-9, "half"])),
        st.tuples(st.just("unit"), st.sampled_from([1.5, True, ("a",), 7])),
    ),
    row=st.integers(0, 39),
)
def test_a_value_that_cant_be_is_refused_by_run_and_column_and_nothing_is_counted(place, row):
    column, value = place
    runs = forty().astype({column: object})
    runs.iloc[row, runs.columns.get_loc(column)] = value
    comparison = begun().copy()
    before = comparison.to_json()
    with pytest.raises(InvalidEvidence, match=f"column {column}") as caught:
        comparison.observe(runs)
    # one number among texts may as well be called the first text among numbers
    assert str(row) in str(caught.value) or isinstance(value, str) or place == ("unit", 7)
    assert comparison.to_json() == before


@pytest.mark.parametrize(
    ("column", "near"),
    [("complete", "completed"), ("cost", "cost_usd"), ("incident", "incidents"), ("Latency_s", "latency_s")],
)
def test_a_column_that_nothing_reads_is_refused_with_the_nearest_name(column, near):
    with pytest.raises(InvalidEvidence, match=rf"column {column}: .*'{near}'"):
        watched(released(1, 40).assign(**{column: 1}))


@pytest.mark.parametrize("column", ["cost_usd", "operator_edits", "latency_s"])
@pytest.mark.parametrize("value", [-1.0, np.inf, "dear"])
def test_an_amount_that_cant_be_is_refused_where_no_guardrail_reads_it_too(column, value):
    rules = replace(RULES, guardrails=(replace(GUARDRAILS[0], weight=1.0),))
    runs = released(1, 40).drop(columns=[g.column for g in GUARDRAILS[1:] if g.column != "completed"])
    runs = runs.assign(**{column: 1.0}).astype({column: object})
    runs.iloc[7, runs.columns.get_loc(column)] = value
    with pytest.raises(InvalidEvidence, match=f"column {column}"):
        watched(runs, rules=rules)


def test_a_column_that_stands_twice_is_refused():
    runs = released(1, 40)
    with pytest.raises(InvalidEvidence, match="two columns completed"):
        watched(pd.concat([runs, runs[["completed"]]], axis=1))


@given(
    st.sampled_from(["n_c", "y_c", "n_b", "y_b", "share_bp", "block"]),
    st.sampled_from([-1, 1.5, float("nan"), float("inf"), 10**9, True, "3", None]),
)
def test_a_block_that_cant_have_been_counted_is_refused_by_number_and_column(column, value):
    good = BlockCounts("all", 7, 1000, 2, 1, 18, 1, closed=True)
    if column == "block" and value == 10**9:
        value = -(10**9)
    with pytest.raises(InvalidEvidence, match=r"block .*column"):
        replace(good, **{column: value})


@given(st.lists(st.integers(0, 6), min_size=2, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_blocks_out_of_order_are_refused_by_number(numbers, closed):
    blocks = [
        BlockCounts("all", number, 1000, 2, 0, 18, 1, closed=shut)
        for number, shut in zip(numbers, closed, strict=False)
    ]
    read = [b.block for b in sorted(blocks, key=lambda b: not b.closed)]  # an open one is read last
    rises = all(a < b for a, b in pairwise(read))
    comparison = Comparison(replace(RULES, guardrails=(replace(GUARDRAILS[0], weight=1.0),)), history())
    if rises and sum(not b.closed for b in blocks) <= 1:
        comparison.observe_blocks({"completion": blocks})
    else:
        with pytest.raises(InvalidEvidence, match=r"block \d+.*column (block|closed)"):
            comparison.observe_blocks({"completion": blocks})
        assert comparison.verdict().assigned == 0


@pytest.mark.parametrize(
    "other",
    [
        {"alpha_revert": 0.01},
        {"block_size": 10},
        {"steps": (Step(1000, rule_out=2.0), Step(5000))},
        {"guardrails": tuple(replace(g, weight=1 / 6) for g in GUARDRAILS)},
        {"guardrails": (replace(GUARDRAILS[0], maturity_us=1), *GUARDRAILS[1:])},
    ],
    ids=["alpha", "block size", "gate", "weights", "maturity"],
)  # fmt: skip
def test_evidence_of_one_policy_is_refused_under_another(other):
    stored = watched(released(1, 100)).to_json()
    with pytest.raises(InvalidEvidence, match="other rules"):
        Comparison.from_json(replace(RULES, **other), history(), stored)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    runs=st.integers(1, 60),
    share=st.floats(0.01, 0.99),
    short=st.booleans(),
    drop=st.sets(st.sampled_from([*FLAG, *NUMBER])),
    every=st.sampled_from([None, "lost", "infra_failure", "baseline", "candidate"]),
)
def test_little_evidence_never_promotes_whatever_it_is(seed, runs, share, short, drop, every):
    """Sixty runs can't prove two points: not without history, not where all were lost, not with one arm."""
    perfect = replace(HEALTHY, completed=1.0, incidents=0.0, cost_usd=0.001, operator_edits=1e-9)
    frame = released(seed, runs, perfect, share).drop(columns=list(drop), errors="ignore")
    if every in FLAG:
        frame[every] = True
    elif every:
        frame["arm"] = every
    comparison = watched(frame, known=History() if short else None)
    verdict = comparison.verdict()
    assert verdict.decision is not Decision.PROMOTE
    assert "promote" not in set(comparison.path()["decision"])
    assert not any(verdict.gates)


@pytest.mark.parametrize("emptied", [g.column for g in GUARDRAILS])
def test_a_guardrail_without_data_is_never_promoted_past(emptied):
    """Everything else is proven in 30,000 equal runs."""
    guardrails = tuple(g for g in GUARDRAILS if g.column in {"completed", emptied})
    guardrails += tuple(g for g in GUARDRAILS[:2] if g not in guardrails)
    total = sum(g.weight for g in guardrails)
    rules = Rules(tuple(replace(g, weight=g.weight / total) for g in guardrails), (Step(5000),))
    full = released(4, 30_000)
    full = full[[column for column in full if column in known_columns(rules)]]
    assert "promote" not in set(watched(full.assign(**{emptied: None}), rules=rules).path()["decision"])


HARMS = {
    "completion": {"completed": 0.5}, "incidents": {"incidents": 0.2}, "cost": {"cost_usd": 0.3},
    "edits": {"operator_edits": 2.0}, "latency": {"latency_s": 20.0},
}  # fmt: skip


@settings(max_examples=15)
@given(st.sampled_from(sorted(HARMS)), st.integers(0, 1_000), st.sampled_from([0.1, 0.3, 0.5]))
def test_a_proven_harm_with_its_arms_swapped_is_no_harm(name, seed, share):
    runs = released(seed, 3_000, replace(HEALTHY, **HARMS[name]), share)
    assert watched(runs).verdict().decision == Decision.REVERT
    rules = replace(RULES, alpha_revert=1e-12)
    assert watched(runs, rules=rules).verdict().guardrail(name).log_e_harm > 5.0
    swapped = runs.assign(
        arm=np.where(runs["arm"] == "candidate", "baseline", "candidate"), share=1.0 - runs["share"]
    )
    assert watched(swapped, rules=rules).verdict().guardrail(name).log_e_harm < 0.0


def as_blocks(runs, comparison, start=0):
    """The runs in blocks of 20, as a store keeps them."""
    sent = {name: [] for name in (*(g.name for g in RULES.guardrails), ASSIGNED)}
    for number in range(len(runs) // 20):
        part = runs.iloc[20 * number : 20 * number + 20]
        ours, none = (part["arm"] == "candidate").to_numpy(), np.zeros(20, dtype=bool)
        place = ("all", start + number, 5000)
        n_c = int(ours.sum())
        sent[ASSIGNED].append(BlockCounts(*place, n_c, 0, 20 - n_c, 0, closed=True))
        for name, held in comparison._evidence.items():
            scored = held.terms.method.score(part, ours, np.full(20, 0.5), none, none)
            counts = (n_c, int(scored.hit[ours].sum()), 20 - n_c, int(scored.hit[~ours].sum()))
            sums = tuple(scored.added.sum(axis=0).tolist())
            sent[name].append(BlockCounts(*place, *counts, closed=True, sums=sums))
    return sent


def emptied(block, number):
    return replace(block, block=number, n_c=0, y_c=0, n_b=0, y_b=0, sums=tuple(0.0 for _ in block.sums))


@settings(max_examples=10)
@given(st.integers(0, 1_000), st.integers(0, 5))
def test_a_block_of_no_information_changes_nothing(seed, at):
    plain, more = Comparison(RULES, history()), Comparison(RULES, history())
    sent = as_blocks(released(seed, 100), plain)
    with_empty = {
        name: [*blocks[:at], emptied(blocks[0], at), *(replace(b, block=b.block + 1) for b in blocks[at:])]
        for name, blocks in sent.items()
    }
    plain.observe_blocks(sent)
    more.observe_blocks(with_empty)
    assert more.verdict() == plain.verdict()


@settings(max_examples=10)
@given(st.integers(0, 1_000), st.lists(st.integers(0, 8), max_size=4))
def test_blocks_one_by_one_all_at_once_and_through_storage_are_the_same(seed, cuts):
    rules = replace(RULES, alpha_revert=1e-9)
    whole, parts = Comparison(rules, history()), Comparison(rules, history())
    sent = as_blocks(released(seed, 160), whole)
    whole.observe_blocks(sent)
    bounds = [0, *sorted(cuts), 8]
    for a, b in pairwise(bounds):
        if a < b:
            parts.observe_blocks({name: blocks[a:b] for name, blocks in sent.items()})
        parts = Comparison.from_json(rules, history(), json.loads(json.dumps(parts.to_json())))
    assert parts.to_json() == whole.to_json()
    assert asdict(parts.verdict()) == asdict(whole.verdict())


@settings(max_examples=6)
@given(st.integers(0, 1_000), st.booleans())
def test_runs_one_by_one_all_at_once_and_through_storage_are_the_same(seed, units):
    rules = replace(RULES, alpha_revert=1e-9)
    runs = released(seed, 45)
    if units:
        runs["unit"] = [f"user-{i % 17}" for i in range(45)]
    whole, parts = watched(runs, rules=rules), watched(rules=rules)
    for row in range(45):
        parts.observe(runs.iloc[row : row + 1])
        if row % 17 == 3:
            parts = Comparison.from_json(rules, history(), json.loads(json.dumps(parts.to_json())))
    assert parts.to_json() == whole.to_json()
