"""The pytest plugin: regression cases as tests in a team's own repository, and nothing unless asked."""

import json
import subprocess
import sys
from textwrap import dedent

import pytest

CASES = dedent("""
    name: support
    cases:
    - name: answers kindly
      inputs: {order: "7"}
      evaluators: [Completes, {Contains: kind}]
      metadata:
        lastgood:
          agent: support
          incident: inc_1
          signature: it was rude
    - name: looks the order up
      inputs: {order: "8"}
      evaluators: [Completes]
      metadata:
        lastgood:
          agent: support
          fixtures:
          - {tool: find, arguments: {order: "8"}, result: {state: sent}}
""")
AGENT = dedent("""
    import lastgood


    def find(order):
        raise AssertionError("nothing outside is there")


    def replay(inputs):
        with lastgood.run("support") as run:
            if inputs["order"] == "8":
                run.tool(find)(inputs["order"])
            return run.bundle.prompt.text
""")
BUNDLE = dedent("""
    agent: support
    author: ann
    parts:
      prompt: {version: "1", inline: "be %s"}
      model: {version: "1", inline: {}}
      tools: {version: "1", inline: [find]}
      memory: {version: "1", inline: {}}
      policy: {version: "1", inline: {}}
""")


@pytest.fixture
def team(tmp_path, clean_environment):
    """A repository with an agent, its bundles, cases, and a test of its own."""
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "support.yaml").write_text(CASES)
    (tmp_path / "support_agent.py").write_text(AGENT)
    for name in ("kind", "rude"):
        (tmp_path / f"{name}.yaml").write_text(BUNDLE % name)
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(*words, code=0):
        environment = clean_environment | {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "lastgood.pytest_plugin",
            "-p",
            "xdist.plugin",
            *words,
        ]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder = tmp_path
    return run


def on(bundle, *more):
    return (
        "--lastgood-cases",
        "cases",
        "--lastgood-bundle",
        bundle,
        "--lastgood-replay",
        "support_agent:replay",
        *more,
    )


def test_it_is_inert_unless_asked_for(team):
    assert "1 passed" in team("-v", ".")
    assert "answers kindly" not in team("-v", ".")


def test_every_option_begins_with_lastgood(team):
    text = team("--help").partition("regression cases of lastgood:")[2].partition("\n\n")[0]
    options = [line.split()[0] for line in text.splitlines() if line.strip().startswith("--")]
    assert len(options) == 8
    assert all(option.startswith("--lastgood-") for option in options)


def test_the_cases_alone_are_run_on_the_bundle(team):
    output = team(*on("kind.yaml", "-v"))
    assert "2 passed" in output
    assert "test_own" not in output


def test_a_failing_case_says_what_fails_and_what_it_stands_for(team):
    output = team(*on("rude.yaml"), code=1)
    assert "1 failed, 1 passed" in output
    assert "the case answers kindly of support fails on rude.yaml" in output
    assert "Contains: the output 'be rude' does not contain 'kind'" in output
    assert "it stands for inc_1: it was rude" in output
    assert "Traceback" not in output


def test_workers_share_the_cases_and_one_report_is_written(team):
    team(*on("rude.yaml", "-n", "2", "--lastgood-report", "report.json"), code=1)
    report = json.loads((team.folder / "report.json").read_text())
    assert report["bundle"] == "rude.yaml"
    assert [(one["name"], one["passed"]) for one in report["cases"]] == [
        ("answers kindly", False),
        ("looks the order up", True),
    ]


def test_own_tests_are_run_too_where_they_are_named(team):
    assert "3 passed" in team("test_own.py", *on("kind.yaml"))


def test_a_case_can_be_chosen_by_name(team):
    assert "1 passed, 1 deselected" in team(*on("kind.yaml", "-k", "kindly"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lastgood-cases", "nowhere", "--lastgood-bundle", "kind.yaml"), "there is no such folder"),
        (("--lastgood-cases", "cases"), "needs --lastgood-bundle"),
        (("--lastgood-cases", "test_own.py", "--lastgood-bundle", "kind.yaml"), None),
    ],
)
def test_options_that_can_not_be_are_one_line(team, words, said):
    output = team(*words, code=4 if said else 2)
    if said:
        assert said in output
    assert "INTERNALERROR" not in output


def test_an_unknown_evaluator_names_the_file_and_the_way_out(team):
    (team.folder / "cases" / "more.yaml").write_text("cases:\n- inputs: 1\n  evaluators: [LLMJudge]\n")
    output = team(*on("kind.yaml"), code=2)
    assert "more.yaml:3: no evaluator 'LLMJudge' is known here" in output
    assert "--lastgood-evaluator" in output


def test_a_teams_own_check_is_named_by_an_option(team):
    (team.folder / "own.py").write_text(
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Short:\n    most: int\n\n"
        "    def why_not(self, subject):\n"
        "        return 'too long' if len(subject.played.output) > self.most else None\n"
    )
    (team.folder / "cases" / "support.yaml").write_text(
        "cases:\n- name: a\n  inputs: {order: '7'}\n  evaluators: [{Short: 2}]\n"
        "  metadata: {lastgood: {agent: support}}\n"
    )
    assert "Short: too long" in team(*on("kind.yaml", "--lastgood-evaluator", "own:Short"), code=1)


def test_an_agent_without_a_replay_says_what_to_declare(team):
    output = team("--lastgood-cases", "cases", "--lastgood-bundle", "kind.yaml", code=1)
    assert "declares no replay: write `replay: package.module:function`" in output


def test_a_bundle_that_is_not_there_fails_the_case_in_one_line(team):
    output = team(*on("nothing.yaml"), code=1)
    assert "nothing.yaml" in output
    assert "Traceback" not in output


def test_the_plugin_itself_loads_nothing_heavy():
    code = (
        "import lastgood.pytest_plugin, sys; print({'yaml', 'httpx', 'sqlmodel', 'click'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"
