"""The study's streams are what they say, and its page is written from what is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, History


@pytest.fixture(scope="module")
def scenarios():
    import scenarios

    return {each.name: each for each in scenarios.SCENARIOS}


def test_every_scenario_can_be_judged(scenarios):
    for name, each in scenarios.items():
        rng = np.random.default_rng(1)
        comparison = Comparison(each.rules, History(each.history(rng)))
        comparison.observe(each.stream(rng, 600))
        assert comparison.verdict().assigned > 0, name
        assert all(guardrail.n_b for guardrail in comparison.verdict().guardrails), name


@pytest.mark.parametrize("name", ["no-change", "wave", "lost-infra", "sticky-10-.1"])
def test_a_null_is_the_same_in_both_arms(scenarios, name):
    runs = scenarios[name].stream(np.random.default_rng(2), 60_000)
    bad = ~runs["completed"].astype(bool)
    ours = runs["arm"] == "candidate"
    assert bad[ours].mean() == pytest.approx(bad[~ours].mean(), abs=0.03)
    assert bad.mean() == pytest.approx(0.08, abs=0.02)


def test_sticky_users_keep_their_arm_and_fail_alike(scenarios):
    runs = scenarios["sticky-10-.3"].stream(np.random.default_rng(3), 40_000)
    by_user = runs.assign(bad=~runs["completed"]).groupby("unit")
    assert (by_user["arm"].nunique() == 1).all()
    p, rates = (~runs["completed"]).mean(), by_user["bad"].mean()
    icc = (rates.var() / (p * (1 - p)) - 0.1) / 0.9
    assert icc == pytest.approx(0.3, abs=0.05)


def test_a_ramp_rises_and_its_shares_are_whole_basis_points(scenarios):
    shares = scenarios["wave-ramp"].stream(np.random.default_rng(4), 17_500)["share"]
    assert shares.is_monotonic_increasing
    assert (shares.iloc[0], shares.iloc[-1] > 0.49) == (0.1, True)
    assert np.allclose(np.rint(shares * 10_000), shares * 10_000)


@pytest.mark.parametrize(
    ("name", "column", "times"),
    [("at-cost", "cost_usd", 1.1), ("at-one-in-200", "cost_usd", 1.1), ("at-edits", "operator_edits", 1.3)],
)
def test_a_margin_is_met_exactly(scenarios, name, column, times):
    runs = scenarios[name].stream(np.random.default_rng(5), 2_000_000)
    means = runs.groupby("arm", observed=True)[column].mean()
    assert means["candidate"] / means["baseline"] == pytest.approx(times, rel=0.02)


def test_a_replication_is_the_same_again(scenarios):
    from judging import judge

    short = replace(scenarios["drop"], runs=2_000)
    assert judge(short, 3) == judge(short, 3)
    assert judge(short, 3) != judge(short, 4)


def test_the_page_holds_every_group_that_is_known(scenarios, tmp_path):
    import table

    rows = {
        "no-change": [
            {"revert_05": [40, "completion"], "revert_01": None},
            {"revert_05": None, "revert_01": None},
        ],
        "drop": [{"revert": [n, "completion"]} for n in (10, 20, 30)],
        "equal-10": [
            {"revert": None, "promote": 900, "gate": None},
            {"revert": None, "promote": None, "gate": None},
        ],
        "at-cost": [{"revert": [80, "cost"], "promote": 90, "gate": 85}],
    }
    for name, found in rows.items():
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"version": "x", "cpu": 1.0, "rows": found}), "utf-8"
        )
    (tmp_path / "peer-gbstats-drop.json").write_text('[[60, "completion"], null]', "utf-8")
    table.write(tmp_path, tmp_path / "page" / "study.md", tmp_path / "page" / "study.json")
    page = (tmp_path / "page" / "study.md").read_text("utf-8")
    assert "| no change | 2 | 0.500 (< 0.975) | 0.000 (< 0.776) |" in page
    assert "| completion .92 to .64 | 3 | 20 (" in page
    assert "| cost x1.10 | 1 | 0.000 (< 0.950) | 1.000 (< 1.000) |" in page
    assert "| equal candidate, 10% | 2 | 0.50 (" in page
    assert "## Peers on the same streams" in page
    raw = json.loads((tmp_path / "page" / "study.json").read_text("utf-8"))
    assert raw["drop"] == {
        "version": "x",
        "replications": 3,
        "cpu": 1.0,
        "revert": [[n, "completion"] for n in (10, 20, 30)],
    }
