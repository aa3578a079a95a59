"""The service on a real socket over a test's own store, and a client for every role."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn

from lastgood import tokens
from lastgood.roles import Role
from lastgood.service.app import create


class Server(uvicorn.Server):
    """Uvicorn in a thread of this process."""

    def install_signal_handlers(self) -> None:
        """The test's process handles its own signals."""


@dataclass
class Service:
    """A running service and what tests ask of it."""

    desk: object
    url: str
    app: object
    tokens: dict[str, str] = field(default_factory=dict)
    #: one for all requests: to make one costs more than most answers
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20, verify=False))

    def token(self, role: Role | str, **scope) -> str:
        key = f"{role} {sorted(scope.items())}"
        if key not in self.tokens:
            made = tokens.mint(self.desk.store, f"the {role}", Role(role), actor="root", **scope)
            self.tokens[key] = made.text
        return self.tokens[key]

    def ask(self, role: Role | str | None, method: str, path: str, *, scope=None, **given) -> httpx.Response:
        headers = dict(given.pop("headers", {}))
        if role is not None:
            headers["Authorization"] = f"Bearer {self.token(role, **(scope or {}))}"
        return self.client.request(method, self.url + path, headers=headers, **given)

    def get(self, role, path: str, **given) -> httpx.Response:
        return self.ask(role, "GET", path, **given)

    def post(self, role, path: str, body=None, **given) -> httpx.Response:
        if body is not None:
            given["json"] = body
        return self.ask(role, "POST", path, **given)

    def lines(self, path: str, *rows: dict | str, role="agent") -> httpx.Response:
        text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        return self.ask(role, "POST", path, content=text.encode("utf-8", "surrogatepass"))

    def evaluate(self, key: str = "support", role="observer", **context) -> httpx.Response:
        context = {"targetingKey": "u-1", **context}
        return self.post(role, f"/ofrep/v1/evaluate/flags/{key}", {"context": context})

    def settled(self, key: str = "support", **context) -> dict:
        """The answer once the router has read the store after a move; until then it is the baseline."""
        until = time.monotonic() + 5
        while (said := self.evaluate(key, **context).json())["metadata"]["why"] == "moved":
            assert said["variant"] == "baseline"
            assert time.monotonic() < until
        return said

    def enter(self, unit: str = "u-1", **more) -> dict:
        answer = self.post("agent", "/v1/agents/support/runs", {"unit": unit, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUN_KEY", "k:" + "k" * 32)


@contextmanager
def served(desk, store=None) -> Iterator[Service]:
    """The service over a test's store, on loopback."""
    app = create(store or desk.store)
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    service = Service(desk, f"http://127.0.0.1:{port}", app)
    yield service
    service.client.close()
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def serve(desk) -> Iterator[Callable[..., Service]]:
    """`serve()`: the service over the test's store, on loopback."""
    with ExitStack() as running:
        yield lambda store=None: running.enter_context(served(desk, store))


@pytest.fixture
def service(serve) -> Service:
    return serve()
