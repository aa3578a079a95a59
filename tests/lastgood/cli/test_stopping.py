"""`lastgood stop` and `lastgood rotate-key`, and what `lastgood status` says of both."""

import pytest
from click.testing import CliRunner

import lastgood
from lastgood import identity
from lastgood.cli import main
from lastgood.errors import BadToken

pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def call(lab, monkeypatch):
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")

    def run(*words):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_a_stop_is_shown_until_it_is_cleared(call):
    assert "external actions of support in production are denied" in call("stop", "support", "-m", "haunted")
    assert "are denied already" in call("stop", "support")
    assert "stopped by ann: haunted" in call("status", "support")
    assert "are allowed\n" in call("stop", "support", "--clear")
    assert "are allowed already" in call("stop", "support", "--clear")
    assert "stopped by" not in call("status", "support")


def test_a_key_is_rotated(lab, call):
    before = identity.keys(lab.store)
    said = call("rotate-key")
    found = identity.keys(lab.store)
    assert found.newest in said
    assert set(found.secrets) == {found.newest, before.newest}


def test_refused_reports_are_shown(call):
    with lastgood.run("support", "u") as run:
        pass
    with pytest.raises(BadToken):
        lastgood.report(run.id, edits=1, token="forged")
    assert "1 report (forged token)" in call("status", "support")
