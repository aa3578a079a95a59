"""A toy agent in a module of its own, served and replayed; its faults are in its bundles."""

import contextlib
import importlib
import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from lastgood import control, incidents, registry
from lastgood.bundle import Bundle, Part
from lastgood.errors import LastgoodError, MalformedCall
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tasks.case_making import Group, Wanted

AGENT = dedent('''
    """A support agent whose outside is a CRM: a file of orders beside it, over (mocked) HTTP."""

    import json
    import random
    from pathlib import Path

    import httpx

    import lastgood
    from lastgood import outbound

    HERE = Path(__file__).parent


    def crm(request):
        with (HERE / "calls.txt").open("a") as calls:
            calls.write(f"{request.method} {request.url.path}\\n")
        if not (HERE / "up").exists():
            raise httpx.ConnectError("the CRM is down")
        return httpx.Response(200, json={"order": request.url.path.rsplit("/")[-1], "state": "sent"})


    CLIENT = outbound.client(base_url="http://crm", transport=httpx.MockTransport(crm))


    def replay(inputs):
        with lastgood.run("support", inputs.get("unit")) as run:
            run.input = inputs
            wrapper = run.bundle.tools.data["wrapper"]

            def find_order(order):
                found = CLIENT.get(f"/orders/{order}").json()
                return [found] if wrapper == "broken" else found

            def send(text):
                CLIENT.post("/messages", json={"text": text})

            order = run.tool(find_order)(inputs["order"])
            tone, strict = run.bundle.prompt.text, run.bundle.policy.data["strict"]
            if tone == "flaky":
                run.report(validated=random.random() < 0.2)
            if tone == "rude" and not strict:
                run.report(validated=False)
            if tone == "eager":
                run.tool(send)(order["state"])
                run.event("wrong_action", kind="message")
            if tone == "wrong":
                run.report(incidents=1)
            run.output = "it is lost" if tone == "wrong" else f"it was {order['state']}"
            if tone == "flaky":  # as a model's words are
                run.output += f", {random.random()}"
            return run.output


    async def replay_async(inputs):
        return replay(inputs)
''')
TOOLS = [
    {"name": "find_order", "output": {"type": "object", "required": ["state"]}},
    {"name": "send", "kind": "message"},
]


def make_bundle(prompt="kind", wrapper="sound", *, strict=True):
    return Bundle(
        [
            Part.of_value("prompt", "1", prompt),
            Part.of_value("model", "1", {}),
            Part.of_value("tools", "1", {"tools": TOOLS, "wrapper": wrapper}),
            Part.of_value("memory", "1", {}),
            Part.of_value("policy", "1", {"strict": strict}),
        ]
    )


@dataclass
class Shop:
    """A store with the good bundle adopted, and the agent's module."""

    store: Store
    folder: Path
    module: str
    good: str
    monkeypatch: pytest.MonkeyPatch

    def register(self, **given) -> str:
        bundle = make_bundle(**given)
        return registry.register(self.store, "support", bundle, author="ann")[0].bundle.id

    def fail(self, bad: str, unit="u-1", order="7", mail="ann@example.com") -> str:
        """Serve one run on a bundle, as its own agent would; return the run's id."""
        place = f"on-{bad[:8]}"
        with contextlib.suppress(LastgoodError):
            control.adopt(self.store, "support", place, bad, actor="ann", reason="to see it fail")
        self.monkeypatch.setenv("LASTGOOD_ENVIRONMENT", place)
        with contextlib.suppress(MalformedCall):
            importlib.import_module(self.module).replay({"unit": unit, "order": order, "mail": mail})
        self.monkeypatch.delenv("LASTGOOD_ENVIRONMENT")
        with self.store.reading() as txn:
            return txn.all("SELECT id FROM run ORDER BY seq DESC LIMIT 1")[0]["id"]

    def incident(self, bad: str, environment: str = "production") -> str:
        """Open an incident of a bundle; return its id."""
        opening = incidents.Opening(
            "support", environment, bad, self.good, 0, "person", "it went wrong", "ann", to_us=1 << 60
        )
        with self.store.transaction() as txn:
            return incidents.open_in(txn, opening)

    def calls(self) -> list[str]:
        file = self.folder / "calls.txt"
        return file.read_text().splitlines() if file.exists() else []

    def close_crm(self) -> None:
        """From here on nothing outside answers."""
        (self.folder / "up").unlink()
        (self.folder / "calls.txt").unlink(missing_ok=True)

    def wanted(self, bad: str, *runs: str, **given) -> Wanted:
        groups = tuple(Group(f"group {place}", (run,)) for place, run in enumerate(runs))
        return Wanted(
            "support", "production", bad, self.good,
            **{"groups": groups, "replay": f"{self.module}:replay", **given},
        )  # fmt: skip


_numbers = itertools.count()


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A migrated store; copied by who needs one."""
    path = tmp_path_factory.mktemp("store") / "lastgood.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def shop(tmp_path, monkeypatch, template):
    """The agent's folder is the working directory, as a team's repository is."""
    module = f"toy_support_{next(_numbers)}"
    (tmp_path / f"{module}.py").write_text(AGENT)
    (tmp_path / "up").touch()
    shutil.copy(template, tmp_path / "lastgood.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    url = f"sqlite:///{tmp_path / 'lastgood.db'}"
    monkeypatch.setenv("LASTGOOD_DATABASE", url)
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")
    made = Shop(Store(url), tmp_path, module, "", monkeypatch)
    made.good = made.register()
    control.adopt(made.store, "support", "production", made.good, actor="ann", reason="it serves today")
    yield made
    made.store.close()
