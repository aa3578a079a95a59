from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from evaluators import Comparison, Decision, History
from evaluators.rules import OnHarm

LONG = History.from_counts({"completion": (20_000, 1_600), "validation": (20_000, 600)})


def watched(rules, *frames):
    comparison = Comparison(rules, LONG)
    for frame in frames:
        comparison.observe(frame, every_run=True)
    return comparison


@pytest.fixture
def rules(make_rules):
    return make_rules(
        "completion", "validation", alpha_revert=1e-9, strata=(("a", 0.5), ("b", 0.5)),
        on_harm=(("b", OnHarm.HOLD),),
    )  # fmt: skip


@pytest.fixture
def runs(draw):
    found = draw(300, 3, share=0.3)
    found["stratum"] = np.random.default_rng(3).choice(["a", "b", "c"], 300)
    found.loc[150:, "share"] = 0.5
    return found


@pytest.mark.parametrize("named", [False, True])
def test_a_row_is_what_a_comparison_of_the_runs_so_far_says(rules, runs, named):
    """By brute force: a fresh comparison of every prefix."""
    if named:
        runs["unit"] = np.arange(300)
    path = watched(rules, runs).path()
    assert len(path) == 300
    for place in (0, 7, 19, 20, 21, 149, 150, 151, 299):
        verdict = Comparison(rules, LONG)
        verdict.observe(runs.iloc[: place + 1])
        found, row = verdict.verdict(), path.iloc[place]
        for g in found.guardrails:
            assert row[f"harm:{g.name}"] == pytest.approx(g.log_e_harm, abs=1e-9)
            assert row[f"promote:{g.name}"] == pytest.approx(g.log_e_promote, abs=1e-9)
        assert row["family"] == pytest.approx(found.log_family, abs=1e-9)
        assert (row["assigned"], row["candidate"]) == (found.assigned, found.candidate_runs)
        assert row["mismatch"] == pytest.approx(found.log_mismatch, abs=1e-9)


def test_looking_at_every_run_leaves_the_same_evidence(rules, runs):
    by_block = Comparison(rules, LONG)
    by_block.observe(runs)
    assert watched(rules, runs).to_json() == by_block.to_json()


def test_chunks_give_the_same_rows(rules, runs):
    parts = watched(rules, *(runs.iloc[a:b] for a, b in pairwise([0, 33, 34, 170, 300])))
    pd.testing.assert_frame_equal(parts.path(), watched(rules, runs).path(), rtol=1e-9)


def test_a_collapse_ends_at_the_run_that_proves_it(make_rules, draw):
    rules = make_rules("completion", "validation")
    runs = draw(600, 2, harm={"completed": 0.9})
    comparison = watched(rules, runs)
    path, verdict = comparison.path(), comparison.verdict()
    assert path["decision"].tolist()[-2:] == ["hold", "revert"]
    assert (verdict.decision, verdict.culprits[0]) == (Decision.REVERT, "completion")
    assert verdict.assigned == len(path)
    by_block = Comparison(rules, LONG)
    by_block.observe(runs)
    assert len(path) <= by_block.path()["assigned"].iloc[-1] < len(path) + 20
    before = comparison.to_json()
    comparison.observe(draw(50, 9), every_run=True)
    assert comparison.to_json() == before
