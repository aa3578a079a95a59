"""`lastgood recover`: says first what it would do, then does it, and lists what is left over."""

import json

import pytest
from click.testing import CliRunner

from lastgood import agent as agents
from lastgood.cli import main
from tests.tasks import crm
from tests.tasks.test_recovery import SAFE, served

ASKS = "approve: [refund]"


@pytest.fixture
def bad(world, monkeypatch):
    """An incident with a refund and a message."""
    monkeypatch.setattr(crm, "CRM", crm.Crm())
    monkeypatch.setattr(agents, "_stores", {world.store.url: world.store})
    monkeypatch.setattr(agents, "_configured", {"database": world.store.url})
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")
    made = served(world, f", {ASKS}")
    made.profile(SAFE)
    run_id = made.run()
    made.act(run_id, "o-1")
    made.act(run_id, "ana", kind="message", undo=None)
    made.revert()
    return made


def call(*words, code=0):
    result = CliRunner().invoke(main, ["recover", *words])
    assert result.exit_code == code, result.output
    return result.output


def test_a_dry_run_says_what_would_be_done(bad):
    said = call(bad.incident.id, "--dry-run")
    why = "nothing is declared that undoes a message: declare `undo` in the tools part"
    assert said.splitlines() == [
        "1 output and 0 memory entries to quarantine",
        "1 refund to undo by tests.tasks.crm:refund, once a person approves",
        f"1 message can't be undone (irreversible): {why}",
    ]
    assert bad.books() == {}


def test_it_waits_for_a_person_and_lists_what_is_left_over(bad):
    incident = bad.incident.id
    said = call(incident)
    assert f"1 refund to be approved by you: lastgood recover {incident} --approve refund" in said
    assert crm.CRM.undone == {}
    said = call(incident, "--approve", "refund", "-m", "I looked")
    assert said.startswith("ann lets 1 refund be undone\n")
    assert f"recovery of {incident} is residue: 1 undone, 1 left over" in said
    assert "left over, with whom it touched:" in said
    assert len(crm.CRM.undone) == 1


def test_the_residue_is_listed_for_people_and_machines(bad):
    assert call(bad.incident.id, "--residue").startswith("nothing is left over; recovery of inc_")
    call(bad.incident.id)
    assert "message  ana" in call(bad.incident.id, "--residue")
    (left,) = json.loads(call(bad.incident.id, "--residue", "--json"))
    assert (left["target"], left["kind"], left["cause"]) == ("ana", "message", "irreversible")


def test_what_was_seen_to_is_tried_again(bad):
    bad.profile({})
    incident = bad.incident.id
    call(incident)
    bad.profile({"refund": SAFE["refund"], "message": "tests.tasks.crm:refund"})
    said = call(incident, "--retry", "--approve", "refund", code=1)
    assert "has no 'refund' to undo" in said
    assert call(incident, "--retry").startswith("1 left-over action is tried again")


def test_an_unknown_incident_and_kind_are_named(bad):
    assert "no incident 'inc_none'; see `lastgood incident list`" in call("inc_none", code=1)
    call(bad.incident.id)
    assert f"{bad.incident.id} has no 'ticket' to undo (refund)" in call(
        bad.incident.id, "--approve", "ticket", code=1
    )
