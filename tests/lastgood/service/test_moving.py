import pytest

SUPPORT = "/v1/agents/support"


#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")


def test_a_rollback_reverts_the_live_release_in_the_request(service, desk):
    desk.live(share_bp=5_000)
    answer = service.post("operator", f"{SUPPORT}/rollback", {"reason": "complaints"})
    assert answer.status_code == 200
    assert (answer.json()["release"], answer.json()["share_bp"]) == (None, 0)
    assert desk.point.release_id is None
    rows = desk.all("SELECT * FROM ledger WHERE action = 'revert'")
    assert [(row["actor"].split(" (")[0], row["reason"]) for row in rows] == [("the operator", "complaints")]


def test_a_kill_and_its_end(service, desk):
    assert service.post("operator", f"{SUPPORT}/kill", {}).json()["killed"] is True
    assert service.post("releaser", f"{SUPPORT}/clear", {}).json()["killed"] is False


def test_a_stop_and_its_end(service, desk):
    assert service.post("operator", f"{SUPPORT}/stop", {"reason": "spam"}).status_code == 204
    assert service.get("observer", SUPPORT).json()["stopped"].endswith("spam")
    assert service.post("releaser", f"{SUPPORT}/allow", {}).status_code == 204
    assert service.get("observer", SUPPORT).json()["stopped"] is None


def test_a_readmission_names_what_was_reviewed(service, desk):
    desk.revert(desk.live(), by="evidence")
    body = {"bundle": desk.candidate[:12], "reason": "the prompt was mended"}
    assert service.post("approver", f"{SUPPORT}/readmit", body).status_code == 204
    assert service.post("approver", f"{SUPPORT}/readmit", body).status_code == 404
    assert service.post("approver", f"{SUPPORT}/readmit", {**body, "reason": ""}).status_code == 400


@pytest.mark.parametrize("agent", ["coder", "no%20agent"])
def test_an_agent_that_is_none_is_said_by_name(service, agent):
    answer = service.post("operator", f"/v1/agents/{agent}/rollback", {})
    assert answer.status_code in {400, 404}
    assert answer.json()["message"]


def test_the_status_says_who_serves_and_how_the_release_stands(service, desk):
    release = desk.live(share_bp=5_000)
    said = service.get("observer", SUPPORT).json()
    assert said["served"]["baseline"] == desk.baseline
    assert said["served"]["candidate"] == desk.candidate
    assert said["release"]["id"] == release
    assert said["lease_left_s"] > 0
    assert [each["agent"] for each in service.get("observer", "/v1/agents").json()] == ["support"]
    assert [each["id"] for each in service.get("observer", f"{SUPPORT}/releases").json()] == [release]


def test_a_run_is_tied_to_its_bundle(service, desk):
    run = service.enter()["run"]
    said = service.get("observer", f"{SUPPORT}/runs/{run}").json()
    assert (said["run"]["bundle_id"], said["outcome"]) == (desk.baseline, None)
    assert service.get("observer", f"{SUPPORT}/runs/run_x").status_code == 404


def test_a_bundle_is_told_with_its_parts_and_may_be_kept(service, desk):
    answer = service.get("agent", f"/v1/bundles/{desk.baseline}")
    assert answer.json()["parts"]["prompt"]["value"] == "first"
    assert "immutable" in answer.headers["Cache-Control"]
    assert (
        service.get("agent", f"/v1/bundles/{desk.baseline}", scope={"agents": ["coder"]}).status_code == 403
    )


@pytest.mark.parametrize("path", ["", "/parts"])
def test_a_token_of_another_environment_reads_the_bundles_of_its_agents(service, desk, path):
    there = {"agents": ["support"], "environments": ["staging"]}
    assert service.get("agent", f"/v1/bundles/{desk.baseline}{path}", scope=there).status_code == 200
    elsewhere = {"agents": ["coder"], "environments": ["staging"]}
    assert service.get("agent", f"/v1/bundles/{desk.baseline}{path}", scope=elsewhere).status_code == 403


def test_an_auditor_reads_the_chain_page_by_page(service, desk):
    desk.revert(desk.live())
    first = service.get("auditor", f"{SUPPORT}/ledger", params={"most": 2}).json()
    rest = service.get("auditor", f"{SUPPORT}/ledger", params={"after": 2}).json()
    rows = first["rows"] + rest["rows"]
    assert [row["seq"] for row in rows] == list(range(1, first["last_seq"] + 1))
    assert rows[-1]["hash"] == first["head"] == rest["head"]
    assert [row["previous"] for row in rows[1:]] == [row["hash"] for row in rows[:-1]]


def test_a_chain_that_was_edited_is_said_to_be(service, desk):
    desk.hand("UPDATE ledger SET reason = 'nothing' WHERE seq = 1")
    answer = service.get("auditor", f"{SUPPORT}/ledger")
    assert answer.status_code == 503
    assert "broken at row 1" in answer.json()["message"]


def test_health_follows_the_store(service, desk):
    assert service.get(None, "/health").json() == {"status": "ok"}
    desk.vanish()
    assert service.get(None, "/health").status_code == 503


def test_figures_name_routes_and_never_what_a_client_wrote(service, desk):
    service.evaluate("no-such-agent")
    said = service.get("observer", "/metrics").text
    assert 'route="/ofrep/v1/evaluate/flags/{key}",status="404"' in said
    assert "no-such-agent" not in said


def test_an_auditor_takes_the_whole_ledger_away(service, desk):
    from lastgood import audit

    desk.revert(desk.live())
    answer = service.get("auditor", f"{SUPPORT}/audit")
    kept = audit.read(answer.text.splitlines(), "answer")
    assert [row["action"] for row in kept.rows] == ["adopt", "start", "share", "revert"]
    assert audit.verify(desk.store, "support", "production", kept).hash == kept.head.hash


def promote(service, desk, role="approver", **changes):
    body = {"candidate": desk.candidate[:12], "reason": "I read it", **changes}
    return service.post(role, f"{SUPPORT}/promote", body)


def refusals(desk):
    rows = desk.all("SELECT * FROM ledger WHERE action = 'refused' ORDER BY seq")
    return [(row["actor"].split(" (")[0], row["reason"]) for row in rows]


def test_an_approver_promotes_as_vouched_and_nobody_with_less(service, desk):
    desk.live(share_bp=5_000)
    for role in ("observer", "operator", "releaser", "agent", "auditor"):
        assert promote(service, desk, role).status_code == 403
    assert desk.point.baseline == desk.baseline
    assert [actor for actor, _ in refusals(desk)] == [
        "the observer", "the operator", "the releaser", "the agent", "the auditor",
    ]  # fmt: skip
    answer = promote(service, desk)
    assert (answer.status_code, answer.json()["standing"]) == (200, "vouched")
    assert answer.json()["baseline"] == desk.candidate
    row = desk.one("SELECT * FROM ledger ORDER BY seq DESC LIMIT 1")
    assert row["actor"].startswith("the approver (approver, token ")
    assert row["reason"] == "vouched for (claimed): I read it"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"candidate": "0" * 12}, 409, "Conflict"),
        ({"candidate": "b-1"}, 400, "InvalidInput"),
        ({"candidate": "support-2026"}, 400, "InvalidInput"),
        ({"reason": ""}, 400, "InvalidInput"),
        ({"code": "AAAA-BBBB-CCCC"}, 409, "Refused"),
        ({"who": "ben"}, 400, "InvalidInput"),
    ],
)
def test_a_vouch_that_does_not_fit_moves_nothing(service, desk, changes, status, error):
    desk.live(share_bp=5_000)
    answer = promote(service, desk, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert desk.point.baseline == desk.baseline
    assert len(refusals(desk)) == (status == 409)  # whatever a policy or the store refuses is in the ledger


def test_where_the_policy_wants_it_a_vouch_takes_a_code(service, desk):
    from dataclasses import replace

    from lastgood import approving, releasing

    policy = '{"approval": {"level": "verified"}}'
    desk.serve(releasing.start(desk.store, replace(desk.wanted(), policy=policy)), 2_500)
    answer = promote(service, desk)
    assert (answer.status_code, answer.json()["error"]) == (409, "Refused")
    assert "one-time code" in refusals(desk)[0][1]
    key = (desk.store, "support", "production")
    code = approving.issue_code(*key, person="the approver", actor="root", lasts_us=3_600_000_000)
    assert promote(service, desk, code=code).status_code == 200
    assert promote(service, desk, code=code).status_code == 404


def test_going_to_a_bundle_that_never_served_takes_who_may_promote(service, desk):
    path, body = f"{SUPPORT}/rollback", {"to": desk.candidate[:12], "reason": "reviewed", "vouch": True}
    assert service.post("operator", path, {**body, "vouch": False}).status_code == 400
    assert service.post("operator", path, body).status_code == 403
    assert service.post("approver", path, {**body, "reason": ""}).status_code == 400
    answer = service.post("approver", path, body)
    assert (answer.status_code, answer.json()["baseline"]) == (200, desk.candidate)
