"""A CRM of its own process that takes actions back, and fails, hangs and handles requests twice meanwhile.

`/undo` with an Idempotency-Key takes effect once a key. Targets that begin with `refused` are refused (422),
those that begin with `broken` always fail. `/marked` notes keys whose success is recorded: a later call of
one is counted. `/state` tells all.
"""

import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: shares of the requests
FAIL, HANG, TWICE = 0.20, 0.01, 0.10


class Books:
    """What took effect."""

    def __init__(self, hang_s: float, seed: int) -> None:
        self.hang_s, self.draw, self.lock = hang_s, random.Random(seed), threading.Lock()
        #: key -> action, and how often a key took effect
        self.actions: dict[str, str] = {}
        self.effects: Counter[str] = Counter()
        self.marked: set[str] = set()
        self.counts: Counter[str] = Counter()

    def undo(self, key: str, body: dict) -> int:
        """Answer one request; the status."""
        with self.lock:
            self.counts["calls"] += 1
            self.counts["called after its success was recorded"] += key in self.marked
            fails, hangs, twice = (self.draw.random() < share for share in (FAIL, HANG, TWICE))
            before = self.draw.random() < 0.5
        if body["target"].startswith("refused"):
            return 422
        if body["target"].startswith("broken") or (fails and before):
            return self._count("failed before the effect", 500)
        if hangs:
            self._count("hung", 200)
            time.sleep(self.hang_s)
        for _ in range(1 + twice):
            self._once(key, body["action_id"])
        return self._count("failed after the effect", 500) if fails else 200

    def _once(self, key: str, action: str) -> None:
        with self.lock:
            if key not in self.actions:
                self.actions[key] = action
                self.effects[action] += 1

    def _count(self, what: str, status: int) -> int:
        with self.lock:
            self.counts[what] += 1
        return status


def serve(told, hang_s: float, seed: int) -> None:
    """Serve until the process is ended; the port goes into `told` first."""
    books = Books(hang_s, seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # an answer is one packet

        def do_POST(self) -> None:
            raw = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/marked":
                with books.lock:
                    books.marked.update(raw)
                self._answer(200, {})
                return
            status = books.undo(self.headers["Idempotency-Key"], raw)
            self._answer(status, {"ok": status == 200})

        def do_GET(self) -> None:
            with books.lock:
                self._answer(200, {"effects": books.effects, "counts": books.counts})

        def _answer(self, status: int, body: dict) -> None:
            text = json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:  # whoever asked is dead, or has stopped waiting
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # whoever asked was killed
            pass

    server = Server(("127.0.0.1", 0), Handler)
    told.put(server.server_address[1])
    server.serve_forever()
