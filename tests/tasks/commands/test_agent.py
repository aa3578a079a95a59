"""`lastgood agent set | show | list | ask`."""

import contextlib
import json
import re
import sqlite3
import sys
import types

import pytest
from click.testing import CliRunner

from lastgood import control
from lastgood.cli import main
from tests.tasks.conftest import POLICY

TEXT = "agent: support\nowner: ana\nroutes: [{to: slack, url: env:HOOK, levels: [page]}]\n"


@pytest.fixture
def lastgood(world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")

    def call(*words):
        return CliRunner().invoke(main, ["agent", *map(str, words)])

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(TEXT)
    return path


def test_a_profile_is_set_and_shown(lastgood, file):
    assert lastgood("set", file).output.startswith("set: profile of support, digest ")
    shown = lastgood("show", "support").output
    assert "owner    ana" in shown
    assert "by ann, digest" in shown
    assert "slack-1  slack  page    all    all           url env:HOOK" in shown
    facts = json.loads(lastgood("show", "support", "--json").output)
    assert facts["routes"][0]["settings"] == {"url": "env:HOOK"}


def test_setting_the_same_profile_again_says_so(lastgood, file):
    lastgood("set", file)
    assert lastgood("set", file).output.startswith("unchanged: profile of support")


def test_a_profile_without_routes_says_that_nobody_is_told(lastgood, file):
    file.write_text("agent: support")
    assert "nobody is told of a revert" in lastgood("set", file).output
    assert "nobody is told of a revert" in lastgood("show", "support").output


def test_profiles_are_listed(lastgood, file):
    assert "no profile yet" in lastgood("list").output
    lastgood("set", file)
    assert lastgood("list").output.splitlines()[1].startswith("support  ana    1 ")


def test_an_agent_without_a_profile_says_how_to_set_one(lastgood):
    found = lastgood("show", "support")
    assert found.exit_code == 1
    assert "no profile of 'support': write one and `lastgood agent set FILE`" in found.output


def test_a_profile_that_cant_be_used_is_not_stored(lastgood, file):
    file.write_text("agent: support\nroutes: [{to: pigeon}]")
    found = lastgood("set", file)
    assert (found.exit_code, "agent.yaml:2: routes[0].to" in found.output) == (1, True)
    assert "no profile yet" in lastgood("list").output


# -- ask


@pytest.fixture
def outside(lastgood, world, file, monkeypatch):
    """A team's own function as a signal; `outside.read` says what it answers."""
    module = types.ModuleType("team_outside")
    module.read = lambda since, until: [(since, 3), (until, 4)]
    monkeypatch.setitem(sys.modules, "team_outside", module)
    module.ask = lambda *times: module.read(*times)  # noqa: PLW0108  as it is by then
    file.write_text('agent: support\nsignals: {queue: {call: "team_outside:ask"}}\n')
    lastgood("set", file)
    return module


def judged(world, database):
    """Store a policy with a figure outside and with scores that a database holds."""
    world.policy(
        f"{POLICY.replace('completion: {margin: 20 points}', GUARDRAILS)}"
        'triggers: {outside: {depth: {call: "team_outside:ask", limit: 3, then: hold}}}\n'
        f"referee: {{column: helpful, scores: {{sql: {MARKS}, database: '{database}'}}}}\n"
    )


MARKS = "'SELECT run, mark FROM marks'"
GUARDRAILS = (
    "completion: {margin: 20 points}, "
    "helpful: {column: helpful, kind: score, better: higher, margin_own: 0.3}"
)


def test_asking_says_what_each_signal_answers(lastgood, outside):
    found = lastgood("ask", "support")
    assert found.exit_code == 0
    assert re.search(
        r"signal  queue  yes +4 at \d\d:\d\d:\d\d UTC, the newest of 2 points of the", found.output
    )


def test_a_signal_that_does_not_answer_ends_with_1(lastgood, outside):
    outside.read = lambda since, until: []
    found = lastgood("ask", "support")
    assert found.exit_code == 1
    assert re.search(r"signal  queue  NO +it answered without a point: missing is not zero", found.output)


def test_asking_for_a_policy_asks_its_figures_and_its_scores(lastgood, outside, world, tmp_path):
    runs = [world.run().id for _ in range(25)]
    with contextlib.closing(sqlite3.connect(tmp_path / "marks.db")) as marks:
        marks.execute("CREATE TABLE marks (run TEXT, mark REAL)")
        marks.executemany("INSERT INTO marks VALUES (?, 0.5)", [(run,) for run in runs[-5:]])
        marks.commit()
    judged(world, f"sqlite:///{tmp_path / 'marks.db'}")
    found = lastgood("ask", "support", "--policy", "small")
    assert found.exit_code == 0
    assert "figure  depth    yes      4 is above 3, for 0 min, not for long enough yet" in found.output
    assert "scores  helpful  yes      5 of the baseline's 20 newest runs have one" in found.output


def test_scores_that_cant_be_read_do_not_answer(lastgood, outside, world, tmp_path):
    judged(world, f"sqlite:///{tmp_path / 'none.db'}")
    found = lastgood("ask", "support", "--policy", "small")
    assert found.exit_code == 1
    assert re.search(r"scores  helpful  NO +the database of scores can't be read", found.output)


def test_an_agent_that_never_ran_has_no_scores_yet(lastgood, outside, world, tmp_path):
    judged(world, f"sqlite:///{tmp_path / 'none.db'}")
    control.adopt(world.store, "fresh", "production", world.baseline, actor="ann", reason="new")
    found = lastgood("ask", "fresh", "--policy", "small")
    assert found.exit_code == 1
    assert "no run yet whose score could be asked for" in found.output


def test_a_figure_that_names_the_release_is_no_failure_before_there_is_one(lastgood, outside, world):
    query = "{json: 'https://nowhere.invalid/{release}', points: a, time: b, value: c, limit: 3}"
    world.policy(f"{POLICY}triggers: {{outside: {{depth: {query}}}}}\n")
    found = lastgood("ask", "support", "--policy", "small")
    assert found.exit_code == 0
    assert "figure  depth  -        it names the release: asked once one is live" in found.output


def test_asking_of_what_is_not_there_is_said(lastgood, file):
    lastgood("set", file)
    assert "support names nothing outside: no signals in its profile" in lastgood("ask", "support").output
    assert "no policy 'none' is stored" in lastgood("ask", "support", "--policy", "none").output
    assert lastgood("ask", "nobody").exit_code == 1
