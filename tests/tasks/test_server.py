"""Which Prefect server is used, and how one that can't be is told apart."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lastgood.errors import PrefectUnusable
from tasks import server


@contextmanager
def answering(pages):
    """A server on loopback: status and text by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = pages.get(self.path, (404, "<html>nothing here</html>"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_given):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}/api"
        finally:
            listener.shutdown()
            thread.join()


def prefect(version="3.8.8", health=(200, "true")):
    return {"/api/health": health, "/api/admin/version": (200, json.dumps(version))}


def test_a_healthy_server_of_this_major_is_used():
    with answering(prefect("3.99.0")) as url:
        found = server.checked(url)
    assert (found.version, found.problem, found.ui) == ("3.99.0", "", url.removesuffix("/api"))


@pytest.mark.parametrize(
    ("pages", "path", "said"),
    [
        (prefect("2.20.1"), "", "is Prefect 2.20.1 and this checkout has 3."),
        (prefect("4.0.0"), "", "two major versions do not understand each other"),
        (prefect(health=(503, "")), "", "is not healthy yet (503)"),
        ({}, "", "is no Prefect API (it says 404)"),
        (prefect(), "drop", "its URL ends in /api"),
        ({"/api/health": (401, ""), "/api/admin/version": (401, "")}, "", "PREFECT_API_AUTH_STRING"),
    ],
)
def test_any_other_is_refused_with_what_to_do(pages, path, said):
    with answering(pages) as url, pytest.raises(PrefectUnusable) as refused:
        server.checked(url.removesuffix("/api") if path else url)
    assert said in str(refused.value)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_nothing_there_and_no_url_are_said():
    port = free_port()
    with pytest.raises(PrefectUnusable, match=f"nothing answers at http://127.0.0.1:{port}/api"):
        server.checked(f"http://127.0.0.1:{port}/api")
    for wrong in ("127.0.0.1:4200/api", "ftp://somewhere/api", "http://[::1/api"):
        with pytest.raises(PrefectUnusable, match="is no URL; write http://HOST:PORT/api"):
            server.checked(wrong)


def test_a_port_that_somebody_has_is_not_free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not server.is_free("127.0.0.1", listener.getsockname()[1])
    assert server.is_free("127.0.0.1", free_port())


def test_waiting_ends_with_the_process_or_with_patience():
    url, said = f"http://127.0.0.1:{free_port()}/api", []
    with pytest.raises(PrefectUnusable, match="the Prefect server ended after 0 s"):
        server.wait(url, seconds=5, alive=lambda: False, say=said.append)
    with pytest.raises(PrefectUnusable, match="did not answer within 0 s: nothing answers"):
        server.wait(url, seconds=0, alive=lambda: True, say=said.append)
    with answering(prefect()) as answers:
        assert server.wait(answers, seconds=5, alive=lambda: True, say=said.append).version == "3.8.8"
