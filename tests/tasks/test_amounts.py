"""Amounts of runs on their way from the store's rows to blocks."""

import json

import numpy as np
import pandas as pd
import pytest

from evaluators import Comparison, History
from evaluators.blocks import BlockCounts
from evaluators.rules import Guardrail, Kind, Rules, Step
from tasks import comparison, counting, evidence, frames

COST = Guardrail("cost", "cost_usd", True, 0.5, None, 0.10, 600, kind=Kind.RATIO, unit="USD")
MARK = Guardrail("judge", "mark", False, 0.5, 0.1, None, 600, kind=Kind.SCORE)
RULES = Rules((COST, MARK), (Step(3000),))


def row(seq, **fields):
    """A run with its outcome as the store's statement gives it."""
    found = {
        "seq": seq, "task_type": "faq", "block": seq // 20, "share_bp": 3000, "assigned_us": seq,
        "arm": "candidate" if seq % 3 == 0 else "baseline", "run_id": f"run_{seq}", "received_us": seq + 5,
        "status": "ended", "completed": True, "validated": True, "escalated": None, "incidents": None,
        "cost_usd": 0.05, "operator_edits": None, "latency_s": None, "infra_failure": None,
        "metrics": '{"mark": 0.8}',
    }  # fmt: skip
    return {**found, **fields}


def framed(rows, late=()):
    return frames.frame(rows, late, (COST, MARK), lost_after_us=100, maturity_us=600)


def test_an_amount_counts_as_it_stood_at_maturity():
    late = [
        {"run_id": "run_1", "received_us": 500, "fields": '{"cost_usd": 0.2, "metrics": {"mark": 0.1}}'},
        {"run_id": "run_1", "received_us": 700, "fields": '{"cost_usd": 9.0}'},
    ]
    found = framed([row(1)], late)
    assert (found["cost_usd"][0], found["mark"][0]) == (0.2, 0.1)


def test_a_lost_run_has_no_amount():
    assert framed([row(1, received_us=200)])[["cost_usd", "completed"]].isna().all(axis=None)


def test_a_client_that_went_away_leaves_its_missing_amounts_out_and_not_the_reported_ones():
    found = framed([row(1, status="disconnected", cost_usd=None), row(2, status="disconnected"), row(3)])
    history = History(pd.DataFrame({"cost_usd": [0.1, 0.2, 0.4], "completed": [True] * 3}))
    how = evidence.method(COST, RULES, history)
    none = np.zeros(3, dtype=bool)
    assert how.score(found, none, np.full(3, 0.3), none, none).counted.tolist() == [False, True, True]


def test_blocks_from_the_store_judge_as_the_runs_do():
    rng = np.random.default_rng(4)
    rows = [
        row(seq, cost_usd=float(rng.lognormal(-3, 1)), metrics=json.dumps({"mark": float(rng.random())}))
        for seq in range(400)
    ]
    recorded = pd.DataFrame(
        {"cost_usd": rng.lognormal(-3, 1, 2_000), "completed": True, "mark": rng.random(2_000)}
    )
    history = History(recorded)
    runs = framed(rows).assign(stratum="all")
    methods = {g: evidence.method(g, RULES, history) for g in RULES.guardrails}
    window = counting.Window(runs, np.ones(400, dtype=bool), None)
    tally = counting.tally(window, methods, with_assigned=True)
    blocks = counting.blocks_of(tally, pd.Series(True, index=tally.table.index))
    by_blocks, by_runs = Comparison(RULES, history), Comparison(RULES, history)
    stored = json.loads(json.dumps({n: [comparison._plain(b) for b in found] for n, found in blocks.items()}))
    by_blocks.observe_blocks({name: [BlockCounts(*b) for b in found] for name, found in stored.items()})
    read = ["arm", "share", "lost", "completed", "infra_failure", "cost_usd", "mark"]
    by_runs.observe(runs.assign(share=0.3)[read])
    for ours, theirs in zip(by_blocks.verdict().guardrails, by_runs.verdict().guardrails, strict=True):
        assert ours.log_e_harm == pytest.approx(theirs.log_e_harm, abs=1e-9)
        assert ours.log_e_promote == pytest.approx(theirs.log_e_promote, abs=1e-9)
        assert ours.n_c == theirs.n_c == 134


def test_a_block_of_counts_alone_is_stored_without_sums():
    assert comparison._plain(BlockCounts("all", 3, 1000, 2, 1, 5, 0, closed=True)) == [
        "all", 3, 1000, 2, 1, 5, 0, True,
    ]  # fmt: skip


def test_a_client_that_went_away_is_an_infrastructure_failure_only_where_those_are_watched():
    runs = [row(1, status="disconnected", completed=None), row(2, infra_failure=True, completed=False)]
    assert framed(runs)["infra_failure"].tolist() == [True, True]
    unwatched = frames.frame(runs, (), (COST,), lost_after_us=100, maturity_us=600, infra_watched=False)
    assert unwatched["infra_failure"].tolist() == [False, False]
    assert "disconnected" not in unwatched
