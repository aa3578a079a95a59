"""What waits for a person, over HTTP."""

import pytest

from lastgood import approving, releasing
from lastgood.approving import Question
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Stage

SUPPORT = "/v1/agents/support"
APPROVAL, INCIDENTS = f"{SUPPORT}/approval", f"{SUPPORT}/incidents"
HOUR = 3_600_000_000

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def asking(desk):
    """`asking(level, not_author)`: a live release that waits for an answer."""

    def ask(level="claimed", *, not_author=False):
        release_id = desk.live(2_500)
        question = Question("promote", level, not_author=not_author, lasts_us=HOUR)
        releasing.enter(
            desk.store,
            release_id,
            Stage("awaiting", ReleaseState.AWAITING, 0),
            entry=Entry("await", "driver", "the gate is open", release_id),
            expect=Expect.of(desk.point),
            also=lambda txn, row, point: approving.ask(txn, row, point, question),
        )
        return release_id

    return ask


def answered(desk):
    return desk.one("SELECT * FROM approval ORDER BY number DESC LIMIT 1")


def yes(service, **changes):
    evidence = service.get("approver", APPROVAL).json()["evidence"]
    return {"decision": "promote", "reason": "looks good", "evidence": evidence, **changes}


def test_a_yes_about_the_evidence_that_was_seen_is_recorded_with_the_token(service, desk, asking):
    release_id = asking()
    asked = service.get("observer", APPROVAL).json()
    assert (asked["release"], asked["what"], asked["candidate"]) == (release_id, "promote", desk.candidate)
    answer = service.post("approver", APPROVAL, yes(service))
    assert answer.status_code == 200
    row = answered(desk)
    assert (row["decision"], row["who"], row["level"]) == ("promote", "the approver", "claimed")
    [entry] = desk.all("SELECT * FROM ledger WHERE action = 'approve'")
    assert entry["actor"].startswith("the approver (approver, token ")


def test_an_answer_counts_once(service, asking):
    asking()
    body = yes(service)
    assert service.post("approver", APPROVAL, body).status_code == 200
    again = service.post("approver", APPROVAL, body)
    assert (again.status_code, again.json()["error"]) == (409, "Conflict")


def test_a_no_reverts_in_the_request(service, desk, asking):
    asking()
    answer = service.post("approver", APPROVAL, {"decision": "revert", "reason": "no"})
    assert answer.status_code == 200
    assert desk.point.release_id is None
    [entry] = desk.all("SELECT * FROM ledger WHERE action = 'revert'")
    assert entry["actor"].startswith("the approver (approver, token ")


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"evidence": ""}, 400, "InvalidInput"),
        ({"evidence": "abc"}, 400, "InvalidInput"),
        ({"evidence": "0" * 64}, 409, "Refused"),
        ({"reason": ""}, 400, "InvalidInput"),
        ({"decision": "maybe"}, 400, "InvalidInput"),
        ({"who": "ben"}, 400, "InvalidInput"),
        ({"code": "AAAA-BBBB-CCCC"}, 409, "Refused"),
    ],
)
def test_a_yes_that_does_not_fit_changes_nothing(service, desk, asking, changes, status, error):
    asking()
    answer = service.post("approver", APPROVAL, yes(service, **changes))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answered(desk)["decision"] == ""


def test_an_expired_question_can_not_be_answered(service, desk, asking):
    asking()
    body = yes(service)
    desk.clock.advance(2 * HOUR)
    answer = service.post("approver", APPROVAL, body)
    assert (answer.status_code, answer.json()["error"]) == (409, "Refused")


def test_the_author_of_a_bundle_does_not_approve_it_by_a_token_of_that_name(service, desk, asking):
    from lastgood import tokens
    from lastgood.roles import Role

    asking(not_author=True)
    made = tokens.mint(desk.store, "ANN", Role.APPROVER, actor="root")
    headers = {"Authorization": f"Bearer {made.text}"}
    answer = service.post(None, APPROVAL, yes(service), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (409, "Refused")
    assert service.post("approver", APPROVAL, yes(service)).status_code == 200


def test_a_verified_approval_takes_a_code_of_that_person(service, desk, asking):
    asking("verified")
    assert service.post("approver", APPROVAL, yes(service)).status_code == 409
    for person, status in (("somebody else", 409), ("the approver", 200)):
        code = approving.issue_code(
            desk.store, "support", "production", person=person, actor="root", lasts_us=HOUR
        )
        assert service.post("approver", APPROVAL, yes(service, code=code)).status_code == status
    assert answered(desk)["level"] == "verified"


def test_where_nobody_is_asked_it_says_so(service, desk):
    assert service.get("observer", APPROVAL).status_code == 404
    body = {"decision": "promote", "reason": "looks good", "evidence": "0" * 12}
    assert service.post("approver", APPROVAL, body).status_code == 400


def test_an_incident_is_listed_and_closed_with_a_reason(service, desk):
    desk.revert(desk.live(), by="evidence")
    [found] = service.get("observer", INCIDENTS, params={"only_open": "true"}).json()
    assert (found["open"], found["bad"], found["by"]) == (True, desk.candidate, "evidence")
    close = f"{INCIDENTS}/{found['id']}/close"
    assert service.post("operator", close, {"reason": "seen"}).status_code == 403
    assert service.post("releaser", close, {}).status_code == 400
    assert service.post("releaser", close, {"reason": "seen"}).json()["open"] is False
    assert service.get("observer", INCIDENTS, params={"only_open": "true"}).json() == []


def test_an_incident_of_another_agent_is_not_found(service, desk):
    desk.revert(desk.live(), by="evidence")
    [found] = service.get("observer", INCIDENTS).json()
    assert service.post("releaser", f"/v1/agents/coder/incidents/{found['id']}/close", {}).status_code == 404
