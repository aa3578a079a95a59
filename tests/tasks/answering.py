"""A server on loopback that answers questions as a test says."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit


class Server:
    """What was asked, and `answer`: (path, query) -> status and body."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], tuple[int, bytes]] = lambda *_: (404, b"")
        self.headers: dict[str, str] = {}


@contextlib.contextmanager
def answering() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            found.asked.append((parts.path, query, dict(self.headers)))
            status, body = found.answer(parts.path, query)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **found.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        with patch.dict(os.environ, {"LASTGOOD_ALLOW_HOSTS": "127.0.0.1"}):
            yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
