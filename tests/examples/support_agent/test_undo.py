"""Every kind of action of the agent is taken back by its handler, and the CRM is as before."""

import json
from dataclasses import replace

import httpx
import pytest

from config.profile import Profile
from examples.support_agent import agent, http, undo
from examples.support_agent.crm.faults import Faults
from examples.support_agent.shop import HERE, NAMES, bundle
from examples.support_agent.tickets import cases
from lastgood.tool import manifest_of
from tasks.undoing import Ended, Undo, function_of, handler_of, of_result


def of(row) -> Undo:
    """As a recovery hands it over."""
    return Undo(
        f"undo-{row['id']}", row["id"], row["run_id"], "support", "production", row["kind"], row["target"],
        row["tool"], json.loads(row["undo"]), json.loads(row["result"] or "null"), False, 1,
    )  # fmt: skip


@pytest.fixture
def served(desk_of, crm):
    """Serves tickets with a real CRM behind HTTP; the tables before, and the compensations, newest first."""

    def serve(name, tickets=12):
        desk = desk_of(name)
        found = [each for each in cases(4, 60) if each.risk == "low"][:tickets]
        for each in found:
            desk.shop.traffic.load(each)
        before = crm.books.shown()
        for each in found:
            agent.serve(each.ticket, each.risk, start=desk.shop.traffic.start)
        return before, [of(row) for row in desk.rows("SELECT * FROM action ORDER BY id DESC")]

    return serve


@pytest.mark.parametrize("name", ["good", "malformed", "garbage"])
def test_the_crm_is_as_it_was_but_for_the_messages(served, crm, name):
    before, actions = served(name)
    assert {action.kind for action in actions} == {"refund", "message", "memory_write", "ticket_update"}
    assert crm.books.shown() != before
    for action in actions:
        getattr(undo, action.kind)(action)
    after = crm.books.shown()
    sent = [row["id"] for row in after["messages"] if row["corrects"] is None]
    assert sorted(row["corrects"] for row in after["messages"] if row["corrects"]) == sorted(sent)
    assert {**after, "messages": []} == before


def test_a_handler_called_twice_has_one_effect(served, crm):
    _, actions = served("good", tickets=4)
    for action in actions:
        first = getattr(undo, action.kind)(action)
        shown = crm.books.shown()
        assert getattr(undo, action.kind)(action) == first
        assert crm.books.shown() == shown


def test_a_crm_that_fails_is_an_error_and_a_second_try_works(served, crm):
    _, (action, *_) = served("good", tickets=1)
    crm.faults = Faults(fail=1.0)
    with pytest.raises(httpx.HTTPStatusError, match="500"):
        getattr(undo, action.kind)(action)
    crm.faults = Faults()
    assert getattr(undo, action.kind)(action)


def test_a_delivered_message_is_left_over_with_a_correction(served):
    _, actions = served("good", tickets=1)
    (action,) = [each for each in actions if each.kind == "message"]
    answer = of_result(undo.message(action))
    assert answer.ended is Ended.REFUSED
    assert "a correction was sent" in answer.why


def test_a_message_that_waits_is_undone(served, crm):
    crm.books.deliver_after_us = 3_600_000_000
    _, actions = served("good", tickets=1)
    (action,) = [each for each in actions if each.kind == "message"]
    assert of_result(undo.message(action)).ended is Ended.DONE
    assert crm.books.shown()["messages"] == []


def test_an_action_that_never_arrived_is_barred(served, crm):
    _, (action, *_) = served("good", tickets=1)
    before = crm.books.shown()
    unknown = replace(action, kind="refund", undo={"of": "refund", "arguments": {"order": "O1"}})
    assert of_result(undo.refund(unknown)).ended is Ended.DONE
    assert crm.books.shown() == before


def test_the_profile_names_a_handler_for_every_kind_that_a_bundle_declares():
    profile = Profile.load(HERE / "agent.yaml")
    handlers = {kind: handler_of(spec) for kind, spec in json.loads(profile.to_json())["undo"].items()}
    assert all(function_of(each.call) is getattr(undo, kind) for kind, each in handlers.items())
    assert all(each.safe_in_doubt for each in handlers.values())
    for name in NAMES:
        tools = manifest_of(bundle(name).tools).tools.values()
        assert {tool.kind for tool in tools if tool.undo is not None} == set(handlers)
        assert {tool.kind for tool in tools if tool.kind and tool.undo is None}.isdisjoint(handlers)


def test_the_crm_is_reached_by_the_one_client(crm):
    assert http.client().get("/orders/none").status_code == 404
