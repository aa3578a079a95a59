"""Every route with no token, a wrong one, and each role's: nothing happens that the table forbids."""

import pytest

from lastgood.roles import ALLOWED, Act, Role

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")
SUPPORT = "/v1/agents/support"
#: every route of the service: what it does, and a body that would do it
ROUTES = {
    ("POST", "/ofrep/v1/evaluate/flags/{key}"): (Act.EVALUATE, {"context": {"targetingKey": "u"}}),
    ("POST", "/ofrep/v1/evaluate/flags"): (None, {"context": {"targetingKey": "u"}}),
    ("GET", "/ofrep/v1/stream"): (None, None),
    ("POST", "/v1/traces"): (None, {"resourceSpans": []}),
    ("POST", "/v1/logs"): (None, {"resourceLogs": []}),
    ("POST", "/v1/agents/{agent}/runs"): (Act.RECORD, {"unit": "u"}),
    ("POST", "/v1/agents/{agent}/runs/batch"): (Act.RECORD, {"unit": "u"}),
    ("POST", "/v1/agents/{agent}/actions/batch"): (
        Act.RECORD,
        {"run": "r", "token": "t", "kind": "message"},
    ),
    ("POST", "/v1/agents/{agent}/outcomes"): (Act.RECORD, {"run": "r", "token": "t"}),
    ("POST", "/v1/agents/{agent}/reports"): (Act.RECORD, {"run": "r", "token": "t", "edits": 1}),
    ("POST", "/v1/agents/{agent}/events"): (Act.RECORD, {"run": "r", "token": "t", "name": "note"}),
    ("POST", "/v1/agents/{agent}/actions"): (Act.RECORD, {"run": "r", "token": "t", "kind": "message"}),
    ("POST", "/v1/agents/{agent}/actions/{action}"): (
        Act.RECORD,
        {"run": "r", "token": "t", "state": "done"},
    ),
    ("GET", "/v1/runs/{run}"): (Act.RECORD, None),
    ("POST", "/v1/runs/{run}/suspend"): (Act.RECORD, {"token": "t"}),
    ("POST", "/v1/runs/{run}/resume"): (Act.RECORD, {"token": "t"}),
    ("GET", "/v1/quarantined"): (Act.EVALUATE, None),
    ("POST", "/v1/agents/{agent}/rollback"): (Act.REVERT, {}),
    ("POST", "/v1/agents/{agent}/promote"): (Act.PROMOTE, {"candidate": "0" * 8, "reason": "seen"}),
    ("POST", "/v1/policies/{policy}/waivers"): (
        Act.APPROVE,
        {"guardrail": "completion", "slice": "faq", "reason": "known"},
    ),
    ("POST", "/v1/agents/{agent}/kill"): (Act.REVERT, {}),
    ("POST", "/v1/agents/{agent}/stop"): (Act.REVERT, {}),
    ("POST", "/v1/agents/{agent}/clear"): (Act.RESUME, {}),
    ("POST", "/v1/agents/{agent}/allow"): (Act.RESUME, {}),
    ("POST", "/v1/agents/{agent}/readmit"): (Act.PROMOTE, {"bundle": "b-00000000", "reason": "seen"}),
    ("POST", "/v1/agents/{agent}/releases"): (Act.START, {"candidate": "b-00000000"}),
    ("GET", "/v1/agents/{agent}/approval"): (Act.READ, None),
    ("POST", "/v1/agents/{agent}/approval"): (
        Act.APPROVE,
        {"decision": "promote", "reason": "seen", "evidence": "0" * 12},
    ),
    ("GET", "/v1/agents/{agent}/incidents"): (Act.READ, None),
    ("POST", "/v1/agents/{agent}/incidents/{incident}/close"): (Act.RESUME, {"reason": "seen"}),
    ("GET", "/v1/agents/{agent}/audit"): (Act.AUDIT, None),
    ("GET", "/{agent}"): (Act.READ, None),
    ("GET", "/v1/agents"): (None, None),
    ("GET", "/v1/agents/{agent}"): (Act.READ, None),
    ("GET", "/v1/agents/{agent}/releases"): (Act.READ, None),
    ("GET", "/v1/agents/{agent}/runs/{run}"): (Act.READ, None),
    ("GET", "/v1/agents/{agent}/ledger"): (Act.AUDIT, None),
    ("GET", "/v1/agents/{agent}/snapshot"): (Act.EVALUATE, None),
    ("GET", "/v1/bundles/{bundle}"): (None, None),
    ("GET", "/v1/bundles/{bundle}/parts"): (None, None),
    ("GET", "/metrics"): (Act.READ, None),
}
#: routes that anybody may ask
OPEN = {("GET", "/health")}
#: routes that a revert-only link opens, and no token
LINKED = {("GET", "/r/{token}"), ("GET", "/r/{token}/revert"), ("POST", "/r/{token}/revert")}
NAMES = {
    "policy": "no_such_policy",
    "incident": "inc_1",
    "agent": "support",
    "key": "support",
    "action": "act_1",
    "run": "run_1",
    "bundle": "b-00000000",
}
#: what only reads
READING = {Act.READ, Act.EVALUATE, Act.AUDIT}


def path(route: str) -> str:
    return route.format(**NAMES) + ("?key=k" if route == "/v1/quarantined" else "")


def standing(desk):
    """All that a request could have changed."""
    tables = (
        "control_point",
        "release",
        "run",
        "outcome",
        "late_report",
        "event",
        "action",
        "stop",
        "quarantine",
        "approval",
        "incident",
    )
    return {table: desk.all(f"SELECT * FROM {table}") for table in tables}


def test_no_route_is_missing_here(service):
    said = service.get(None, "/openapi.json").json()
    every = {(method.upper(), route) for route, found in said["paths"].items() for method in found}
    assert every == set(ROUTES) | OPEN | LINKED


@pytest.mark.parametrize("token", [None, "x", "lgt_000000000000_" + "A" * 43])
def test_without_a_valid_token_no_route_answers(service, desk, token):
    before = standing(desk)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for (method, route), (_, body) in ROUTES.items():
        given = {} if body is None else {"json": body}
        answer = service.ask(None, method, path(route), headers=headers, **given)
        assert answer.status_code == 401, route
    assert standing(desk) == before


@pytest.mark.parametrize("role", Role)
def test_a_role_does_what_the_table_allows_and_nothing_else(service, desk, role):
    desk.live(share_bp=5_000)
    for (method, route), (act, body) in ROUTES.items():
        if act is None:
            continue
        before = standing(desk)
        given = {} if body is None else {"json": body}
        answer = service.ask(role, method, path(route), **given)
        assert answer.status_code < 500, route
        if act in ALLOWED[role]:
            assert answer.status_code != 401, route
            assert answer.json()["error"] != "Forbidden" if answer.status_code == 403 else True, route
        else:
            assert answer.status_code == 403, route
        if act not in ALLOWED[role] or (act in READING and role is not Role.AGENT):
            assert standing(desk) == before, route


def test_a_refusal_is_counted_and_in_the_ledger_once_a_minute(service, desk):
    for _ in range(3):
        assert service.post("observer", f"{SUPPORT}/kill", {}).status_code == 403
    assert service.post("observer", f"{SUPPORT}/stop", {}).status_code == 403
    rows = desk.all("SELECT * FROM ledger WHERE action = 'refused'")
    assert [(row["action"], row["reason"].split(":")[0]) for row in rows] == [("refused", "revert")]
    assert "the observer (observer, token " in rows[0]["actor"]
    [counted] = desk.all("SELECT * FROM refusal WHERE agent = 'support'")
    assert (counted["reason"], counted["n"]) == ("forbidden", 4)


def test_what_is_refused_before_anybody_is_known_is_counted(service, desk):
    service.post(None, f"{SUPPORT}/kill", {})
    [counted] = desk.all("SELECT * FROM refusal")
    assert (counted["agent"], counted["reason"]) == ("", "unauthenticated")


def test_a_revoked_token_is_refused_within_moments(service, desk):
    from lastgood import tokens

    text = service.token("operator")
    assert service.post("operator", f"{SUPPORT}/kill", {}).status_code == 200
    tokens.revoke(desk.store, text.split("_")[1])
    service.app.state.desk.door.forget()  # what two seconds do
    assert service.post("operator", f"{SUPPORT}/rollback", {}).status_code == 401
