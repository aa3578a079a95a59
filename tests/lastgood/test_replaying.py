"""Replays: a function of this process, or a service that answers in its own."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import lastgood
from lastgood import replaying
from lastgood.bundle import Bundle, Part
from lastgood.errors import InvalidBundle, InvalidInput, Refused
from lastgood.fixtures import Fixtures, ToolFixture
from lastgood.rehearsal import Access, Purse
from lastgood.replaying import LocalReplay, Means, Played

PRICES = {"m": {"input_usd_per_mtok": 1e6, "output_usd_per_mtok": 0}}
BUNDLE = Bundle(
    [
        Part.of_value("prompt", "1", "kind"),
        Part.of_value("model", "1", {"prices": PRICES}),
        Part.of_value("tools", "1", ["find", {"name": "send", "kind": "message"}]),
        Part.of_value("memory", "1", {}),
        Part.of_value("policy", "1", {}),
    ]
)
FOUND = Fixtures((ToolFixture("find", {"order": "7"}, "sent"),))


def find(order):
    raise AssertionError(order)


def replay(inputs):
    with lastgood.run("support") as run:
        found = run.tool(find)(inputs["order"])
        run.tool(lambda to: None, name="send")(to="ann")
        run.usage("m", tokens_in=1, tokens_out=0)
        return {"answer": found, "tone": run.bundle.prompt.text}


def play(function, inputs=None, means=None, fixtures=FOUND):
    return LocalReplay("support", "x:y", function).play(
        BUNDLE, inputs or {"order": "7"}, fixtures, means or Means()
    )


def test_a_replay_returns_what_the_agent_made_and_wanted():
    found = play(replay)
    assert found.output == {"answer": "sent", "tone": "kind"}
    assert [(act.kind, act.tool) for act in found.actions] == [("message", "send")]
    assert (found.cost_usd, found.read) == (1.0, {"prompt", "tools"})
    assert found.error is None


def test_an_async_function_is_awaited():
    async def later(inputs):
        return inputs["order"]

    assert play(later).output == "7"


def test_an_exception_is_an_answer():
    assert play(lambda _: 1 // 0).error == "ZeroDivisionError: integer division or modulo by zero"
    assert play(lambda _: sys.exit(3)).error == "SystemExit: 3"


def test_one_that_hangs_is_left_behind():
    found = play(lambda _: time.sleep(30), means=Means(timeout_s=0.05))
    assert found.error == "TimeoutError: the replay did not end within 0.05 s"


def test_what_the_run_kept_as_output_counts_where_nothing_is_returned():
    def quiet(_):
        with lastgood.run("support") as run:
            run.output = "said"

    assert play(quiet).output == "said"


def test_the_inputs_are_a_copy():
    inputs = {"order": "7"}
    play(lambda given: given.clear(), inputs)
    assert inputs == {"order": "7"}


def test_the_same_replay_has_the_same_fingerprint_however_long_it_took():
    assert play(replay).fingerprint == play(replay).fingerprint
    assert play(replay).fingerprint != play(lambda _: 1).fingerprint


def test_a_replay_is_read_back_as_it_was_written():
    found = play(replay)
    assert Played.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("", "the agent support declares no replay"),
        ("module", "'module' is no function; write package.module:function"),
        ("no.such:f", "no.such can't be imported"),
        ("json:nothing", "json has no function nothing"),
    ],
)
def test_a_replay_that_can_not_be_loaded_says_so(reference, why):
    with pytest.raises(InvalidInput, match=why):
        replaying.load("support", reference)


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            answer, status = self.server.answer(asked), 200
        except InvalidInput as error:
            answer, status = str(error), 400
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.answer = lambda asked: replaying.answer(asked, "support", replay)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/replay"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_service_answers_what_its_function_would(service):
    means = Means(Access(live=frozenset({"api"})), Purse(5.0))
    found = replaying.load("support", service.url).play(BUNDLE, {"order": "7"}, FOUND, means)
    here = play(replay)
    assert (found.output, found.actions, found.cost_usd) == (here.output, here.actions, 1.0)
    assert means.purse.spent_usd == 1.0


def test_a_service_of_another_agent_or_that_answers_otherwise_is_refused(service):
    with pytest.raises(InvalidInput, match="did not answer a replay"):
        replaying.load("billing", service.url).play(BUNDLE, {}, Fixtures(), Means())
    service.answer = lambda asked: {"hello": 1}
    with pytest.raises(InvalidInput, match=r"lastgood\.replaying\.answer"):
        replaying.load("support", service.url).play(BUNDLE, {}, Fixtures(), Means())


def test_a_service_that_is_reached_inside_alone_is_not_asked(service, monkeypatch):
    monkeypatch.delenv("LASTGOOD_ALLOW_HOSTS")
    service.answer = lambda asked: pytest.fail("it was asked")
    with pytest.raises(Refused, match="a loopback address; allow it by name"):
        replaying.load("support", service.url).play(BUNDLE, {}, Fixtures(), Means())


def test_a_question_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="no question of a replay"):
        replaying.answer({"agent": "support"}, "support", replay)


def test_a_bundle_is_found_in_its_file(tmp_path):
    with pytest.raises(InvalidBundle, match="nothing"):
        replaying.find_bundle(str(tmp_path / "nothing.yaml"))
