"""One call of a handler, and what its answer means: done, again with the same key, or left over."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from lastgood.errors import CannotUndo, InvalidInput
from tasks.undoing import Answer, Caller, Ended, Handler, Undo, function_of, handler_of

UNDO = Undo(
    "undo-act_1", "act_1", "run_1", "support", "production", "refund", "o-1", "refund", {"of": "refund"},
    {"id": 7}, in_doubt=False, attempt=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    """What the guard of outgoing URLs lets through."""
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1")


@pytest.fixture
def web():
    """A server that answers with what the path says, and keeps what it was asked."""
    asked = []

    class Web(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(
                (
                    self.headers["Idempotency-Key"],
                    json.loads(self.rfile.read(int(self.headers["Content-Length"]))),
                )
            )
            status, _, body = self.path.removeprefix("/").partition("/")
            if status == "hang":
                release.wait(5)
                status = "200"
            self.send_response(int(status))
            if status.startswith("3"):
                self.send_header("Location", "/200")
            text = {"residue": b'{"residue": "it is gone"}', "large": b"x" * 200_000}.get(body, b"no json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    release = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    release.set()
    server.shutdown()
    server.server_close()
    thread.join()


def posted(url, timeout_s=5.0):
    with Caller(timeout_s) as caller:
        return caller.call(url, UNDO)


def test_a_url_gets_the_action_with_the_key_as_a_header(web):
    url, asked = web
    assert posted(f"{url}/200") == Answer(Ended.DONE)
    ((key, body),) = asked
    assert (key, body["key"], body["action_id"], body["target"]) == (
        "undo-act_1",
        "undo-act_1",
        "act_1",
        "o-1",
    )
    assert (body["undo"], body["result"], body["in_doubt"], body["attempt"]) == (
        {"of": "refund"}, {"id": 7}, False, 2,
    )  # fmt: skip


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 301, 307])
def test_a_refusal_is_not_asked_again(web, status):
    answer = posted(f"{web[0]}/{status}")
    assert answer.ended is Ended.REFUSED
    assert f"answered {status}" in answer.why


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503])
def test_what_may_be_over_soon_is_tried_again(web, status):
    assert posted(f"{web[0]}/{status}").ended is Ended.AGAIN


def test_no_redirect_is_followed(web):
    posted(f"{web[0]}/307")
    assert len(web[1]) == 1


def test_a_url_that_reaches_inside_is_not_called(web, monkeypatch):
    monkeypatch.delenv("LASTGOOD_ALLOW_HOSTS")
    answer = posted(f"{web[0]}/200")
    assert answer.ended is Ended.AGAIN
    assert "a loopback address; allow it by name in LASTGOOD_ALLOW_HOSTS" in answer.why
    assert web[1] == []


def test_a_server_that_hangs_or_is_not_there_is_tried_again(web):
    assert posted(f"{web[0]}/hang", 0.2).ended is Ended.AGAIN
    assert posted("http://127.0.0.1:9/undo").ended is Ended.AGAIN


def test_an_answer_may_say_what_is_left_over(web):
    assert posted(f"{web[0]}/200/residue") == Answer(Ended.REFUSED, "it is gone")


def test_a_long_answer_is_read_no_further(web):
    assert posted(f"{web[0]}/200/large") == Answer(Ended.DONE)


# -- functions


def called(function, timeout_s=5.0, monkeypatch=None):
    with Caller(timeout_s) as caller:
        return caller._within(function, UNDO)


def raising(error):
    def handler(_):
        raise error

    return handler


def status_error(status):
    request = httpx.Request("POST", "http://crm/undo?token=secret")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


def test_a_function_gets_the_action():
    seen = []
    assert called(seen.append) == Answer(Ended.DONE)
    assert seen == [UNDO]


def test_what_a_function_returns_may_say_what_is_left_over():
    assert called(lambda _: {"residue": "it is gone"}) == Answer(Ended.REFUSED, "it is gone")
    assert called(lambda _: {"residue": ""}) == Answer(Ended.DONE)


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (CannotUndo("it was paid out"), Ended.REFUSED),
        (ConnectionError("not now"), Ended.AGAIN),
        (KeyError("x"), Ended.AGAIN),
        (status_error(404), Ended.REFUSED),
        (status_error(503), Ended.AGAIN),
        (httpx.ReadTimeout("slow"), Ended.AGAIN),
    ],
)
def test_what_a_function_raises_is_judged(error, ended):
    assert called(raising(error)).ended is ended


def test_no_query_of_a_url_is_kept():
    assert "secret" not in called(raising(status_error(404))).why


def test_a_function_that_hangs_is_left_behind():
    over = threading.Event()
    answer = called(lambda _: over.wait(5), 0.1)
    over.set()
    assert answer == Answer(Ended.AGAIN, "no answer within 0.1 s")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("tests.nowhere:undo", "can't be imported"),
        ("tests.tasks.crm:nothing", "can't be imported"),
        ("tests.tasks.crm:HERE.x", "can't be imported"),
        ("tests.tasks.crm:__name__", "is no function"),
    ],
)
def test_a_handler_that_is_none_is_named_with_the_way_out(call, says):
    with pytest.raises(InvalidInput, match=says) as raised:
        function_of(call)
    assert call in str(raised.value)
    assert "lastgood agent set FILE" in str(raised.value)


def test_a_handler_is_found_in_the_folder_that_a_command_is_started_in(tmp_path, monkeypatch):
    (tmp_path / "undo_beside_its_agent.py").write_text("def refund(undo):\n    return {}\n")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as a console script has it
    monkeypatch.chdir(tmp_path)
    assert function_of("undo_beside_its_agent:refund").__name__ == "refund"


def test_a_profile_says_what_a_handler_does_in_doubt():
    assert handler_of("a:b") == Handler("a:b")
    assert handler_of({"call": "a:b", "in_doubt": "undo"}) == Handler("a:b", safe_in_doubt=True)
    assert handler_of({"call": "a:b", "in_doubt": "list"}) == Handler("a:b")
