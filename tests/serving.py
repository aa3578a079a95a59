"""`lastgood serve` as a process of its own over a store, for scripts that stop, kill, flood or measure it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lastgood import tokens
from lastgood.roles import Role
from lastgood.store.connection import Store

KEY = "script:a-secret-of-these-scripts"
AGENT = "support"


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def token(store: Store, role: Role, **scope: list[str]) -> str:
    """A new token."""
    return tokens.mint(store, f"the {role}", role, actor="script", **scope).text


@dataclass
class Served:
    """A service, which may be ended and begun again at the same port."""

    store_url: str
    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    #: where what it says goes; None: nowhere
    log: Path | None = None

    def begin(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "lastgood.cli", "serve", "--port", str(self.port)]
        mine = {"LASTGOOD_DATABASE": self.store_url, "LASTGOOD_RUN_KEY": KEY, **self.environment}
        with open(self.log or os.devnull, "ab") as said:  # noqa: PTH123
            self.process = subprocess.Popen(command, env={**os.environ, **mine}, stdout=said, stderr=said)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError, http.client.HTTPException):
                if Client(self.port).ask("GET", "/health")[0] == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError("the service did not start")

    def end(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)

    def memory_kb(self) -> int:
        """Resident memory, kB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as lines:  # noqa: PTH123
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has taken, all its threads together, to the nanosecond (Linux)."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)


@contextmanager
def served(store_url: str, log: Path | None = None, **environment: str) -> Iterator[Served]:
    """A running service."""
    found = Served(store_url, environment=environment, log=log)
    found.begin()
    try:
        yield found
    finally:
        found.end()


@contextmanager
def inside(store: Store) -> Iterator[int]:
    """The service in a thread of this process, over a store with a clock of its own; the port."""
    import uvicorn

    from lastgood.service.app import create

    os.environ.setdefault("LASTGOOD_RUN_KEY", KEY)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create(store), port=port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the service did not start")
        thread.join(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(20)


class Client:
    """One connection, kept open; made anew after whatever broke it."""

    def __init__(self, port: int, token: str | None = None, timeout_s: float = 30.0) -> None:
        self._port, self._timeout_s = port, timeout_s
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._held: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one answer."""
        if self._held is None:
            self._held = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
            self._held.connect()
            self._held.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._held.request(method, path, body, self.headers)
            answer = self._held.getresponse()
            said = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.will_close:
            self.close()
        return said

    def post(self, path: str, body: object) -> tuple[int, dict]:
        """Send JSON; the answer's object."""
        status, said = self.ask("POST", path, json.dumps(body).encode())
        return status, json.loads(said or b"{}")

    def lines(self, path: str, rows: list[dict]) -> tuple[int, dict]:
        """Send JSON lines."""
        status, said = self.ask("POST", path, "\n".join(map(json.dumps, rows)).encode())
        return status, json.loads(said or b"{}")

    def close(self) -> None:
        """Let the connection go."""
        if self._held is not None:
            self._held.close()
            self._held = None


__all__ = ["AGENT", "KEY", "Client", "Served", "cpu_s", "free_port", "inside", "served", "token"]
