import asyncio
import json
import socket
from urllib.parse import urlsplit

import pytest

from lastgood.caps import Caps
from lastgood.release import Terms
from lastgood.service import limits
from lastgood.triggers import Triggers

OUTCOMES, REPORTS = "/v1/agents/support/outcomes", "/v1/agents/support/reports"
RUNS, EVENTS, ACTIONS = (f"/v1/agents/support/{noun}" for noun in ("runs", "events", "actions"))


@pytest.fixture
def run(service) -> dict:
    """A run and its token, as lines of a batch have them."""
    entered = service.enter()
    return {"run": entered["run"], "token": entered["token"]}


def outcomes(desk):
    return desk.all("SELECT * FROM outcome ORDER BY run_id")


def test_entering_a_run_commits_its_assignment(service, desk):
    release = desk.live()
    entered = service.enter("u-7", task_type="faq", risk="low")
    [row] = desk.all("SELECT * FROM run")
    assert (row["id"], row["unit"], row["task_type"], row["arm"]) == (
        entered["run"],
        "u-7",
        "faq",
        "candidate",
    )
    assert (entered["bundle"], entered["release"], entered["why"]) == (desk.candidate, release, "split")


def test_a_run_of_the_callers_own_name_is_entered_once(service, desk):
    first, again = service.enter(run="mine"), service.enter(run="mine")
    assert first == again
    assert len(desk.all("SELECT * FROM run")) == 1


def test_a_batch_counts_each_run_once_and_names_the_lines_it_refuses(service, desk, run):
    other = service.enter("u-2")
    answer = service.lines(
        OUTCOMES,
        {**run, "validated": True, "edits": 2, "cost_usd": 0.25, "mood": 3},
        "{not json",
        {"run": other["run"], "token": run["token"]},
        {"run": other["run"], "token": other["token"], "completed": "yes"},
        {**run, "validated": False},
        {"run": "run_unknown", "token": "x"},
        {"run": other["run"]},
    )
    assert answer.status_code == 200
    said = answer.json()
    assert (said["new"], said["duplicates"]) == (1, 1)
    assert sorted((each["line"], each["error"]) for each in said["refused"]) == [
        (2, "InvalidInput"),
        (3, "BadToken"),
        (4, "InvalidInput"),
        (6, "BadToken"),
        (7, "InvalidInput"),
    ]
    [row] = outcomes(desk)
    assert (row["run_id"], row["completed"], row["validated"], row["operator_edits"]) == (run["run"], 1, 1, 2)
    assert json.loads(row["metrics"]) == {"mood": 3}


def test_the_same_batch_again_changes_nothing(service, desk, run):
    for new in (1, 0):
        said = service.lines(OUTCOMES, {**run, "completed": True}).json()
        assert (said["new"], said["duplicates"]) == (new, 1 - new)
    assert len(outcomes(desk)) == 1


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b"[1]", b"\xff", b"{" * 200_000, b"{}{}", b'{"a":' * 501 + b"1" + b"}" * 501]
)
@pytest.mark.only("sqlite")
def test_a_batch_of_nothing_usable_is_refused_whole(service, desk, body):
    answer = service.ask("agent", "POST", OUTCOMES, content=body)
    assert answer.status_code == 400
    assert "send one JSON object a line" in answer.json()["message"]
    assert outcomes(desk) == []


@pytest.mark.parametrize("body", [b"{}", b'{"run": 1, "token": 2}', b'{"run": "\\u0000", "token": "x"}'])
@pytest.mark.only("sqlite")
def test_a_line_without_its_run_and_token_is_named(service, desk, body):
    [refused] = service.ask("agent", "POST", OUTCOMES, content=body).json()["refused"]
    assert (refused["line"], refused["error"]) == (1, "InvalidInput")
    assert outcomes(desk) == []


def test_each_line_is_named_by_its_place_though_a_run_comes_several_times(service, desk, run):
    forged = {**run, "token": run["token"][:-1] + "x"}
    said = service.lines(OUTCOMES, forged, "", {**run, "validated": True}, forged, b"\xff".decode("latin-1"))
    assert [(each["line"], each["error"]) for each in said.json()["refused"]] == [
        (5, "InvalidInput"),
        (1, "BadToken"),
        (4, "BadToken"),
    ]
    assert (said.json()["new"], len(outcomes(desk))) == (1, 1)


@pytest.mark.only("sqlite")
def test_a_line_that_is_no_utf8_does_not_spoil_the_others(service, desk, run):
    good = json.dumps({**run, "validated": True}).encode()
    said = service.ask("agent", "POST", OUTCOMES, content=b'{"run": "\xff"}\n' + good).json()
    assert (said["new"], [each["line"] for each in said["refused"]]) == (1, [1])


def test_a_text_cut_in_the_middle_of_a_character_is_kept_without_it(service, desk, run):
    said = {"output": {"text": "so far \ud83d"}, "error": "Odd\ud83d\0", "status": "failed"}
    assert service.lines(OUTCOMES, {**run, **said}).json()["new"] == 1
    [row] = outcomes(desk)
    assert (json.loads(row["output"]), row["error"]) == ({"text": "so far ?"}, "Odd?")


@pytest.mark.only("sqlite")
def test_a_batch_of_too_many_lines_or_bytes_is_refused_whole(service, desk, run):
    line = json.dumps({**run, "completed": True}).encode() + b"\n"
    answer = service.ask("agent", "POST", OUTCOMES, content=line * 10_001)
    assert (answer.status_code, answer.json()["error"]) == (413, "TooMuch")
    answer = service.ask("agent", "POST", OUTCOMES, content=b"x" * 8_000_001)
    assert (answer.status_code, answer.json()["error"]) == (413, "TooMuch")
    assert outcomes(desk) == []


@pytest.mark.only("sqlite")
def test_half_a_body_writes_nothing(service, desk, run):
    line = json.dumps({**run, "completed": True}) + "\n"
    place = urlsplit(service.url)
    with socket.create_connection((place.hostname, place.port)) as held:
        head = (
            f"POST {OUTCOMES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.token('agent')}\r\n"
            f"Content-Length: {len(line) * 2}\r\n\r\n{line}"
        )
        held.sendall(head.encode())
    assert service.get(None, "/health").status_code == 200
    assert outcomes(desk) == []


def test_a_token_of_another_agent_reaches_nothing(service, desk, run):
    scope = {"agents": ["coder"]}
    for path, body in ((RUNS, {"unit": "u"}), (EVENTS, {**run, "name": "note"})):
        assert service.post("agent", path, body, scope=scope).status_code == 403
    line = json.dumps({**run, "completed": True}).encode()
    assert service.ask("agent", "POST", OUTCOMES, content=line, scope=scope).status_code == 403
    own = service.ask("agent", "POST", "/v1/agents/coder/outcomes", content=line, scope=scope)
    assert [each["error"] for each in own.json()["refused"]] == ["Forbidden"]
    assert outcomes(desk) == []


def test_what_comes_later_counts_once_by_its_key(service, desk, run):
    service.lines(OUTCOMES, {**run, "completed": True})
    for new in (1, 0):
        said = service.lines(REPORTS, {**run, "key": "e-1", "edits": 3}, {**run, "edits": -1}).json()
        assert (said["new"], said["duplicates"], len(said["refused"])) == (new, 1 - new, 1)
    assert len(desk.all("SELECT * FROM late_report")) == 1


def test_an_event_that_is_not_tolerated_reverts_in_the_request(service, desk):
    caps = Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None)
    desk.live(terms=Terms(caps=caps, triggers=Triggers(zero_tolerance=("data_leak",))))
    entered = service.enter()
    body = {"run": entered["run"], "token": entered["token"], "name": "data_leak", "detail": {"to": "x"}}
    assert service.post("agent", EVENTS, body).status_code == 204
    assert desk.point.release_id is None


def test_an_action_is_reserved_settled_and_repeated_by_its_key(service, desk, run):
    wanted = {**run, "kind": "message", "target": "c-1", "key": "k", "undo": {"kind": "apology"}}
    first = service.post("agent", ACTIONS, wanted).json()
    assert (first["done"], first["late"]) == (False, False)
    settled = service.post(
        "agent", f"{ACTIONS}/{first['action']}", {**run, "state": "done", "result": {"id": 7}}
    )
    assert settled.status_code == 204
    assert service.post("agent", ACTIONS, wanted).json() == {
        **first,
        "done": True,
        "kept": True,
        "result": {"id": 7},
    }
    [row] = desk.all("SELECT * FROM action")
    assert (row["state"], row["target"], json.loads(row["undo"])) == ("done", "c-1", {"kind": "apology"})


def test_a_ceiling_answers_409_with_its_name_level_and_when_it_frees(service, desk):
    desk.live(terms=Terms(caps=Caps(None, None, None, actions_per_run=(("message", 1),))))
    entered = service.enter()
    wanted = {"run": entered["run"], "token": entered["token"], "kind": "message"}
    assert service.post("agent", ACTIONS, wanted).status_code == 200
    refused = service.post("agent", ACTIONS, wanted)
    assert refused.status_code == 409
    said = refused.json()
    assert (said["error"], said["cap"], said["level"], said["used"], said["frees_us"]) == (
        "CapReached",
        "actions_per_run:message",
        1,
        1,
        None,
    )


def test_an_action_after_the_revert_is_refused(service, desk):
    release = desk.live()
    entered = service.enter()
    desk.revert(release)
    refused = service.post(
        "agent", ACTIONS, {"run": entered["run"], "token": entered["token"], "kind": "message"}
    )
    assert (refused.status_code, refused.json()["error"]) == (409, "Refused")
    assert desk.all("SELECT * FROM action") == []


@pytest.mark.parametrize("spoil", [{"token": "x"}, {"run": "run_other"}])
def test_an_action_or_event_without_its_runs_token_is_refused(service, desk, run, spoil):
    for path, body in ((ACTIONS, {"kind": "message"}), (EVENTS, {"name": "note"})):
        refused = service.post("agent", path, {**run, **body, **spoil})
        assert (refused.status_code, refused.json()["error"]) == (403, "BadToken")
    assert desk.all("SELECT * FROM action") == desk.all("SELECT * FROM event") == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RUNS, {}),
        (RUNS, {"unit": ""}),
        (RUNS, {"unit": 1}),
        (RUNS, {"unit": "u", "risk": "huge"}),
        (RUNS, {"unit": "u", "extra": 1}),
        (EVENTS, {"run": "r", "token": "t", "name": "No Name"}),
        (ACTIONS, {"run": "r", "token": "t", "kind": "k", "undo": []}),
    ],
)
@pytest.mark.only("sqlite")
def test_a_body_that_does_not_fit_is_refused_by_field(service, desk, path, body):
    answer = service.post("agent", path, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidInput")
    assert answer.json()["message"].startswith("body")
    assert desk.all("SELECT * FROM run") == []


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain; charset=utf-8"])
@pytest.mark.only("sqlite")
def test_a_body_without_its_type_is_taken_for_json(service, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = service.ask("agent", "POST", RUNS, content=b'{"unit": "u"}', headers=headers)
    assert answer.status_code == 200


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("value", ["1" * 400, "NaN", "1e999", "-Infinity"])
def test_a_metric_that_is_no_finite_number_is_refused_by_its_line(service, desk, value):
    desk.live()
    entered = service.enter()
    line = json.dumps({"run": entered["run"], "token": entered["token"], "mood": 0}).replace(
        "0}", f"{value}}}"
    )
    said = service.lines(OUTCOMES, line)
    assert said.status_code == 200, said.text
    [refused] = said.json()["refused"]
    assert (refused["line"], refused["error"]) == (1, "InvalidInput")
    assert outcomes(desk) == []


@pytest.mark.only("sqlite")
def test_a_token_that_floods_is_slowed_and_no_other(service, desk):
    service.app.state.desk.pace.burst = 3
    service.app.state.desk.pace.per_s = 0.001
    statuses = [service.post("agent", RUNS, {"unit": f"u-{n}"}).status_code for n in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    slowed = service.post("agent", RUNS, {"unit": "u"})
    assert (slowed.json()["error"], slowed.headers["Retry-After"]) == ("TooOften", "1")
    assert service.post("agent", RUNS, {"unit": "u"}, scope={"agents": ["support"]}).status_code == 200
    assert service.evaluate(role="agent").status_code == 200
    assert len(desk.all("SELECT * FROM run")) == 5


@pytest.mark.only("sqlite")
def test_lines_of_no_use_slow_their_token_down(service, desk, run):
    pace = service.app.state.desk.pace
    pace.burst, pace.per_s = 100, 0.001
    said = service.lines(OUTCOMES, *[{**run, "token": "x"}] * 150).json()
    assert len(said["refused"]) == 150
    assert service.lines(OUTCOMES, {**run, "validated": True}).status_code == 429
    assert desk.all("SELECT n FROM refusal WHERE reason = 'forged'") == [{"n": 150}]
    other = service.ask(
        "agent", "POST", OUTCOMES, content=json.dumps(run).encode(), scope={"agents": ["support"]}
    )
    assert other.json()["new"] == 1


def test_what_is_owed_for_lines_of_no_use_has_an_end():
    pace = limits.Pace(per_s=10, burst=100)
    pace.charge("t", 1_000_000, now_s=0.0)
    assert pace.take("t", now_s=0.0) == pytest.approx(10.1)
    assert pace.take("t", now_s=10.2) == 0.0


def test_batches_of_one_token_wait_for_one_another_and_no_other_does():
    async def held() -> list[object]:
        lanes, seen = limits.Lanes(wide=1, most=1), []
        go = asyncio.Event()

        async def batch(token):
            async with lanes.enter(token) as may:
                seen.append((token, may))
                await (go.wait() if may else asyncio.sleep(0))

        work = [asyncio.create_task(batch(token)) for token in ("a", "a", "a", "b")]
        await asyncio.sleep(0.01)
        early = list(seen)
        go.set()
        await asyncio.gather(*work)
        return [early, seen[len(early) :], dict(lanes._held)]

    early, later, left = asyncio.run(held())
    assert sorted(early) == [("a", False), ("a", True), ("b", True)]
    assert (later, left) == ([("a", True)], {})
