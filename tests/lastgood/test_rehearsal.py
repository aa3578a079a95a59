"""A rehearsal: the agent's own code on a given bundle, which touches nothing."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

import lastgood
from lastgood import agent as agents
from lastgood import outbound, rehearsal, rehearsed
from lastgood.bundle import Bundle, Part
from lastgood.errors import CapReached, Denied, MalformedCall, MissingFixture, NotFound, Refused
from lastgood.fixtures import Fixtures
from lastgood.part_reads import unread
from lastgood.rehearsal import Access, Purse, Rehearsal, rehearse
from lastgood.rehearsed import ToolFailed, sample

TOOLS = [
    {"name": "find_order", "input": {"type": "object", "required": ["order"]}, "output": {"type": "object"}},
    {
        "name": "refund",
        "kind": "refund",
        "target": "order",
        "output": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
    },
    {"name": "message", "kind": "message", "target": "to"},
]

PRICES = {"m": {"input_usd_per_mtok": 1e6, "output_usd_per_mtok": 0}}


def make_bundle(tools=None, prompt="be kind"):
    return Bundle(
        [
            Part.of_value("prompt", "1", prompt),
            Part.of_value("model", "1", {"prices": PRICES}),
            Part.of_value("tools", "1", TOOLS if tools is None else tools),
            Part.of_value("memory", "1", {}),
            Part.of_value("policy", "1", {}),
        ]
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_store(tmp_path, monkeypatch):
    """A rehearsal that wrote to a store would have to make one here."""
    monkeypatch.setitem(agents._configured, "database", f"sqlite:///{tmp_path / 'none.db'}")
    yield
    assert list(tmp_path.iterdir()) == []


def make(fixtures=(), rules=(), **options):
    return Rehearsal("support", make_bundle(), Fixtures.from_json(list(fixtures), rules), **options)


def lookup(order):
    raise AssertionError("a call that is served must not be made")


class Crm(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(("GET", self.path))
        self.answer({"path": self.path, "n": len(self.server.seen)})

    def do_POST(self):
        self.server.seen.append(("POST", self.path))
        self.answer({"id": "r-1"})

    def answer(self, body):
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def crm():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Crm)
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


# -- runs


def test_a_run_in_a_rehearsal_is_on_its_bundle_and_writes_to_no_store():
    held = make()
    with rehearse(held), lastgood.run("support", "u-1") as run:
        assert run.bundle.id == held.bundle.id
        assert not run.recorded
        run.report(validated=False, edits=2)
        run.event("data_leak", what="x")
    assert [(o.completed, o.validated, o.operator_edits) for o in held.log.outcomes] == [(True, False, 2)]
    assert held.log.events == [("data_leak", {"what": "x"})]


def test_outside_of_a_rehearsal_a_run_meets_the_store_again():
    with rehearse(make()):
        pass
    with pytest.raises(lastgood.LastgoodError, match="store"), lastgood.run("support"):
        pass


def test_an_exception_is_the_outcome_of_its_run():
    held = make()
    with pytest.raises(ZeroDivisionError), rehearse(held), lastgood.run("support"):
        _ = 1 // 0
    assert [(o.status, o.error) for o in held.log.outcomes] == [("failed", "ZeroDivisionError")]


def test_another_agent_has_no_bundle_in_the_rehearsal():
    with rehearse(make()), pytest.raises(Refused, match="no bundle of billing"), lastgood.run("billing"):
        pass


def test_ids_of_runs_are_the_same_in_every_rehearsal():
    def ids():
        with rehearse(make()), lastgood.run("support") as one, lastgood.run("support") as two:
            return one.id, two.id

    assert ids() == ids()
    assert len(set(ids())) == 2


def test_runs_that_begin_at_once_have_ids_of_their_own(monkeypatch):
    both, plain = threading.Barrier(2), rehearsed.RehearsedSeam
    monkeypatch.setattr(rehearsed, "RehearsedSeam", lambda *given: (both.wait(10), plain(*given))[1])

    def begin():
        with lastgood.run("support") as run:
            return run.id

    held = make()
    with rehearse(held), ThreadPoolExecutor(2) as pool:
        ids = {each.result() for each in [pool.submit(begin), pool.submit(begin)]}
    assert len(ids) == len(held.runs) == 2


def test_an_async_run_is_rehearsed_too():
    async def replay():
        async with lastgood.run("support") as run:
            return await asyncio.to_thread(lambda: run.bundle.prompt.text)

    held = make()
    with rehearse(held):
        assert asyncio.run(replay()) == "be kind"
    assert len(held.log.outcomes) == 1


def test_a_suspended_run_is_resumed_within_its_rehearsal():
    held = make()
    with rehearse(held):
        with lastgood.run("support") as run:
            run.suspend()
        assert held.log.outcomes == []
        with lastgood.resume(run.id) as again:
            again.report(validated=True)
        lastgood.report(run.id, edits=1)
        with pytest.raises(NotFound, match="this rehearsal"):
            lastgood.report("run_of_the_store", edits=1)
    assert [(o.validated, o.operator_edits) for o in held.log.outcomes] == [(True, 1)]


def test_the_parts_that_the_agent_reads_are_noted():
    held = make()
    with rehearse(held), lastgood.run("support") as run:
        _ = run.bundle.prompt.text
    assert unread([held.log.outcomes[0].parts_read]) == ("memory", "model", "policy", "tools")


def test_threads_started_in_a_rehearsal_stand_under_it():
    held, found = make(), []

    def work():
        with lastgood.run("support") as run:
            found.append(run.bundle.id)

    with rehearse(held):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [held.bundle.id]


def test_threads_of_the_process_that_are_none_of_the_rehearsals_are_left_alone():
    seen = []
    with rehearse(make()), ThreadPoolExecutor(1) as pool:
        assert pool.submit(rehearsal.current).result() is not None
    thread = threading.Thread(target=lambda: seen.append(rehearsal.current()))
    thread.start()
    thread.join()
    assert seen == [None]


def test_two_rehearsals_at_once_stay_apart():
    one, two = make(), Rehearsal("support", make_bundle(prompt="other"))

    def play(held):
        with rehearse(held), lastgood.run("support") as run:
            barrier.wait(5)
            return run.bundle.prompt.text

    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(play, (one, two))) == ["be kind", "other"]


# -- tools


def test_a_recorded_call_is_served_and_not_made():
    entry = {"tool": "find_order", "arguments": {"order": "7"}, "result": {"state": "sent"}}
    with rehearse(make([entry])), lastgood.run("support") as run:
        assert run.tool(lookup, name="find_order")("7") == {"state": "sent"}


def test_equal_calls_are_answered_in_order_and_the_last_answer_again():
    entries = [{"tool": "find_order", "arguments": {"order": "7"}, "result": {"n": n}} for n in (1, 2)]
    with rehearse(make(entries)), lastgood.run("support") as run:
        find = run.tool(lookup, name="find_order")
        assert [find("7")["n"] for _ in range(3)] == [1, 2, 2]


def test_a_recorded_error_is_raised():
    entry = {"tool": "find_order", "arguments": {"order": "7"}, "error": "TimeoutError: 5 s"}
    with (
        rehearse(make([entry])),
        lastgood.run("support") as run,
        pytest.raises(ToolFailed, match="TimeoutError"),
    ):
        run.tool(lookup, name="find_order")("7")


def test_a_call_with_other_arguments_than_recorded_names_itself():
    held = make([{"tool": "find_order", "arguments": {"order": "7"}, "result": {}}])
    with (
        rehearse(held),
        pytest.raises(MissingFixture, match=r"find_order with \{'order': '8'\}.*cases record"),
        lastgood.run("support") as run,
    ):
        run.tool(lookup, name="find_order")("8")
    assert held.log.missing == ["the tool find_order with {'order': '8'}"]


def test_a_reading_tool_without_recorded_calls_runs_its_own_code():
    with rehearse(make()), lastgood.run("support") as run:
        assert run.tool(lambda order: {"own": order}, name="find_order")("7") == {"own": "7"}


def test_an_effect_is_noted_and_not_done():
    held = make()
    with rehearse(held), lastgood.run("support") as run:
        made = run.tool(lookup, name="refund")(order="7")
    assert made == {"id": ""}  # the least that its schema allows
    assert [(a.kind, a.target, a.tool) for a in held.log.actions] == [("refund", "7", "refund")]


def test_a_recorded_effect_answers_what_it_answered():
    held = make([{"tool": "refund", "arguments": {"order": "7"}, "result": {"id": "r-1"}}])
    with rehearse(held), lastgood.run("support") as run:
        assert run.tool(lookup, name="refund")(order="7") == {"id": "r-1"}
    assert len(held.log.actions) == 1


def test_an_async_effect_is_not_done_either():
    async def refund(order):
        raise AssertionError

    async def replay():
        async with lastgood.run("support") as run:
            return await run.tool(refund)(order="7")

    with rehearse(make()):
        assert asyncio.run(replay()) == {"id": ""}


def test_a_malformed_call_counts_as_in_service():
    held = make()
    with rehearse(held), pytest.raises(MalformedCall), lastgood.run("support") as run:
        run.tool(lambda **given: given, name="find_order")(wrong=1)
    assert held.log.outcomes[0].metrics == {"tool_malformed": True}


def test_what_a_tool_returns_is_held_to_its_schema_as_in_service():
    held = make()
    with rehearse(held), pytest.raises(MalformedCall, match="results"), lastgood.run("support") as run:
        run.tool(lambda order: "no object", name="find_order")("7")
    assert held.log.outcomes[0].metrics == {"tool_malformed": True}


def test_a_call_with_a_key_is_made_once():
    entries = [{"tool": "find_order", "arguments": {"order": "7"}, "result": {"n": n}} for n in (1, 2)]
    with rehearse(make(entries)), lastgood.run("support") as run:
        find = run.tool(lookup, name="find_order", key="once")
        assert [find("7")["n"] for _ in range(2)] == [1, 1]


def test_an_action_is_noted_and_what_it_would_send_is_not_sent(crm):
    held = make()
    with rehearse(held), lastgood.run("support") as run:
        with run.action("message", "c-1"), outbound.client() as client:
            client.post(f"{crm.url}/messages", json={})
        run.report(validated=True)
    assert crm.seen == []
    assert [(a.kind, a.target) for a in held.log.actions] == [("message", "c-1")]
    assert held.log.outcomes[0].validated


# -- HTTP


def test_a_request_is_answered_from_its_fixture_wherever_the_service_is_now():
    entry = {"http": "GET", "url": "http://old:1/orders?b=2&a=1", "answer": {"json": {"state": "sent"}}}
    with rehearse(make([entry])), outbound.client(base_url="http://new:2") as client:
        assert client.get("/orders?a=1&b=2").json() == {"state": "sent"}


def test_a_host_with_fixtures_of_its_own_is_answered_by_them():
    entries = [
        {"http": "GET", "url": f"http://{host}/x", "answer": {"json": host}} for host in ("one", "two")
    ]
    with rehearse(make(entries)), outbound.client() as client:
        assert client.get("http://two/x").json() == "two"


def test_a_body_is_compared_as_json_without_what_is_ignored():
    entry = {"http": "POST", "url": "http://crm/r", "body": {"json": {"a": 1, "b": 2, "id": "x"}},
             "status": 201, "answer": {"text": "done"}, "ignore": ["id"]}  # fmt: skip
    with rehearse(make([entry])), outbound.client() as client:
        answer = client.post("http://crm/r", json={"id": "y", "b": 2, "a": 1})
        assert (answer.status_code, answer.text) == (201, "done")
        with pytest.raises(Denied):
            client.post("http://crm/r", json={"a": 2})


def test_a_request_is_compared_redacted():
    entry = {"http": "GET", "url": "http://crm/c?mail=[email]", "answer": {"json": 1}}
    with rehearse(make([entry], rules=("email",))), outbound.client() as client:
        assert client.get("http://crm/c?mail=ann@example.com").json() == 1


def test_a_read_that_is_not_recorded_is_missing(crm):
    held = make()
    with rehearse(held), outbound.client() as client, pytest.raises(MissingFixture, match="GET http"):
        client.get(f"{crm.url}/orders/7")
    assert held.log.missing == [f"GET {crm.url}/orders/7"]
    assert crm.seen == []


def test_an_async_client_is_answered_too():
    entry = {"http": "GET", "url": "http://crm/x", "answer": {"json": 1}}

    async def replay():
        async with outbound.async_client() as client:
            return (await client.get("http://crm/x")).json()

    with rehearse(make([entry])):
        assert asyncio.run(replay()) == 1


def test_recording_reads_for_real_and_denies_effects(crm):
    held = make(access=Access(record=True))
    with rehearse(held), outbound.client(base_url=crm.url) as client:
        assert client.get("/orders/7").json()["path"] == "/orders/7"
        with pytest.raises(Denied, match="POST"):
            client.post("/refunds", json={})
    assert crm.seen == [("GET", "/orders/7")]
    again = Fixtures(tuple(held.log.recorded))
    with rehearse(Rehearsal("support", make_bundle(), again)), outbound.client(base_url="http://x") as client:
        assert client.get("/orders/7").json() == {"path": "/orders/7", "n": 1}


def test_an_effect_in_a_sandbox_is_recorded_with_the_tool_that_made_it_and_replayed_through_its_code(crm):
    def refund(order):
        with outbound.client(base_url=crm.url) as client:
            return client.post("/refunds", json={"order": order}).json() | {"by": "own code"}

    held = make(access=Access(record=True, sandbox=frozenset({crm.host})))
    with rehearse(held), lastgood.run("support") as run:
        run.tool(refund)("7")
    assert [entry.within for entry in held.log.recorded] == ["refund"]
    before = list(crm.seen)
    again = Rehearsal("support", make_bundle(), Fixtures(tuple(held.log.recorded)))
    with rehearse(again), lastgood.run("support") as run:
        assert run.tool(refund)("7") == {"id": "r-1", "by": "own code"}
    assert crm.seen == before


def test_a_tool_that_reaches_outside_by_itself_is_recorded_as_a_whole(crm):
    def find_order(order):
        return httpx.get(f"{crm.url}/orders/{order}").json()

    held = make(access=Access(record=True))
    with rehearse(held), lastgood.run("support") as run:
        run.tool(find_order)("7")
    again = Rehearsal("support", make_bundle(), Fixtures(tuple(held.log.recorded)))
    with rehearse(again), lastgood.run("support") as run:
        assert run.tool(find_order)("7") == {"path": "/orders/7", "n": 1}
    assert len(crm.seen) == 1


def test_model_calls_go_out_under_a_ceiling(crm):
    purse = Purse(1.5)
    held = make(access=Access(live=frozenset({crm.host})), purse=purse)
    with rehearse(held), outbound.client(base_url=crm.url) as client, lastgood.run("support") as run:
        for _ in range(2):
            client.post("/v1/chat", json={})
            run.usage("m", tokens_in=1, tokens_out=0)
        with pytest.raises(CapReached, match=r"\$2\.00 of \$1\.50"):
            client.post("/v1/chat", json={})
    assert (len(crm.seen), purse.spent_usd) == (2, 2.0)


def test_a_live_model_without_a_price_is_denied():
    held = make(access=Access(live=frozenset({"api"})), purse=Purse(1))
    with rehearse(held), pytest.raises(Denied, match="no price"), lastgood.run("support") as run:
        run.usage("unknown", tokens_in=1, tokens_out=0)


# -- whatever reaches outside by itself


def test_a_socket_of_ones_own_is_denied(crm):
    held = make()
    with rehearse(held), pytest.raises(Denied, match=r"lastgood\.outbound"):
        socket.create_connection(("127.0.0.1", crm.server_port))
    assert len(held.log.denied) == 1
    socket.create_connection(("127.0.0.1", crm.server_port)).close()


def test_a_socket_in_a_thread_of_the_rehearsal_is_denied(crm):
    found = []

    def work():
        with pytest.raises(Denied):
            socket.create_connection(("127.0.0.1", crm.server_port))
        found.append(True)

    with rehearse(make()):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [True]


def test_a_subprocess_is_denied():
    with rehearse(make()), pytest.raises(Denied, match=r"subprocess\.Popen"):
        subprocess.run([sys.executable, "-c", ""], check=True)


def test_a_tool_that_reaches_outside_by_itself_is_a_missing_fixture(crm):
    held = make()
    with rehearse(held), pytest.raises(MissingFixture, match="find_order"), lastgood.run("support") as run:
        run.tool(lambda order: socket.create_connection(("127.0.0.1", crm.server_port)), name="find_order")(
            "7"
        )
    assert held.log.missing


# -- samples


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3}}}, {"a": 3}),
        ({"enum": ["x", "y"]}, "x"),
        ({"type": "array", "minItems": 2, "items": {"type": "string", "minLength": 1}}, ["x", "x"]),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        ({"type": ["string", "null"]}, ""),
        (True, None),
    ],
)  # fmt: skip
def test_a_sample_is_the_least_that_a_schema_allows(schema, value):
    assert sample(schema) == value
