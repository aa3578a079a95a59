"""`lastgood policy add | list | show`."""

import pytest
import yaml
from click.testing import CliRunner

from config.policy import Policy
from lastgood.cli import main

MINE = "name: mine\nguardrails: {completion: {margin: 15 points}}\n"


@pytest.fixture
def lastgood(world, monkeypatch):
    """Run the command line on this world's store."""
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")

    def call(*words):
        return CliRunner().invoke(main, ["policy", *map(str, words)])

    return call


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def test_a_policy_is_stored_by_its_digest(lastgood, world, mine):
    policy = Policy.load(mine)
    found = lastgood("add", mine)
    assert found.output == f"stored: policy mine, digest {policy.digest[:12]}\n"
    row = world.rows("SELECT * FROM policy")[0]
    assert (row["name"], row["digest"], row["author"]) == ("mine", policy.digest, "ann")
    assert row["body"] == policy.to_json()


def test_the_same_policy_is_stored_once(lastgood, world, mine):
    lastgood("add", mine)
    assert lastgood("add", mine).output.startswith("already stored: policy mine, digest ")
    assert len(world.rows("SELECT * FROM policy")) == 1


def test_an_older_version_that_is_added_again_says_what_its_name_means(lastgood, mine):
    lastgood("add", mine)
    old = Policy.load(mine).digest
    mine.write_text(MINE.replace("15", "10"))
    lastgood("add", mine)
    new = Policy.load(mine).digest
    mine.write_text(MINE)
    found = lastgood("add", mine).output
    assert f"its name means the newer version {new[:12]}" in found
    assert f"--policy {old}" in found


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name: mine\nguardrials: {}\n", "mine.yaml:2: guardrials"),
        (MINE + "look_every: 1 fortnight\n", "mine.yaml:3: look_every"),
        (MINE.replace("completion", "completoin"), "did you mean 'completion'"),
        (MINE.replace("mine", "default"), "the name default is a built-in policy's"),
    ],
)
def test_a_policy_that_can_not_be_used_is_refused_with_its_line(lastgood, world, mine, text, match):
    mine.write_text(text)
    found = lastgood("add", mine)
    assert found.exit_code == 1
    assert match in found.output
    assert "Traceback" not in found.output
    assert world.rows("SELECT * FROM policy") == []


def test_a_file_that_is_not_there_is_refused(lastgood, tmp_path):
    found = lastgood("add", tmp_path / "nope.yaml")
    assert found.exit_code == 1
    assert "nope.yaml" in found.output


def test_all_policies_are_listed(lastgood, mine):
    lastgood("add", mine)
    lines = lastgood("list").output.splitlines()
    assert lines[0].split() == ["name", "digest", "stored", "author"]
    assert [line.split()[0] for line in lines[1:]] == ["default", "low_traffic", "mine"]
    assert Policy.load(mine).digest[:12] in lines[3]


@pytest.mark.parametrize("name", ["default", "mine"])
def test_a_policy_is_shown_with_every_default_as_yaml_that_can_be_stored(lastgood, mine, name):
    lastgood("add", mine)
    shown = lastgood("show", name).output
    policy = Policy.load(shown)
    assert policy == (Policy.load(mine) if name == "mine" else Policy.builtin(name))
    assert shown.startswith(f"# policy {name}, digest {policy.digest}\n")
    assert "look_every" in yaml.safe_load(shown)


def test_an_unknown_policy_is_refused(lastgood):
    found = lastgood("show", "mien")
    assert found.exit_code == 1
    assert "no policy 'mien' is stored or built in; `lastgood policy list` shows them" in found.output
