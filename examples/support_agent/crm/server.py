"""The CRM behind HTTP, on loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.support_agent.crm.books import Books
from examples.support_agent.crm.faults import Faults
from examples.support_agent.crm.service import Answer, Request, Service

#: bytes of a request's body
_MOST = 10_000_000


class Crm(ThreadingHTTPServer):
    """A CRM that answers on a port of its own; `faults` may be changed while it does."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, books: Books, faults: Faults | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.books, self.service, self.faults = books, Service(books), faults or Faults()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Crm
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def _serve(self) -> None:
        try:
            found = self.server.faults.around(self._request(), self.server.service.answer)
        except ValueError as error:
            found = Answer(400, {"error": f"no request that can be read: {error}"})
        text = json.dumps(found.body).encode()
        self.send_response(found.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _request(self) -> Request:
        size = int(self.headers.get("Content-Length") or 0)
        if not 0 <= size <= _MOST:
            raise ValueError(f"{size} bytes")
        body = json.loads(self.rfile.read(size)) if size else {}
        if not isinstance(body, dict):
            raise ValueError("the body is no object")  # noqa: TRY004  answered like any text that is no JSON
        return Request(str(self.command), self.path, body, self.headers.get("Idempotency-Key"))

    def handle_one_request(self) -> None:
        """Serve one request; a client that went away before its answer is no error of ours."""
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815  the names that the base class looks for

    def log_message(self, *_words: Any) -> None:
        """Say nothing of each request."""


@contextmanager
def serving(books: Books | None = None, faults: Faults | None = None, port: int = 0) -> Iterator[Crm]:
    """A CRM that answers for as long as the block lasts."""
    crm = Crm(books or Books(), faults, port)
    thread = threading.Thread(target=crm.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield crm
    finally:
        crm.shutdown()
        crm.server_close()
        thread.join()
        crm.books.close()
