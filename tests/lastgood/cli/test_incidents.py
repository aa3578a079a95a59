"""`lastgood incident`: list, show, open, close."""

import json

import pytest
from click.testing import CliRunner

from lastgood import agent as agents
from lastgood import recorder
from lastgood.assigning import Request, assign
from lastgood.cli import main
from lastgood.outcome import Outcome
from lastgood.part_reads import note
from lastgood.snapshot import Serving


@pytest.fixture(autouse=True)
def at(desk, monkeypatch):
    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")


def call(*words, code=0):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def incident(desk):
    """A release that failed twice, reverted."""
    release_id = desk.live()
    for number in range(2):
        served = Serving(desk.store, desk.agent, desk.environment)
        made = assign(served, Request(f"u{number}", "faq", None, None))
        outcome = Outcome(status="failed", completed=False, error="KeyError", error_text="'order'")
        note(outcome, "model")
        recorder.record(desk.store, made.run_id, "candidate", outcome, None, None)
    desk.revert(release_id)
    return desk.incidents[0].id


def test_an_incident_is_listed_and_shown(incident):
    assert incident in call("incident", "list", "support")
    said = call("incident", "show", incident)
    assert "2 of the bad bundle in the window, 2 failed" in said
    assert "     2  KeyError: 'order'; completion (faq): run_" in said
    assert "changed       prompt (1 -> 1)" in said
    assert "never read    memory, policy, prompt, tools (by none of 2 runs)" in said
    assert "warning: the part prompt changed, and no run read it from run.bundle" in said


def test_machines_get_json(incident):
    (listed,) = json.loads(call("incident", "list", "--json"))
    shown = json.loads(call("incident", "show", incident, "--json"))
    assert (listed["incident"], listed["state"], listed["recovery"]) == (incident, "open", "due")
    assert (shown["runs"], shown["failing"], len(shown["groups"][0]["runs"])) == (2, 2, 2)
    assert shown["beyond_rollback"] == ["prompt"]


def test_an_incident_is_closed_with_a_reason_and_listed_as_closed(incident):
    assert "no regression case" in call("incident", "close", incident, code=1)
    said = call("incident", "close", incident, "--reason", "no run can be replayed")
    assert said == f"closed {incident} without a case: no run can be replayed\n"
    assert call("incident", "list", "--open") == "no incident\n"
    assert "close reason  no run can be replayed" in call("incident", "show", incident)


def test_a_person_opens_one(desk):
    assert "needs a reason" in call("incident", "open", "support", code=1)
    said = call("incident", "open", "support", "--bundle", desk.baseline[:12], "--reason", "it told lies")
    assert said.startswith("opened inc_")
    assert desk.incidents[0].reason == "it told lies"


def test_an_unknown_incident_is_named(desk):
    assert "no incident 'inc_none'; see `lastgood incident list`" in call(
        "incident", "show", "inc_none", code=1
    )
