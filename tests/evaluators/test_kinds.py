"""Guardrails of every kind, from recorded runs to a verdict."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import Comparison, Decision, History, Word
from evaluators.checking import known_columns
from evaluators.path import ASSIGNED
from evaluators.rules import Guardrail, Kind, Rules, Step
from lastgood.errors import InvalidEvidence, InvalidPolicy

COST = Guardrail("cost", "cost_usd", True, 1.0, None, 0.10, 0, kind=Kind.RATIO, unit="USD")
EDITS = Guardrail(
    "edits", "operator_edits", True, 1.0, None, 0.30, 0, kind=Kind.RATIO, unit="edits", cap=10.0
)
CALLS = Guardrail("calls", "operator_edits", True, 1.0, None, 0.50, 0, kind=Kind.COUNT, cap=20.0)
MARK = Guardrail(
    "judge", "mark", False, 1.0, 0.2, None, 0, kind=Kind.SCORE, unit="marks", lowest=1.0, highest=5.0
)
SLOW = Guardrail("latency", "latency_s", True, 1.0, 0.03, None, 0, kind=Kind.QUANTILE, level=0.95)
TAIL = Guardrail("cost_tail", "cost_usd", True, 1.0, None, 1.0, 0, kind=Kind.QUANTILE, level=0.99)
ALL_KINDS = (COST, EDITS, CALLS, MARK, SLOW, TAIL)
HARMS = {
    "cost": {"cost": 2.0},
    "edits": {"edits": 2.5},
    "calls": {"edits": 2.5},
    "judge": {"mark": -0.8},
    "latency": {"latency": 2.0},
    "cost_tail": {"cost": 3.0},
}


def read_by(rules, runs):
    return runs[[column for column in runs if column in known_columns(rules)]]


def rules_of(*guardrails, **changes):
    shared = tuple(replace(g, weight=1 / len(guardrails)) for g in guardrails)
    return Rules(**{"guardrails": shared, "steps": (Step(3000),), **changes})


@pytest.fixture(scope="module")
def history(measured):
    return History(measured(8_000, 1))


@pytest.fixture(scope="module")
def watch(history):
    def make(rules, *frames, **options):
        comparison = Comparison(rules, history)
        for frame in frames:
            comparison.observe(read_by(rules, frame), **options)
        return comparison

    return make


@pytest.mark.parametrize("guardrail", ALL_KINDS, ids=lambda g: g.name)
def test_a_harm_of_every_kind_is_reverted_by_name(watch, dealt, guardrail):
    verdict = watch(rules_of(guardrail), dealt(4_000, 3, **HARMS[guardrail.name])).verdict()
    assert (verdict.decision, verdict.culprits) == (Decision.REVERT, (guardrail.name,))
    found = verdict.guardrail(guardrail.name)
    assert found.word is Word.FAIL
    assert "proven worse" in found.reason
    worse = found.estimate if guardrail.bad else -found.estimate
    assert worse > 0


@pytest.mark.parametrize("guardrail", ALL_KINDS, ids=lambda g: g.name)
def test_an_equal_candidate_passes_in_every_kind(watch, dealt, guardrail):
    verdict = watch(rules_of(guardrail), dealt(16_000, 5, share=0.5)).verdict()
    found = verdict.guardrail(guardrail.name)
    assert verdict.decision is Decision.PROMOTE
    assert found.low < found.estimate < found.high
    assert found.low <= 0.0 <= found.high


@pytest.mark.parametrize(
    ("guardrail", "harm"),
    [(COST, {"cost": 1.10}), (EDITS, {"edits": 1.30}), (MARK, {"mark": -0.24})],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_candidate_at_its_margin_is_rarely_promoted(watch, dealt, guardrail, harm):
    """40 releases at about the margin: more than 6 promotions happen once in a thousand at .05."""
    rules = rules_of(guardrail, alpha_revert=1e-6)
    runs = (dealt(3_000, 900 + seed, share=0.5, **harm) for seed in range(40))
    promoted = sum("promote" in set(watch(rules, r).path()["decision"]) for r in runs)
    assert promoted <= 6


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 400), max_size=4), seed=st.integers(0, 20), units=st.booleans())
def test_chunks_of_runs_are_bit_for_bit_all_runs_at_once(watch, dealt, cuts, seed, units):
    rules = rules_of(*ALL_KINDS, alpha_revert=1e-9, strata=(("a", 0.6), ("b", 0.4)))
    runs = dealt(400, seed)
    rng = np.random.default_rng(seed)
    runs["stratum"] = rng.choice(["a", "b", "c"], 400)
    runs["lost"] = rng.random(400) < 0.05
    runs.loc[runs.index % 19 == 3, "cost_usd"] = np.nan
    if units:
        runs["unit"] = rng.integers(0, 250, 400)
    whole = watch(rules, runs)
    parts = watch(rules, *(runs.iloc[a:b] for a, b in pairwise([0, *sorted(cuts), 400])))
    assert parts.to_json() == whole.to_json()
    pd.testing.assert_frame_equal(parts.path(), whole.path())


def test_runs_and_blocks_of_the_same_release_agree(watch, dealt, history, block):
    rules, runs = rules_of(*ALL_KINDS), dealt(400, 9)
    by_runs = watch(rules, runs)
    sent = {name: [] for name in (*(g.name for g in rules.guardrails), ASSIGNED)}
    for number in range(20):
        part = runs.iloc[20 * number : 20 * number + 20]
        candidate = (part["arm"] == "candidate").to_numpy()
        n_c, none = int(candidate.sum()), np.zeros(20, dtype=bool)
        for name, held in by_runs._evidence.items():
            scored = held.terms.method.score(part, candidate, np.full(20, 0.3), none, none)
            y_c, y_b = int(scored.hit[candidate].sum()), int(scored.hit[~candidate].sum())
            sums = tuple(scored.added.sum(axis=0))
            sent[name].append(block(number, n_c, y_c, 20 - n_c, y_b, share_bp=3000, sums=sums))
        sent[ASSIGNED].append(block(number, n_c, 0, 20 - n_c, 0, share_bp=3000))
    by_blocks = Comparison(rules, history)
    for number in range(0, 20, 5):
        by_blocks.observe_blocks({name: rows[number : number + 5] for name, rows in sent.items()})
    assert by_blocks.verdict().log_family == pytest.approx(by_runs.verdict().log_family, abs=1e-9)
    ours, theirs = by_blocks.verdict().guardrails, by_runs.verdict().guardrails
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.log_e_promote == pytest.approx(other.log_e_promote, abs=1e-9)
        assert (mine.estimate, mine.low) == pytest.approx((other.estimate, other.low))


def test_cost_is_shown_in_dollars_a_completed_run(watch, dealt):
    runs = dealt(6_000, 4, share=0.5, cost=1.2)
    found = watch(rules_of(COST, alpha_revert=1e-12), runs).verdict().guardrail("cost")
    arms = [runs[runs["arm"] == arm] for arm in ("candidate", "baseline")]
    closed = [arm["cost_usd"].sum() / arm["completed"].sum() for arm in arms]
    assert (found.unit, found.margin) == ("USD per completed run", pytest.approx(0.1 * 0.087, rel=0.1))
    assert (found.candidate_rate, found.baseline_rate) == pytest.approx(closed, rel=1e-2)
    assert found.estimate == pytest.approx(closed[0] - closed[1], rel=0.1)


def test_marks_are_shown_on_their_scale(watch, dealt):
    found = watch(rules_of(MARK), dealt(3_000, 4, share=0.5)).verdict().guardrail("judge")
    assert 3.5 < found.candidate_rate < 4.5
    assert (found.unit, found.margin) == ("marks", pytest.approx(-0.2))


def test_an_unreported_amount_is_the_worst_and_a_better_candidate_cant_hide_behind_it(watch, dealt):
    runs = dealt(6_000, 6)
    silent = (runs["arm"] == "candidate") & (runs.index % 4 == 0)
    runs.loc[silent, ["cost_usd", "mark"]] = np.nan
    for guardrail in (COST, MARK):
        assert watch(rules_of(guardrail), runs).verdict().decision is Decision.REVERT


def test_without_history_of_a_column_its_guardrail_has_no_data_and_says_so(dealt):
    comparison = Comparison(rules_of(COST, MARK), History())
    comparison.observe(dealt(500, 1))
    verdict = comparison.verdict()
    cost = verdict.guardrail("cost")
    assert (verdict.decision, cost.word) == (Decision.HOLD, Word.NO_DATA)
    assert "history has no cost_usd" in cost.reason
    assert verdict.guardrail("judge").word is Word.UNDECIDED


def test_evidence_of_every_kind_survives_json_and_goes_on(watch, dealt, history):
    rules, first, second = rules_of(*ALL_KINDS), dealt(333, 1), dealt(300, 2)
    units = [frame.assign(unit=np.arange(len(frame)) // 2) for frame in (first, second)]
    again = Comparison.from_json(rules, history, json.loads(json.dumps(watch(rules, units[0]).to_json())))
    again.observe(units[1])
    assert again.to_json() == watch(rules, *units).to_json()


def test_history_of_amounts_survives_json(history, dealt):
    again = History.from_json(json.loads(json.dumps(history.to_json())))
    runs, verdicts = dealt(600, 2), []
    for known in (history, again):
        comparison = Comparison(rules_of(*ALL_KINDS), known)
        comparison.observe(runs)
        verdicts.append(comparison.verdict())
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize(
    ("column", "value"), [("cost_usd", -1.0), ("cost_usd", np.inf), ("mark", 5.5), ("mark", "good")]
)
def test_an_amount_that_cant_be_is_refused_by_run_and_column(watch, dealt, column, value):
    runs = dealt(40, 1).astype({column: object})
    runs.loc[7, column] = value
    comparison = watch(rules_of(COST, MARK))
    before = comparison.to_json()
    with pytest.raises(InvalidEvidence, match=f"column {column}"):
        comparison.observe(runs)
    assert comparison.to_json() == before


@pytest.mark.parametrize("sums", [(), (1.0,) * 19, (float("nan"),) * 20])
def test_a_block_with_sums_of_another_kind_is_refused(history, block, sums):
    comparison = Comparison(rules_of(COST), history)
    with pytest.raises(InvalidEvidence, match=r"block 3.*column sums"):
        comparison.observe_blocks({"cost": [block(3, 2, 2, 18, 18, sums=sums)]})


def test_a_score_is_refused_where_the_share_is_not_ours(history):
    with pytest.raises(InvalidPolicy, match=r"judge.*share is not ours"):
        Comparison(rules_of(MARK, share_ours=False), history)


@pytest.mark.parametrize("kind", [COST, EDITS, CALLS], ids=lambda g: g.name)
def test_an_amount_is_judged_without_the_share_where_it_is_not_ours(history, dealt, kind):
    """The recorded share is a tenth of the real one: the tilt does not read it, the bet would believe it."""
    rules = rules_of(kind, share_ours=False)
    worse = Comparison(rules, history)
    worse.observe(read_by(rules, dealt(4_000, 2, share=0.5, **HARMS[kind.name]).assign(share=0.05)))
    assert worse.verdict().culprits == (kind.name,)
    alike = Comparison(rules, history)
    alike.observe(read_by(rules, dealt(4_000, 2, share=0.5).assign(share=0.05)))
    assert alike.path()["family"].max() < np.log(20)


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 400), max_size=4), seed=st.integers(0, 20))
def test_chunks_are_all_runs_at_once_where_the_share_is_not_ours(history, dealt, cuts, seed):
    rules = rules_of(COST, EDITS, SLOW, share_ours=False, alpha_revert=1e-9)
    runs = read_by(rules, dealt(400, seed))
    whole, parts = Comparison(rules, history), Comparison(rules, history)
    whole.observe(runs)
    for a, b in pairwise([0, *sorted(cuts), 400]):
        parts.observe(runs.iloc[a:b])
    assert parts.to_json() == whole.to_json()


def test_a_proportion_is_judged_without_the_share_where_it_is_not_ours(history, dealt):
    rules, runs = rules_of(SLOW, share_ours=False), dealt(4_000, 2, share=0.5, latency=2.0).assign(share=0.1)
    comparison = Comparison(rules, history)
    comparison.observe(read_by(rules, runs))
    verdict = comparison.verdict()
    assert (verdict.decision, verdict.valid) == (Decision.REVERT, True)
    assert verdict.guardrail("latency").log_e_harm == pytest.approx(
        verdict.guardrail("latency").log_e_check, abs=1e-9
    )


def test_a_declared_harm_is_caught_sooner(watch, dealt):
    """Half of the prior's mass at the size that matters."""
    plain, declared = rules_of(COST), rules_of(replace(COST, smallest_harm=0.2))
    gains = []
    for seed in range(12):
        runs = dealt(6_000, 300 + seed, cost=1.2)
        ends = [watch(rules, runs).path()["candidate"].iloc[-1] for rules in (plain, declared)]
        gains.append(ends[0] - ends[1])
    assert np.mean(gains) > 0


@pytest.mark.parametrize("guardrail", ALL_KINDS, ids=lambda g: g.name)
def test_every_kind_is_kept_in_two_kilobytes_a_stratum(watch, dealt, guardrail):
    held = watch(rules_of(guardrail), dealt(400, 1))._evidence[guardrail.name].every
    assert held.bet.nbytes + held.conditional.nbytes + held.part("all").bet.nbytes <= 2_000
