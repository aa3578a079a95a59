"""`lastgood notices send | list | retry`, and the commands that tell people what they moved."""

import json
import time

import pytest
from click.testing import CliRunner

from config.profile import Profile
from lastgood import profile
from lastgood.cli import main
from tests.tasks.receiving import hook


@pytest.fixture
def world(quiet_world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", quiet_world.store.url)
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")
    with quiet_world.store.transaction() as txn:
        txn.run("DELETE FROM notice")
    return quiet_world


@pytest.fixture
def receiver():
    with hook() as found:
        yield found


@pytest.fixture
def lastgood(world, receiver):
    """The command line; the agent's profile names one receiver."""
    text = f"agent: support\nroutes: [{{to: webhook, name: all, url: {receiver.url}}}]"
    with world.store.transaction() as txn:
        profile.store_body(txn, "support", Profile.load(text).to_json(), actor="ann")

    def call(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


def test_a_kill_by_hand_tells_people_before_the_command_ends(lastgood, receiver):
    found = lastgood("kill", "support", "--reason", "rude")
    assert found.exit_code == 0, found.output
    assert [said["kind"] for _, said in receiver.got] == ["killed"]


def test_a_move_stands_although_nobody_can_be_told(lastgood, receiver, world):
    receiver.answers = [(500, {}, b"")]
    found = lastgood("kill", "support")
    assert (found.exit_code, world.point()["killed"]) == (0, 1)
    assert "all waiting (1 try: answered 500" in lastgood("notices", "list").output


def test_a_receiver_that_hangs_holds_a_command_up_for_seconds_at_most(lastgood, receiver, monkeypatch):
    from tasks import notifying

    monkeypatch.setattr(notifying, "_BRIEF_S", 0.2)
    receiver.answers, receiver.trickle_s = [(500, {}, b"x" * 200)], 0.05
    began = time.monotonic()
    assert lastgood("kill", "support").exit_code == 0
    assert time.monotonic() - began < 3


def test_commands_that_move_nothing_send_nothing(lastgood, receiver, world):
    lastgood("kill", "support")
    receiver.got.clear()
    with world.store.transaction() as txn:
        txn.run("UPDATE delivery SET state = 'waiting'")
    lastgood("status")
    assert receiver.got == []


def test_send_says_what_it_did(lastgood, receiver, world):
    receiver.answers = [(500, {}, b""), (200, {}, b"")]
    lastgood("kill", "support")
    with world.store.transaction() as txn:
        txn.run("UPDATE delivery SET next_try_us = 0")
    found = lastgood("notices", "send")
    assert (found.output, found.exit_code) == ("sent 1, to be tried again 0, given up 0\n", 0)


def test_send_fails_where_something_did_not_get_through(lastgood, receiver, world):
    receiver.answers = [(500, {}, b"")]
    lastgood("kill", "support")
    with world.store.transaction() as txn:
        txn.run("UPDATE delivery SET next_try_us = 0")
    assert lastgood("notices", "send").exit_code == 1


def test_a_strange_interval_is_refused(lastgood):
    found = lastgood("notices", "send", "--every", "soon")
    assert (found.exit_code, "--every should be a duration" in found.output) == (1, True)


def test_dead_deliveries_are_listed_shown_in_status_and_tried_again(lastgood, receiver):
    receiver.answers = [(410, {}, b"gone")]
    lastgood("kill", "support")
    assert "1 did not get through (`lastgood notices list --dead`)" in lastgood("status", "support").output
    listed = json.loads(lastgood("notices", "list", "--dead", "--json").output)
    assert [way["state"] for way in listed[0]["deliveries"]] == ["dead"]
    receiver.answers = [(200, {}, b"")]
    assert "1 delivery is due again" in lastgood("notices", "retry", listed[0]["id"]).output
    assert lastgood("notices", "send").output.startswith("sent 1")
    assert "no notice that did not get through" in lastgood("notices", "list", "--dead").output
    assert "none of it is dead" in lastgood("notices", "retry", listed[0]["id"]).output


def test_what_went_to_nobody_is_shown(lastgood, world):
    with world.store.transaction() as txn:
        txn.run("DELETE FROM agent_profile")
    lastgood("kill", "support")
    assert "nobody: no route takes it" in lastgood("notices", "list", "support", "--dead").output
    assert "1 went to nobody (no route: `lastgood agent set FILE`)" in lastgood("status", "support").output


def test_an_unknown_notice_is_refused(lastgood):
    assert (
        "no notice 'ntc_1'; see `lastgood notices list --dead`"
        in lastgood("notices", "retry", "ntc_1").output
    )


def test_a_list_without_a_notice_says_so(lastgood):
    assert lastgood("notices", "list").output == "no notice yet\n"
