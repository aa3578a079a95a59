"""`lastgood backtest`, as people and scripts call it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from config.policy import Policy
from lastgood.cli import main

RECORDED = Path(__file__).parents[3] / "examples" / "recorded"
SWEBENCH = RECORDED / "swebench_pro_2025.csv"
SONNET, GPT_5, GPT_4O = "claude-45sonnet-10132025", "gpt-5-250-turns-10132025", "gpt-4o-paper"
POLICY = """
name: quick
steps: [{share: 20%, min_runs: 10}]
guardrails: {completion: {margin: 5 points}, escalation: {margin: 5 points}}
horizon: {runs: 300, time: 14 d}
"""


@pytest.fixture(autouse=True)
def _no_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", f"sqlite:///{tmp_path / 'none.db'}")


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def runs(tmp_path):
    """A baseline that fails one run in ten and a candidate that fails six."""
    frame = pd.DataFrame(
        {
            "variant": ["v1"] * 500 + ["v2"] * 500,
            "completed": ([1] * 9 + [0]) * 50 + ([1] * 2 + [0] * 3) * 100,
        }
    )
    frame.to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def _call(*words):
    return CliRunner().invoke(main, ["backtest", *(str(word) for word in words)])


def _json(*words, ok=True):
    result = _call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _refusal(*words):
    """The one line of a refused call."""
    result = _call(*words)
    assert result.exit_code in {1, 2}
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    return lines[-1]


def test_json_has_the_published_keys_first_and_the_healthy_replays_the_same(runs, policy) -> None:
    found = _json(runs, "--baseline", "v1", "--candidate", "v2", "--policy", policy, "--replays", 6)
    keys = ["replays", "promoted", "reverted", "undecided", "invalid", "candidate_runs", "culprits"]
    assert list(found)[:7] == keys
    assert list(found["healthy"])[:7] == keys
    assert list(found["candidate_runs"]) == ["median", "p90"]
    for one in (found, found["healthy"]):
        assert one["promoted"] + one["reverted"] + one["undecided"] + one["invalid"] == one["replays"] == 6


def test_a_regression_is_reverted_and_its_culprit_named(runs, policy) -> None:
    found = _json(runs, "-b", "v1", "-c", "v2", "--policy", policy, "--replays", 8)
    assert found["reverted"] == 8
    assert found["culprits"] == {"completion": 8}
    assert found["candidate_runs"]["median"] < 40
    assert (found["no_data"], found["strict"]) == (["escalation"], False)
    assert (found["policy"], found["steps"], found["share"]) == ("quick", [0.2], None)
    assert found["recorded"] == {"baseline": 500, "candidate": 500}


def test_a_seed_gives_the_same_answer_and_another_gives_another(runs, policy) -> None:
    words = (runs, "-b", "v1", "-c", "v2", "--policy", policy, "--replays", 6, "--json")
    assert _call(*words).stdout == _call(*words).stdout
    assert _call(*words, "--seed", 5).stdout.replace('"seed": 5', '"seed": 0') != _call(*words).stdout


def test_the_three_formats_give_the_same_answer(runs, policy) -> None:
    frame = pd.read_csv(runs)
    frame.to_json(runs.with_suffix(".jsonl"), orient="records", lines=True)
    frame.to_parquet(runs.with_suffix(".parquet"))
    words = ("-b", "v1", "-c", "v2", "--policy", policy, "--replays", 4)
    found = [_json(runs.with_suffix(suffix), *words) for suffix in (".csv", ".jsonl", ".parquet")]
    assert found[0] == found[1] == found[2]


def test_strict_holds_where_setting_aside_promotes(runs, policy) -> None:
    words = (runs, "-b", "v2", "-c", "v1", "--policy", policy, "--replays", 4)
    assert _json(*words)["promoted"] == 4
    found = _json(*words, "--strict")
    assert (found["promoted"], found["undecided"], found["no_data"]) == (0, 4, ["escalation"])


@pytest.mark.parametrize(("given", "share"), [("10%", 0.1), ("0.35", 0.35)])
def test_a_share_replaces_the_policys_steps(runs, given, share) -> None:
    found = _json(runs, "-b", "v1", "-c", "v2", "--share", given, "--replays", 2)
    assert (found["share"], found["steps"]) == (share, [share])


def test_columns_of_other_names_are_mapped_and_said(runs, policy) -> None:
    frame = pd.read_csv(runs).rename(columns={"completed": "solved", "variant": "model"})
    frame["topic"] = ["faq", "billing"] * 500
    frame.to_csv(runs, index=False)
    mapping = ("--column", "completed=solved", "--column", "variant=model", "--column", "stratum=topic")
    found = _json(runs, "-b", "v1", "-c", "v2", "--policy", policy, "--replays", 2, *mapping)
    assert found["columns"] == {"variant": "model", "stratum": "topic", "completed": "solved"}
    assert found["strata"] == {"billing": 0.5, "faq": 0.5}


def test_several_variants_are_pooled(runs, policy) -> None:
    found = _json(runs, "-b", "v1", "-b", "v2", "-c", "v2", "--policy", policy, "--replays", 2)
    assert (found["baseline"], found["recorded"]["baseline"]) == (["v1", "v2"], 1000)


def test_people_read_endings_reasons_and_what_a_release_would_refuse(runs, policy) -> None:
    result = _call(runs, "-b", "v1", "-c", "v2", "--policy", policy, "--replays", 5)
    assert "v1 -> v2: 5 replays of policy quick at 20%" in result.stdout
    assert "reverted by: completion 5" in result.stdout
    assert "no_data: escalation (set aside, their weight shared out)" in result.stdout
    assert "a healthy release is disturbed in " in result.stdout
    assert "a real release would be refused: guardrail completion can't be proven" in result.stdout
    assert result.stderr == ""  # the progress bar is for a terminal


def test_a_horizon_that_time_ends_is_said(runs, policy) -> None:
    result = _call(runs, "-b", "v1", "-c", "v1", "--policy", policy, "--replays", 2, "--runs-per-day", 10)
    assert "at 10 eligible runs a day about 28 candidate runs come before it, not 300" in result.stdout


def test_slices_of_the_policy_that_no_run_is_in_are_said(runs, tmp_path) -> None:
    path = tmp_path / "sliced.yaml"
    path.write_text(POLICY + "strata: [faq, billing]\n")
    result = _call(runs, "-b", "v1", "-c", "v2", "--policy", path, "--replays", 1)
    assert "strata: no recorded run is in a slice of the policy" in result.stdout


def test_a_rate_trigger_of_the_policy_reverts(runs, tmp_path) -> None:
    path = tmp_path / "triggered.yaml"
    path.write_text(
        POLICY.replace("5 points}}", "5 points, matures: 5 d}}").replace(
            "completion: {margin: 5 points}", "completion: {margin: 5 points, matures: 5 d}"
        )
        + "triggers: {rates: {completion: {limit: 0.2}}}\n"
    )
    found = _json(runs, "-b", "v1", "-c", "v2", "--policy", path, "--replays", 3)
    assert found["triggers"] == {"completion": 3}


def test_a_catastrophe_in_real_outcomes_is_reverted_within_few_candidate_runs() -> None:
    found = _json(
        SWEBENCH, "-b", SONNET, "-c", GPT_4O, "--share", "10%", "--runs-per-day", 50_000, "--replays", 12
    )
    assert found["reverted"] == 12
    assert found["candidate_runs"]["p90"] <= 45
    assert found["columns"] == {"completed": "success"}


def test_an_improvement_in_real_outcomes_is_never_reverted_more_than_alpha() -> None:
    words = ("--share", "50%", "--runs-per-day", 50_000, "--replays", 8)
    found = _json(SWEBENCH, "-b", GPT_5, "-c", SONNET, *words)
    assert found["promoted"] >= 7


def test_a_stored_policy_is_found_by_its_name(runs, policy) -> None:
    for words in (["db", "upgrade"], ["policy", "add", policy, "--actor", "ann"]):
        assert CliRunner().invoke(main, words).exit_code == 0
    found = _json(runs, "-b", "v1", "-c", "v2", "--policy", "quick", "--replays", 1)
    assert found["policy_digest"] == Policy.load(Path(policy)).digest


def test_no_store_is_needed_or_made(runs, tmp_path) -> None:
    assert (
        _json(runs, "-b", "v1", "-c", "v2", "--policy", "low_traffic", "--replays", 1)["policy"]
        == "low_traffic"
    )
    assert not (tmp_path / "none.db").exists()


def test_a_policy_that_is_nowhere_is_refused(runs) -> None:
    said = _refusal(runs, "-b", "v1", "-c", "v2", "--policy", "mine")
    assert "no policy 'mine' is built in, and stored ones can't be looked up: there is no store" in said


def test_a_policy_file_that_cannot_be_read_is_refused(runs, tmp_path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nstepz: []\n")
    assert "bad.yaml:2" in _refusal(runs, "-b", "v1", "-c", "v2", "--policy", tmp_path / "bad.yaml")
    assert "absent.yaml: can't be read" in _refusal(
        runs, "-b", "v1", "-c", "v2", "--policy", tmp_path / "absent.yaml"
    )


def test_runs_that_cannot_be_used_are_one_line(runs, tmp_path) -> None:
    assert "no run of variant 'v3' is recorded; there are v1, v2" in _refusal(runs, "-b", "v3", "-c", "v2")
    assert "absent.csv can't be read" in _refusal(tmp_path / "absent.csv", "-b", "v1", "-c", "v2")
    assert "no column 'solved'" in _refusal(runs, "-b", "v1", "-c", "v2", "--column", "completed=solved")


def test_a_policy_that_watches_nothing_recorded_is_refused(runs, tmp_path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("name: other\nguardrails: {escalation: {}}\n")
    assert "none of the policy's guardrails (escalated)" in _refusal(
        runs, "-b", "v1", "-c", "v2", "--policy", path
    )


@pytest.mark.parametrize(
    "words",
    [("--share", "0"), ("--share", "x"), ("--column", "completed"), ("--replays", "0"), ("--seed", "-1")],
)
def test_an_option_that_cannot_be_is_refused(runs, words) -> None:
    assert f"Invalid value for '{words[0]}'" in _refusal(runs, "-b", "v1", "-c", "v2", *words)


def test_the_command_loads_no_prefect() -> None:
    code = "import sys, tasks.commands.backtest; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
