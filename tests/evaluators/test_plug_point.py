"""The plug point takes runs as people have them: other dtypes, indexes and cuts, columns that are missing."""

import uuid
from dataclasses import replace
from enum import StrEnum

import numpy as np
import pandas as pd
import pytest

import evaluators
from config.policy import Policy
from evaluators.rules import Kind
from lastgood.errors import InvalidEvidence, InvalidPolicy

N = 400
FLAGS = ["completed", "validated", "escalated", "incidents", "lost", "infra_failure"]


class Arm(StrEnum):
    """Arms as a caller's own code may name them."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


@pytest.fixture(scope="module")
def runs(draw):
    rng = np.random.default_rng([N, 1])
    return draw(N, 3, share=0.2).assign(
        unit=[f"user-{n}" for n in range(N)],
        stratum=rng.choice(["a", "b"], N),
        cost_usd=rng.lognormal(-3.0, 1.0, N),
        operator_edits=rng.poisson(0.4, N),
        latency_s=rng.lognormal(1.0, 0.5, N),
    )


@pytest.fixture(scope="module")
def policy(make_rules):
    rules = make_rules("completion", "incidents")
    cost = replace(
        rules.guardrails[0], name="cost", column="cost_usd", bad=True, kind=Kind.RATIO, margin_abs=None,
        margin_rel=0.1, weight=0.5,
    )  # fmt: skip
    halved = tuple(replace(g, weight=g.weight / 2) for g in rules.guardrails)
    return replace(rules, guardrails=(*halved, cost))


@pytest.fixture(scope="module")
def history(runs):
    return evaluators.History(pd.concat([runs] * 20, ignore_index=True).drop(columns=["unit", "arm"]))


@pytest.fixture(scope="module")
def watched(policy, history):
    def make(frame, every=N):
        comparison = evaluators.Comparison(policy, history)
        for start in range(0, len(frame), every):
            comparison.observe(frame.iloc[start : start + every])
        return comparison

    return make


def whole(runs):
    return runs.assign(**{name: runs[name].astype(int) for name in FLAGS})


SAME = {
    "flags as 0 and 1": whole,
    "flags as floats": lambda runs: runs.assign(**{name: runs[name].astype(float) for name in FLAGS}),
    "nullable dtypes": lambda runs: runs.convert_dtypes(),
    "objects": lambda runs: runs.astype(object),
    "categories": lambda runs: runs.astype({"arm": "category", "stratum": "category", "unit": "category"}),
    "arms of an enum": lambda runs: runs.assign(arm=[Arm(arm) for arm in runs["arm"]]),
    "an unsorted index": lambda runs: runs.set_index(np.random.default_rng(1).permutation(N)),
    "an index that repeats": lambda runs: runs.set_index(np.zeros(N, dtype=int)),
    "an index of times": lambda runs: runs.set_index(pd.date_range("2026-01-01", periods=N, freq="min")),
    "units as numbers": lambda runs: runs.assign(unit=np.arange(N)),
    "units as numbers that pandas made floats": lambda runs: runs.assign(unit=np.arange(N, dtype=float)),
    "units as UUIDs": lambda runs: runs.assign(unit=[uuid.UUID(int=n) for n in range(N)]),
    "no units": lambda runs: runs.drop(columns="unit"),
    "no strata": lambda runs: runs.drop(columns="stratum"),
    "strata that are missing": lambda runs: runs.assign(stratum=None),
    "columns in another order": lambda runs: runs[sorted(runs.columns)],
    "columns that are not watched left out": lambda runs: runs.drop(columns=["latency_s", "escalated"]),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_runs_in_other_clothes_are_judged_alike(runs, watched, change):
    frame = change(runs)
    kept = frame.copy(deep=True)
    expected, found = watched(runs), watched(frame)
    pd.testing.assert_frame_equal(found.path(), expected.path())
    assert found.verdict() == expected.verdict()
    pd.testing.assert_frame_equal(frame, kept)  # and are left as they were


@pytest.mark.parametrize("every", [1, 7, 20])
@pytest.mark.parametrize("units", [N, 40], ids=["once", "sticky"])
def test_one_by_one_is_all_at_once(runs, watched, every, units):
    arm = runs["arm"].to_numpy()[np.arange(N) % units]  # a unit keeps its arm
    frame = runs.assign(unit=np.arange(N) % units, arm=arm)
    found, expected = watched(frame, every), watched(frame)
    pd.testing.assert_frame_equal(found.path(), expected.path())
    assert found.verdict() == expected.verdict()


def test_a_look_follows_every_closed_block_and_has_the_promised_columns(runs, watched, policy):
    path = watched(runs).path()
    assert path["assigned"].tolist() == list(range(20, N + 1, 20))
    assert path["candidate"].iloc[-1] == (runs["arm"] == "candidate").sum()
    promised = {"assigned", "candidate", "family", "decision"}
    promised |= {f"{test}:{g.name}" for g in policy.guardrails for test in ("harm", "promote")}
    assert promised <= set(path.columns)


@pytest.mark.parametrize("empty", ["no column", "no row"])
def test_nothing_observed_changes_nothing(runs, watched, empty):
    comparison = watched(runs)
    before = comparison.path(), comparison.verdict()
    comparison.observe(pd.DataFrame() if empty == "no column" else runs.iloc[:0])
    pd.testing.assert_frame_equal(comparison.path(), before[0])
    assert comparison.verdict() == before[1]


@pytest.mark.parametrize(("column", "guardrail"), [("completed", "completion"), ("cost_usd", "cost")])
def test_an_absent_column_is_no_data_and_never_a_pass(runs, watched, column, guardrail):
    verdict = watched(runs.drop(columns=column)).verdict()
    assert (verdict.guardrail(guardrail).word, verdict.decision) == ("no_data", "hold")


def test_a_history_without_a_column_leaves_its_amounts_without_data(runs, policy):
    comparison = evaluators.Comparison(policy, evaluators.History(runs.drop(columns=["cost_usd", "unit"])))
    comparison.observe(runs)
    assert comparison.verdict().guardrail("cost").word == "no_data"


def test_runs_that_are_all_lost_hold_and_those_of_one_arm_revert(runs, watched):
    assert watched(runs.assign(lost=True)).verdict().decision == "hold"
    assert watched(runs.assign(lost=runs["arm"] == "candidate")).verdict().decision == "revert"


@pytest.mark.parametrize("name", ["default", "low_traffic"])
def test_a_policy_of_config_is_taken_as_it_is(runs, history, name):
    policy = Policy.builtin(name)
    by_policy, by_rules = (evaluators.Comparison(p, history) for p in (policy, policy.rules()))
    for comparison in (by_policy, by_rules):
        comparison.observe(runs)
    assert by_policy.verdict() == by_rules.verdict()


def test_what_is_no_policy_is_refused_with_the_way_to_one(history):
    with pytest.raises(InvalidPolicy, match=r"not under dict; give `config\.policy\.Policy\.load"):
        evaluators.Comparison({"guardrails": {}}, history)


@pytest.mark.parametrize("unit", [0.5, b"a", (1, 2), True])
def test_a_unit_that_is_no_name_is_refused(runs, watched, unit):
    with pytest.raises(InvalidEvidence, match=r"column unit: .* is no text and no whole number"):
        watched(runs.assign(unit=pd.Series([unit] * N, dtype=object)))
