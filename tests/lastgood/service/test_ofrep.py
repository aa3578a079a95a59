import pytest

from lastgood import registry
from lastgood.errors import StoreUnavailable
from lastgood.service import door, evaluating

EVALUATE = "/ofrep/v1/evaluate/flags"
#: what clients of the protocol know; a missing or other one makes some serve their default in silence
KNOWN = {"STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"}


#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def live(desk):
    """A release that serves its candidate to half of the units."""
    return desk.live(share_bp=5_000)


def test_an_evaluation_says_all_that_clients_need(service, desk):
    answer = service.evaluate()
    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == {"key", "value", "variant", "reason", "metadata"}
    assert (said["key"], said["variant"], said["reason"]) == ("support", "baseline", "STATIC")
    assert said["value"]["id"] == desk.baseline
    assert said["value"]["parts"]["prompt"]["value"] == "first"
    assert said["metadata"]["why"] == "no_release"
    assert all(isinstance(value, bool | int | float | str) for value in said["metadata"].values())
    assert not {"contextId", "flagSetId", "version"} & set(said["metadata"])


def test_the_id_alone_is_a_text(service, desk):
    said = service.evaluate("support:id").json()
    assert (said["key"], said["value"]) == ("support:id", desk.baseline)


def test_every_reason_is_one_that_clients_know(service, desk, live):
    [candidate] = desk.units(live, 5_000, candidate=True)
    split = service.settled(targetingKey=candidate)
    risky = service.settled(targetingKey=candidate, risk="high")
    desk.kill()
    killed = service.settled(targetingKey=candidate)
    desk.revert(live)
    ended = service.settled(targetingKey=candidate)
    answers = [split, risky, killed, ended]
    assert [said["metadata"]["why"] for said in answers] == ["split", "risk", "killed", "no_release"]
    assert [said["variant"] for said in answers] == ["candidate", "baseline", "baseline", "baseline"]
    assert {said["reason"] for said in answers} <= KNOWN


def test_a_revert_is_seen_at_the_next_evaluation(service, desk, live):
    [unit] = desk.units(live, 5_000, candidate=True)
    assert service.settled(targetingKey=unit)["value"]["id"] == desk.candidate
    desk.revert(live)
    assert service.evaluate(targetingKey=unit).json()["value"]["id"] == desk.baseline


def test_a_look_enters_no_run(service, desk):
    service.evaluate(role="observer")
    service.evaluate(role="agent", record=False)
    service.post("agent", EVALUATE, {"context": {"targetingKey": "u"}})
    assert desk.all("SELECT * FROM run") == []


def test_an_agents_evaluation_enters_a_run_once_while_it_is_open(service, desk, live):
    first = service.evaluate(role="agent").json()
    again = service.evaluate("support:id", role="agent").json()
    assert again["metadata"]["run"] == first["metadata"]["run"]
    [run] = desk.all("SELECT * FROM run")
    assert (run["id"], run["arm"], run["unit"]) == (first["metadata"]["run"], first["variant"], "u-1")


def test_a_run_that_ended_is_followed_by_another_of_its_unit(service, desk):
    first = service.evaluate(role="agent").json()["metadata"]
    service.lines("/v1/agents/support/outcomes", {"run": first["run"], "token": first["token"]})
    assert service.evaluate(role="agent").json()["metadata"]["run"] != first["run"]


def test_an_open_run_on_a_bundle_that_was_left_is_not_gone_on_with(service, desk, live):
    [unit] = desk.units(live, 5_000, candidate=True)
    first = service.evaluate(role="agent", targetingKey=unit).json()
    desk.revert(live)
    second = service.evaluate(role="agent", targetingKey=unit).json()
    assert (first["variant"], second["variant"]) == ("candidate", "baseline")
    assert first["metadata"]["run"] != second["metadata"]["run"]


def test_a_name_of_ones_own_tells_runs_of_one_unit_apart(service, desk):
    runs = {service.evaluate(role="agent", run=name).json()["metadata"]["run"] for name in ("a", "b", "a")}
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "PARSE_ERROR"),
        ("", "PARSE_ERROR"),
        ("[" * 100_000, "PARSE_ERROR"),
        ("[]", "INVALID_CONTEXT"),
        ("{}", "INVALID_CONTEXT"),
        ('{"context": 1}', "INVALID_CONTEXT"),
        ('{"context": {}}', "TARGETING_KEY_MISSING"),
        ('{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
        ('{"context": {"targetingKey": 1}}', "INVALID_CONTEXT"),
        ('{"context": {"targetingKey": "\\ud800"}}', "INVALID_CONTEXT"),
        ('{"context": {"targetingKey": "u", "risk": "huge"}}', "INVALID_CONTEXT"),
        ('{"context": {"targetingKey": "u", "record": "no"}}', "INVALID_CONTEXT"),
        ('{"context": {"targetingKey": "u", "environment": 1}}', "INVALID_CONTEXT"),
    ],
)
def test_a_body_that_can_not_be_used_has_the_protocols_error(service, desk, body, code):
    for role in ("observer", "agent"):
        answer = service.ask(role, "POST", f"{EVALUATE}/support", content=body.encode())
        assert answer.status_code == 400
        said = answer.json()
        assert (said["key"], said["errorCode"]) == ("support", code)
        assert said["errorDetails"]
    assert desk.all("SELECT * FROM run") == []


@pytest.mark.parametrize("key", ["coder", "No Agent", "..", "support:name"])
def test_an_unknown_flag_is_not_found(service, key):
    answer = service.post("observer", f"{EVALUATE}/{key}", {"context": {"targetingKey": "u"}})
    assert answer.status_code == 404
    assert "error" in answer.text


def test_without_a_valid_token_nothing_is_said(service):
    for headers in ({}, {"Authorization": "Bearer x"}, {"X-API-Key": "x"}, {"Authorization": "Basic eDp5"}):
        answer = service.post(
            None, f"{EVALUATE}/support", {"context": {"targetingKey": "u"}}, headers=headers
        )
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "support" not in answer.text


def test_a_token_may_come_as_an_api_key(service):
    headers = {"X-API-Key": service.token("observer")}
    answer = service.post(None, f"{EVALUATE}/support", {"context": {"targetingKey": "u"}}, headers=headers)
    assert answer.status_code == 200


def test_a_bulk_evaluation_holds_every_agent_of_the_token(service, desk):
    said = service.post("observer", EVALUATE, {"context": {"targetingKey": "u"}}).json()
    assert [flag["key"] for flag in said["flags"]] == ["support"]
    assert said["eventStreams"] == [{"type": "sse", "url": "/ofrep/v1/stream", "inactivityDelaySec": 120}]
    other = {"scope": {"agents": ["coder"]}}
    said = service.post("observer", EVALUATE, {"context": {"targetingKey": "u"}}, **other).json()
    assert said["flags"] == []


def test_the_tag_of_a_bulk_changes_with_the_context_and_with_every_move(service, desk):
    def tag(unit: str, known: str | None = None):
        headers = {"If-None-Match": known} if known else {}
        answer = service.post("observer", EVALUATE, {"context": {"targetingKey": unit}}, headers=headers)
        return answer.status_code, answer.headers["ETag"]

    _, first = tag("u")
    assert tag("u", first) == (304, first)
    status, other = tag("v", first)
    assert (status, other != first) == (200, True)
    desk.live(share_bp=5_000)
    service.settled()
    status, moved = tag("u", first)
    assert (status, moved != first) == (200, True)


class Whole:
    """Lets a test see whether a look asked for the framework's whole way."""

    def __init__(self, monkeypatch):
        self.looks, real = 0, evaluating.look

        def look(*given):
            self.looks += 1
            return real(*given)

        monkeypatch.setattr(evaluating, "look", look)


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.setattr(door, "TRUSTED_S", 3_600.0)  # a slow machine does not decide
    return Whole(monkeypatch)


@pytest.mark.parametrize("key", ["support", "support:id"])
@pytest.mark.parametrize("header", ["Authorization", "authorization", "X-API-Key"])
def test_what_is_at_hand_is_answered_at_once_and_the_same(service, desk, whole, key, header):
    desk.live(5_000)
    service.settled()
    token = service.token("observer")
    shown = {header: token if header == "X-API-Key" else f"bearer {token}"}
    at_the_door, said = service.app.state.desk.door, []
    for forget in (False, True):
        before = whole.looks
        for turn in range(20):
            if forget:
                at_the_door.forget()
            body = {"context": {"targetingKey": f"u-{turn}", "risk": "low"}}
            said.append(service.post(None, f"{EVALUATE}/{key}", body, headers=shown).json())
        assert (whole.looks > before) is forget
    assert said[:20] == said[20:]
    assert {each["variant"] for each in said} == {"baseline", "candidate"}


@pytest.mark.parametrize(
    ("role", "path", "context"),
    [
        ("agent", "support", {}),
        ("observer", "coder", {}),
        ("observer", "support", {"risk": "huge"}),
        ("observer", "support", {"environment": "staging"}),
        ("observer", "support", {"note": "x" * 20_000}),
    ],
)
def test_what_is_not_is_answered_as_ever(service, desk, role, path, context):
    service.settled()
    body = {"context": {"targetingKey": "u", **context}}
    first, second = (service.post(role, f"{EVALUATE}/{path}", body) for _ in range(2))
    assert first.status_code == second.status_code
    assert len(desk.all("SELECT * FROM run")) == (role == "agent")
    service.app.state.desk.door.forget()
    assert service.post(role, f"{EVALUATE}/{path}", body).status_code == first.status_code


def test_a_token_that_reaches_another_agent_is_refused_though_this_one_is_at_hand(service, desk):
    service.settled()
    for _ in range(2):
        answer = service.post(
            "observer", f"{EVALUATE}/support", {"context": {"targetingKey": "u"}}, scope={"agents": ["coder"]}
        )
        assert answer.status_code == 403


def test_a_name_is_known_before_it_is_asked_for_at_once(service, desk, whole):
    desk.live(5_000)
    service.settled()
    known = service.app.state.desk._names
    assert set(known) == {desk.baseline, desk.candidate}


def test_a_candidate_whose_name_can_not_be_read_keeps_nobody_from_the_baseline(service, desk, monkeypatch):
    desk.live(1)
    names, real = service.app.state.desk._names, registry.load

    def load(store, bundle_id):
        if bundle_id == desk.candidate:
            raise StoreUnavailable("away")
        return real(store, bundle_id)

    monkeypatch.setattr(registry, "load", load)
    for _ in range(3):
        assert service.settled()["variant"] == "baseline"
    assert desk.candidate not in names
