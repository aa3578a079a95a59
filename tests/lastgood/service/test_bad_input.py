"""What a client must not send: each is answered in the protocol's own words, and nothing is written."""

import json
from dataclasses import replace

import pytest

from lastgood.store.connection import Store

EVALUATE, BASE = "/ofrep/v1/evaluate/flags", "/v1/agents/support"
HOUR_US = 3_600_000_000
#: what a refusal itself leaves: its count, and a row of the ledger
_OF_REFUSALS = {"refusal", "ledger", "access_token", "alembic_version"}
_NAMES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgres": "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()",
}


def kept(desk) -> dict:
    """Every row that a request could have written or changed."""
    kind = "postgres" if desk.store.path is None else "sqlite"
    names = {row["name"] for row in desk.all(_NAMES[kind])} - _OF_REFUSALS
    assert {"run", "outcome", "late_report", "event", "action", "control_point"} <= names
    return {name: sorted(map(repr, map(dict, desk.all(f"SELECT * FROM {name}")))) for name in names}


def answered(answer) -> str:
    """The protocol's word for what is wrong."""
    said = answer.json()
    return said.get("errorCode") or said.get("error") or str(said["code"])


def context(**given):
    return json.dumps({"context": given}).encode()


def line(**given):
    return json.dumps(given).encode()


CASES = {
    "an unknown flag": (f"{EVALUATE}/coder", context(targetingKey="u"), 404, "FLAG_NOT_FOUND"),
    "a missing targeting key": (f"{EVALUATE}/support", context(), 400, "TARGETING_KEY_MISSING"),
    "a missing targeting key, for all": (EVALUATE, context(), 400, "TARGETING_KEY_MISSING"),
    "a key of a wrong type": (f"{EVALUATE}/support", context(targetingKey=7), 400, "INVALID_CONTEXT"),
    "a task type of a wrong type": (
        f"{EVALUATE}/support", context(targetingKey="u", task_type={}), 400, "INVALID_CONTEXT",
    ),
    "no JSON": (f"{EVALUATE}/support", b"{", 400, "PARSE_ERROR"),
    "a run of a unit that is no text": (f"{BASE}/runs", line(unit=1), 400, "InvalidInput"),
    "a run with a field of ours": (f"{BASE}/runs", line(unit="u", arm="candidate"), 400, "InvalidInput"),
    "an event without a token": (f"{BASE}/events", line(run="r", name="note"), 400, "InvalidInput"),
    "an action of no run": (f"{BASE}/actions", line(run="r", token="t", kind="message"), 403, "BadToken"),
    "a batch of a million lines": (f"{BASE}/outcomes", b"{}\n" * 1_000_000, 413, "TooMuch"),
    "late reports, a million": (f"{BASE}/reports", b"{}\n" * 1_000_000, 413, "TooMuch"),
    "a batch of more bytes than are taken": (f"{BASE}/outcomes", b" " * 8_000_001, 413, "TooMuch"),
    "spans that are no list": ("/v1/traces", line(resourceSpans=1), 400, "3"),
}  # fmt: skip


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_the_protocols_words_and_nothing_is_written(service, desk, case):
    path, body, status, word = CASES[case]
    desk.live(5_000)
    before = kept(desk)
    answer = service.ask("agent", "POST", path, content=body)
    assert (answer.status_code, answered(answer)) == (status, word)
    assert kept(desk) == before


WRONG_LINES = {
    "a flag that is a text": {"completed": "yes"},
    "a count that is none": {"incidents": -1},
    "a count with a fraction": {"edits": 1.5},
    "an amount that is a text": {"cost_usd": "0.1"},
    "an amount beyond all sums": {"cost_usd": 1e300},
    "a state that is none": {"status": "exploded"},
    "a state of a wrong type": {"status": ["ended"]},
    "usage that is no list": {"usage": {"model": "m"}},
    "a metric that is a text": {"mood": "fine"},
    "a metric without a name": {"": 1},
    "a time that it sets itself": {"received_us": "2001-01-01"},
}


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("wrong", WRONG_LINES)
def test_a_line_that_can_not_be_is_named_and_nothing_is_written(service, desk, wrong):
    desk.live(5_000)
    run = service.enter()
    before, mine = kept(desk), {"run": run["run"], "token": run["token"]}
    said = service.lines(f"{BASE}/outcomes", {**mine, **WRONG_LINES[wrong]})
    assert (said.status_code, said.json()["new"]) == (200, 0)
    assert [(each["line"], each["error"]) for each in said.json()["refused"]] == [(1, "InvalidInput")]
    assert kept(desk) == before


def test_a_batch_that_comes_again_writes_nothing_more(service, desk):
    desk.live(5_000)
    runs = [service.enter(f"u-{turn}") for turn in range(20)]
    batch = [{"run": run["run"], "token": run["token"], "completed": True, "mood": 1} for run in runs]
    late = [{"run": run["run"], "token": run["token"], "edits": 1, "key": "ticket"} for run in runs]
    for path, rows in (("outcomes", batch), ("reports", late)):
        assert service.lines(f"{BASE}/{path}", *rows).json()["new"] == 20
        before = kept(desk)
        for _ in range(3):
            said = service.lines(f"{BASE}/{path}", *rows, *rows[::-1]).json()
            assert (said["new"], said["duplicates"], said["refused"]) == (0, 40, [])
        assert kept(desk) == before


def test_a_token_of_another_agent_writes_nothing_on_any_route(service, desk):
    desk.live(5_000)
    run, scope = service.enter(), {"agents": ["coder"]}
    mine = {"run": run["run"], "token": run["token"]}
    before = kept(desk)
    for agent, forbidden in (("support", True), ("coder", False)):
        base = f"/v1/agents/{agent}"
        for path, body in (
            ("outcomes", mine), ("reports", {**mine, "edits": 1}), ("events", {**mine, "name": "note"}),
            ("actions", {**mine, "kind": "message"}), ("actions/act_1", {**mine, "state": "done"}),
        ):  # fmt: skip
            answer = service.ask("agent", "POST", f"{base}/{path}", content=line(**body), scope=scope)
            if path in {"outcomes", "reports"} and not forbidden:
                assert answer.json()["new"] == 0
                assert len(answer.json()["refused"]) == 1
            else:
                assert answer.status_code == 403, (path, answer.text)
    assert service.post("agent", f"{BASE}/runs", {"unit": "u"}, scope=scope).status_code == 403
    assert kept(desk) == before


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("skew_us", [HOUR_US, -HOUR_US])
def test_services_whose_clocks_are_an_hour_apart_take_each_others_runs(serve, desk, skew_us):
    desk.live(5_000)
    clock = replace(desk.clock, wall_us=desk.clock.wall_us + skew_us)
    here, there = serve(), serve(Store(desk.store.url, clock))
    for entering, reporting in ((here, there), (there, here)):
        for turn in range(10):
            run = entering.enter(f"{id(entering)}-{turn}")
            said = reporting.lines(f"{BASE}/outcomes", {"run": run["run"], "token": run["token"]}).json()
            assert (said["new"], said["refused"]) == (1, [])
            assert (
                entering.evaluate(targetingKey=f"{turn}").json()
                == reporting.evaluate(targetingKey=f"{turn}").json()
            )
