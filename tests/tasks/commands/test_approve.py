"""`lastgood approve | approve-code | cooldown`, with Prefect nowhere."""

import re

import pytest
from click.testing import CliRunner

from lastgood.cli import main
from tasks import driving
from tasks.driving import StageName


@pytest.fixture
def lastgood(world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    monkeypatch.setenv("LASTGOOD_ACTOR", "ben")

    def call(*words):
        from lastgood import agent

        # commands read the clock of this world
        monkeypatch.setattr(agent, "_stores", {world.store.url: world.store})
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


@pytest.fixture
def asked(world, one_step):
    """A release that waits for an approval of its start; its driver is gone."""

    def start(more=""):
        release_id = world.start(f"{one_step.strip()}\napproval: {{before: [start], expires: 2 h{more}}}")
        driver = driving.begin(world.store, release_id, "gone")
        while driving.due(world.store, driver).stage is not StageName.AWAITING or not world.rows(
            "SELECT * FROM approval"
        ):
            driving.act(world.store, driver, driving.due(world.store, driver))
        world.clock.advance(10 * 60_000_000)
        return release_id

    return start


def test_what_is_asked_is_shown_with_its_end_and_evidence(lastgood, asked, world):
    assert lastgood("approve", "support").output == "nobody is asked about support in production now\n"
    release_id = asked(", not_author: true, level: verified")
    text = lastgood("approve", "support").output
    assert f"asked: start of b-{world.candidate[:8]} ({release_id}), until 20" in text
    assert "with a one-time code, not by who wrote or started it" in text
    assert re.search(r"evidence [0-9a-f]{12}, look 0; undecided it is reverted", text)
    assert "asked" in lastgood("status", "support").output


def test_a_yes_is_carried_out_at_once_where_nobody_drives(lastgood, asked, world):
    release_id = asked()
    found = lastgood("approve", "support", "--decision", "promote", "-m", "looks good")
    assert found.exit_code == 0, found.output
    assert "recorded: promote by ben" in found.output
    assert (world.point()["share_bp"] > 0, world.row(release_id)["state"]) == (True, "compare")
    assert world.ledger().count("approve") == 1


def test_a_yes_is_left_to_a_driver_that_is_at_work(lastgood, asked, world):
    release_id = asked()
    driving.begin(world.store, release_id, "flow run x")
    text = lastgood("approve", "support", "--decision", "promote", "-m", "looks good").output
    assert "flow run x goes on with it at its next look" in text
    assert world.point()["share_bp"] == 0


def test_a_no_reverts_at_once(lastgood, asked, world):
    release_id = asked()
    text = lastgood("approve", "support", "--decision", "revert", "-m", "looks bad").output
    assert "REVERTED: looks bad" in text
    assert world.row(release_id)["state"] == "reverted"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--decision", "promote"), "a name and a reason"),
        (("--decision", "promote", "-m", "x", "--evidence", "beef"), "other evidence"),
        (("--decision", "promote", "-m", "x", "--actor", "ann"), "wants somebody else"),
        (("--decision", "promote", "-m", "x", "--code", "AAAA"), "that code is not ben's"),
    ],
)
def test_what_is_refused_changes_nothing(lastgood, asked, world, words, said):
    asked(", not_author: true")
    before = world.point()
    found = lastgood("approve", "support", *words)
    assert (found.exit_code, said in found.output) == (1, True), found.output
    assert world.point() == before


def test_a_verified_approval_takes_a_code_that_was_issued(lastgood, asked, world):
    asked(", level: verified")
    issued = lastgood("approve-code", "support", "--for", "ben", "--actor", "ann").output
    code = re.match(r"(\S+)  \(once, for ben, within 60 min\)", issued)[1]
    words = ("approve", "support", "--decision", "promote", "-m", "x", "--code")
    assert lastgood(*words, code).exit_code == 0
    assert world.rows("SELECT level, who FROM approval") == [{"level": "verified", "who": "ben"}]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("before: [promote]", "wants an approval: `lastgood approve support`"),
        ("before: [], not_author: true", "give a one-time code (`lastgood approve-code support"),
        ("before: [], level: verified", "give a one-time code (`lastgood approve-code support"),
    ],
)
def test_vouching_does_not_go_round_an_approval(lastgood, world, one_step, more, said):
    world.start(f"{one_step.strip()}\napproval: {{{more}}}")
    before = world.point()
    found = lastgood("promote", "support", "--vouch", "-m", "trust me")
    assert (found.exit_code, said in found.output) == (1, True), found.output
    assert world.point() == before


def test_vouching_does_not_go_round_a_freeze(lastgood, world, one_step):
    world.start(f"{one_step.strip()}\nfreeze: [{{from: 2023-01-01, to: 2023-12-31}}]")
    found = lastgood("promote", "support", "--vouch", "-m", "trust me")
    assert (found.exit_code, "has a freeze until Mon 2024-01-01" in found.output) == (1, True)
    assert "a freeze until Mon 2024-01-01 00:00 UTC" in lastgood("status", "support").output
    assert lastgood("rollback", "support").exit_code == 0, "a revert is possible at any time"


def test_a_cool_down_is_shown_and_ended(lastgood, world, one_step):
    world.start(f"{one_step.strip()}\nagent_cooldown: 2 h")
    lastgood("rollback", "support", "-m", "bad")
    assert "cools down until 20" in lastgood("cooldown", "support").output
    assert "cool down" in lastgood("status", "support").output
    assert "say with --reason" in lastgood("cooldown", "support", "--end").output
    assert "ended: a release may start" in lastgood("cooldown", "support", "--end", "-m", "found it").output
    assert "does not cool down" in lastgood("cooldown", "support").output
    assert "a release may start already" in lastgood("cooldown", "support", "--end", "-m", "again").output
