"""`lastgood agent set | show | list`."""

import json

import pytest
from click.testing import CliRunner

from lastgood.cli import main

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
