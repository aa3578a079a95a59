"""`lastgood simulate`: what people and machines read."""

import json
import re

import pytest
from click.testing import CliRunner
from PIL import Image

from lastgood.cli import main

POLICY = """
name: quick
lost_after: 1 min
guardrails: {completion: {margin: 20 points}}
steps: [{share: 50%}]
horizon: {runs: 200}
"""
FEW = ("--releases", "8", "--workers", "1", "--runs-per-day", "5000", "--history-runs", "500")


@pytest.fixture
def simulate(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)

    def run(*arguments, fails=False):
        made = CliRunner().invoke(main, ["simulate", str(tmp_path / "policy.yaml"), *FEW, *arguments])
        assert (made.exit_code != 0) == fails, made.output
        return made

    return run


def test_it_says_in_words_how_often_it_errs_and_how_soon_it_decides(simulate):
    said = simulate().stdout
    assert "policy quick: 8 releases of a candidate that changes nothing" in said
    assert "not of yours" in said
    assert "reverted by mistake" in said
    assert "promoted by mistake" in said
    assert re.search(r"completion  91\.\d% completed -> (9|10)\.\d% completed +100\.0%", said)
    assert "allowed 0.05" in said


def test_json_holds_every_rate_with_its_interval(simulate):
    found = json.loads(simulate("--json").stdout)
    assert found["policy"] == "quick"
    assert {story["kind"] for story in found["stories"]} == {"unchanged", "margin", "harm"}
    for story in found["stories"]:
        for key in ("promoted", "reverted", "undecided"):
            assert 0.0 <= story[key]["low"] <= story[key]["rate"] <= story[key]["high"] <= 1.0
    collapse = next(s for s in found["stories"] if "collapse" in s["label"])
    assert collapse["reverted"]["count"] == len(collapse["reverted_at"])


def test_a_policy_that_a_release_would_refuse_is_simulated_and_called_so(simulate, tmp_path):
    assert "would be refused" not in simulate().stdout
    (tmp_path / "policy.yaml").write_text(POLICY.replace("20 points", "0.1 points"))
    assert "a real release would be refused: " in simulate(fails=True).stdout
    assert "completion" in json.loads(simulate("--json", fails=True).stdout)["refused"][0]


def test_the_same_seed_gives_the_same_answer(simulate):
    assert simulate("--seed", "3").stdout == simulate("--seed", "3").stdout
    assert simulate("--seed", "3", "--json").stdout != simulate("--seed", "4", "--json").stdout


def test_it_draws_a_picture(simulate, tmp_path):
    simulate("--plot", str(tmp_path / "policy.png"))
    with Image.open(tmp_path / "policy.png") as image:
        assert image.format == "PNG"


def test_a_picture_that_is_no_png_is_refused_before_any_work(simulate, tmp_path):
    made = simulate("--plot", str(tmp_path / "policy.svg"), fails=True)
    assert "is no .png file" in made.output


def test_recorded_runs_give_the_rates(simulate, tmp_path):
    rows = "\n".join(f"v1,{int(i % 4 > 0)}" for i in range(400))
    (tmp_path / "runs.csv").write_text("variant,success\n" + rows)
    said = simulate("--history", str(tmp_path / "runs.csv")).stdout
    assert "as in 400 recorded runs of runs.csv" in said
    assert re.search(r"completion  (74\.9|75\.[01])% completed -> 5[45]\.\d% completed", said)


def test_a_files_options_are_refused_for_an_agent(simulate):
    made = simulate("--history", "support", "--variant", "v1", fails=True)
    assert "support is an agent" in str(made.output) + str(made.exception)
