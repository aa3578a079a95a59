"""`lastgood watch` and `lastgood readiness`."""

import pytest
from click.testing import CliRunner

from lastgood import releasing
from lastgood.cli import main
from lastgood.clock import SystemClock
from lastgood.releasing import Ending
from tasks import driving

MINUTE = 60_000_000
POLICY = """
name: watched
lost_after: 1 min
guardrails: {completion: {margin: 20 points}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 30%}]
watch: {time: 30 min}
"""


@pytest.fixture
def lastgood(world, monkeypatch):
    """Run the command line on this world's store."""
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)

    def call(*words):
        return CliRunner().invoke(main, [*map(str, words)])

    return call


@pytest.fixture
def reverted(world):
    """A release that was bad and left 40 minutes ago."""
    world.clock.wall_us = SystemClock().now_us() - 5 * 60 * MINUTE
    world.history()
    release_id = world.start(POLICY)
    world.until(driving.begin(world.store, release_id, "me"), "compare")
    world.work(150, every=MINUTE // 60, candidate=0.3)
    releasing.revert(world.store, release_id, Ending("ann", "it looks worse", by="hand"))
    world.work(240, every=MINUTE // 6)
    return release_id


def test_an_agent_is_told_what_its_newest_watch_says(lastgood, reverted):
    found = lastgood("watch", "support")
    assert found.exit_code == 0, found.output
    assert "(final): FIXED: completion" in found.output
    assert lastgood("watch", reverted).output.splitlines()[0] == found.output.splitlines()[0]


def test_the_report_is_written_with_its_picture(lastgood, reverted, tmp_path):
    path = tmp_path / "after.md"
    assert lastgood("watch", reverted, "--write", path).exit_code == 0
    assert path.read_text().startswith("# support in production: b-")
    assert (tmp_path / "after-watch.png").exists()
    assert "| signal | says |" in lastgood("watch", reverted, "--markdown").output


def test_an_agent_without_a_switch_is_told_so(lastgood):
    found = lastgood("watch", "support")
    assert found.exit_code == 1
    assert "support in production has no watch: nothing was reverted, promoted or rolled back" in found.output


def test_the_seven_questions_are_answered_with_their_evidence(lastgood):
    found = lastgood("readiness", "support")
    assert found.exit_code == 0, found.output
    assert found.output.count("yes ") == 7
    assert "drilled on a shadow control point" in found.output
    assert found.output.splitlines()[-1] == "7 of 7 answered with yes: no bound on the share"


def test_readiness_of_a_stranger_says_so(lastgood):
    found = lastgood("readiness", "stranger")
    assert (found.exit_code, "no agent 'stranger'" in found.output) == (1, True)
