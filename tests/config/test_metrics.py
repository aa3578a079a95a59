"""Guardrails as written, completed with what a policy may leave out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.metrics import KNOWN, Misplaced, fill, nearest, order


@given(st.sets(st.sampled_from(sorted(KNOWN)), min_size=1))
def test_default_weights_are_shared_out_over_the_guardrails_present(names):
    filled = fill(dict.fromkeys(names), "10 min")
    assert math.fsum(entry["weight"] for entry in filled.values()) == pytest.approx(1, abs=1e-12)
    first, *others = names
    for name in others:
        ratio = filled[name]["weight"] / filled[first]["weight"]
        assert ratio == pytest.approx(KNOWN[name].weight / KNOWN[first].weight)


def test_an_empty_entry_takes_all_its_defaults():
    assert fill({"completion": None}, "10 min") == {
        "completion": {
            "column": "completed",
            "bad": False,
            "margin": "2 points",
            "matures": "10 min",
            "weight": 1.0,
        }
    }


def test_a_relative_margin_takes_the_place_of_the_default_one():
    assert "margin" not in fill({"lost": {"margin_rel": "25%"}}, "10 min")["lost"]


def test_a_flag_of_ones_own_weighs_as_much_as_escalation():
    filled = fill({"rude": {"column": "rude", "bad": True}, "escalation": None}, "10 min")
    assert filled["rude"]["weight"] == filled["escalation"]["weight"] == 0.5


def test_given_weights_stay_as_given():
    filled = fill({"lost": {"weight": 0.3}, "infra": {"weight": 0.6}}, "10 min")
    assert (filled["lost"]["weight"], filled["infra"]["weight"]) == (0.3, 0.6)


@pytest.mark.parametrize(
    ("raw", "problem", "path"),
    [
        ({}, "at least one guardrail: completion", ()),
        ({"completon": {}}, "unknown metric; did you mean 'completion'", ("completon",)),
        ({"zebra": {}}, r"unknown metric\. Known: completion, .*of your own as \{column", ("zebra",)),
        ({"cost": {"column": "latency_s"}}, "cost is the ratio of cost_usd.*'column'", ("cost", "column")),
        ({"edits": {"better": "higher"}}, "lower is better; leave 'better' out", ("edits", "better")),
        ({"spend": None}, r"unknown metric.*kind: score", ("spend",)),
        ({"own": {"column": "completed", "kind": "score"}}, "not a free flag", ("own", "column")),
        ({"My Flag": {"column": "rude"}}, "lower-case letters", ("My Flag",)),
        ({"rude": {"column": "Rude!"}}, "a column has lower-case", ("rude", "column")),
        ({"rude": {"column": 3}}, "a column has lower-case", ("rude", "column")),
        ({"done": {"column": "completed"}}, "'completed' is not a free flag", ("done", "column")),
        ({"slow": {"column": "latency_s"}}, "'latency_s' is not a free flag", ("slow", "column")),
        ({"lost": {"bad": False}}, "counts lost: true as bad; leave 'bad' out", ("lost", "bad")),
        ({"lost": {"column": "gone"}}, "leave 'column' out", ("lost", "column")),
        ({"lost": {"weight": 1.0}, "infra": {}}, "has no weight while others have", ("infra",)),
    ],
)
def test_a_guardrail_that_can_not_be_judged_is_refused_at_its_place(raw, problem, path):
    with pytest.raises(Misplaced, match=problem) as refused:
        fill(raw, "10 min")
    assert refused.value.path == path


def test_reports_list_the_known_metrics_before_ones_own():
    assert sorted(["zeal", "lost", "aim", "completion"], key=order) == ["completion", "lost", "aim", "zeal"]


@pytest.mark.parametrize(("word", "said"), [("shre", "; did you mean 'share'?"), ("xyz", ".")])
def test_the_nearest_name_is_said_where_there_is_one(word, said):
    assert nearest(word, ["share", "min_runs"]) == said


def test_an_amount_comes_with_its_kind_and_margin():
    assert fill({"cost": None, "edits": {"margin_own": 0.2}}, "10 min") == {
        "cost": {
            "column": "cost_usd", "kind": "ratio", "better": "lower", "unit": "USD", "margin_rel": "10%",
            "matures": "10 min", "weight": 0.12 / (0.12 + 0.08),
        },
        "edits": {
            "column": "operator_edits", "kind": "ratio", "better": "lower", "unit": "edits", "cap": 10.0,
            "margin_own": 0.2, "matures": "10 min", "weight": 0.08 / (0.12 + 0.08),
        },
    }  # fmt: skip


def test_the_weights_of_all_that_a_release_can_watch_are_those_of_the_specification():
    apart = {"latency", "tool_malformed"}  # told by some agents alone: a policy names them
    ranked = {name: metric.weight for name, metric in KNOWN.items() if name not in apart}
    assert math.fsum(ranked.values()) == pytest.approx(1.0)
    assert (ranked["cost"], ranked["cost_tail"], ranked["edits"]) == (0.12, 0.03, 0.08)
