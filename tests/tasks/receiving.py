"""Receivers of notices on loopback: a web server that answers as told, and a mail server."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from aiosmtpd.controller import Controller

#: what the guard of outgoing URLs lets through while a receiver is up
ALLOWED = {"LASTGOOD_ALLOW_HOSTS": "127.0.0.1,localhost"}


class Hook:
    """A web server; `answers` are given in turn, the last one for good: (status, headers, body)."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"ok")]
        #: per request: its headers, and its JSON
        self.got: list[tuple[dict[str, str], Any]] = []
        #: seconds before each byte of the answer's body
        self.trickle_s = 0.0
        #: called before the answer
        self.before = lambda: None
        self.url = ""

    @property
    def ids(self) -> list[str]:
        return [headers["Idempotency-Key"] for headers, _ in self.got]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.got.append((dict(handler.headers), json.loads(content)))
        self.before()
        status, headers, said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        with contextlib.suppress(OSError):  # who asked may have gone
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            for place in range(len(said)):
                time.sleep(self.trickle_s)
                handler.wfile.write(said[place : place + 1])
                handler.wfile.flush()


@contextlib.contextmanager
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        with patch.dict(os.environ, ALLOWED):
            yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class AnyPort(Controller):
    """A mail server on whichever port is free; its start makes a first connection to it."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class Mailbox:
    """What aiosmtpd calls: answers as told, keeps what it took."""

    def __init__(self) -> None:
        self.took: list[Any] = []
        self.answers: list[str] = ["250 OK"]
        self.refused: set[str] = set()

    async def handle_RCPT(  # noqa: N802  aiosmtpd names it
        self, _server: Any, _session: Any, envelope: Any, address: str, _: Any
    ) -> str:
        if address in self.refused:
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  as above
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said.startswith("250"):
            self.took.append(envelope)
        return said


@contextlib.contextmanager
def mail(**given: Any) -> Iterator[tuple[Mailbox, int]]:
    """A mail server on a free port; `given` goes to aiosmtpd's SMTP."""
    box = Mailbox()
    controller = AnyPort(box, hostname="127.0.0.1", port=0, **given)
    controller.start()
    try:
        with patch.dict(os.environ, ALLOWED):
            yield box, controller.port
    finally:
        controller.stop(no_assert=True)
