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
