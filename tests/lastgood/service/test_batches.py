"""Many runs, and many effects, in one request."""

import json

import pytest

from lastgood import control

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")
RUNS, ACTIONS = "/v1/agents/support/runs/batch", "/v1/agents/support/actions/batch"


def lines(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["lines"]


def test_runs_are_entered_line_by_line_and_a_bad_line_holds_up_no_other(service, desk):
    desk.live(share_bp=5_000)
    found = lines(
        service.lines(
            RUNS, {"unit": "u-1"}, "{half", {"unit": ""}, {"unit": "u-2", "risk": "wild"}, {"unit": "u-2"}
        )
    )
    assert [(each["line"], each["status"]) for each in found] == [
        (1, 200), (2, 400), (3, 400), (4, 400), (5, 200),
    ]  # fmt: skip
    assert [row["unit"] for row in desk.all("SELECT unit FROM run ORDER BY seq")] == ["u-1", "u-2"]
    assert {each["answer"]["run"] for each in found if each["status"] == 200} == {
        row["id"] for row in desk.all("SELECT id FROM run")
    }
    assert "unit: " in found[2]["answer"]["message"]


def test_effects_are_reserved_and_settled_in_one_batch(service, desk):
    run = service.enter()
    who = {"run": run["run"], "token": run["token"]}
    reserved = lines(
        service.lines(
            ACTIONS,
            {**who, "kind": "message", "target": "a", "undo": {'"state"': "x", "state": "y"}},
            {**who, "kind": "message", "target": "b"},
            {**who, "token": "lg1.x", "kind": "message"},
        )
    )
    assert [each["status"] for each in reserved] == [200, 200, 403]
    done = lines(
        service.lines(
            ACTIONS,
            {**who, "action": reserved[0]["answer"]["action"], "state": "done", "result": {"id": 1}},
            {**who, "action": reserved[1]["answer"]["action"], "state": "failed"},
            {**who, "action": "act_none", "state": "done"},
            {**who, "action": reserved[1]["answer"]["action"], "state": "maybe"},
        )
    )
    assert [each["status"] for each in done] == [204, 204, 403, 400]
    rows = desk.all("SELECT target, state, result FROM action ORDER BY target")
    assert [(row["target"], row["state"]) for row in rows] == [("a", "done"), ("b", "failed")]
    assert json.loads(rows[0]["result"]) == {"id": 1}


def test_what_the_gate_refuses_is_said_by_its_line(service, desk):
    run = service.enter()
    control.stop(desk.store, "support", "production", actor="ann", reason="no more")
    body = {"run": run["run"], "token": run["token"], "kind": "message"}
    [found] = lines(service.lines(ACTIONS, body))
    assert (found["status"], found["answer"]["error"]) == (409, "Refused")
    assert desk.all("SELECT * FROM action") == []


def test_a_batch_of_nothing_or_of_too_much_is_refused_whole(service, desk):
    assert service.lines(RUNS, "").status_code == 400
    assert service.lines(RUNS, *[{"unit": "u"}] * 501).status_code == 413
    assert desk.all("SELECT * FROM run") == []


def test_a_store_that_is_gone_is_said_at_the_first_line(service, desk):
    service.enter()
    desk.vanish()
    assert service.lines(RUNS, {"unit": "u"}, {"unit": "v"}).status_code == 503
