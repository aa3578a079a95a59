"""One Prefect server for all, and a small agent that serves while flows run."""

import os
import shutil
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import lastgood
from config.policy import Policy
from lastgood import agent, control, ledger, registry
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade

#: a release of seconds, not of hours
FAST = """
name: fast
lost_after: 0.5 s
guardrails: {completion: {margin: 25 points}}
alpha: {promote: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 30%, min_runs: 10, rule_out: 5}, {share: 60%, min_runs: 10}]
look_every: 0.3 s
lease: 20 s
driver_timeout: 1 s
preflight: {open_incidents: allow}
"""
#: the same, too slow to end within a test
SLOW = (
    FAST.replace("fast", "slow")
    .replace("driver_timeout: 1 s", "driver_timeout: 5 s")  # a busy machine is no dead driver
    .replace("min_runs: 10, rule_out", "min_runs: 100000, rule_out")
    .replace("alpha", "horizon: {runs: 1000000}\nalpha")
)


@dataclass
class Place:
    """A store of its own with an adopted baseline, a candidate and two policies."""

    store: Store
    baseline: str
    candidate: str

    def rows(self, query: str, **values) -> list[dict]:
        with self.store.reading() as txn:
            return [dict(row) for row in txn.all(query, **values)]

    def release(self) -> dict:
        return self.rows("SELECT * FROM release ORDER BY id DESC")[0]

    def point(self) -> dict:
        return self.rows("SELECT * FROM control_point")[0]

    def ledger(self) -> list[str]:
        ledger.verify(self.store, "support", "production")
        return [row["action"] for row in self.rows("SELECT action FROM ledger ORDER BY seq")]

    @contextmanager
    def serving(self, good: float):
        """Serve runs in a thread; the candidate's complete with this chance."""
        stopped, broken = threading.Event(), []

        def serve() -> None:
            number = 0
            try:
                while not stopped.wait(0.003):
                    number += 1
                    with lastgood.run(agent="support", unit=f"unit-{number}") as run:
                        run.report(completed=run.arm == "baseline" or number % 20 < 20 * good)
            except Exception as error:  # noqa: BLE001  told to the test below
                broken.append(error)
            agent.store().close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            assert broken == []


@pytest.fixture(scope="session")
def harness():
    """One temporary server and database for all flow tests."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> tuple[Path, str, str]:
    """A store whose baseline has a history, and the ids of both bundles."""
    path = tmp_path_factory.mktemp("template") / "lastgood.db"
    upgrade(f"sqlite:///{path}")
    store = Store(f"sqlite:///{path}")
    ids = []
    for text in ("old", "new"):
        bundle = Bundle([Part.of_value(kind, "1", text) for kind in KINDS])
        ids.append(registry.register(store, "support", bundle, author="ann")[0].bundle.id)
    control.adopt(store, "support", "production", ids[0], actor="ann", reason="it serves today")
    for text in (FAST, SLOW):
        policy = Policy.load(text)
        values = {"digest": policy.digest, "name": policy.name, "body": policy.to_json(), "author": "ann"}
        with store.transaction() as txn:
            txn.insert("policy", {**values, "created_us": txn.now_us})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LASTGOOD_DATABASE", store.url)
        for number in range(300):
            with lastgood.run(agent="support") as run:
                run.report(completed=number % 10 != 0)
    agent.store().close()
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path, ids[0], ids[1]


@pytest.fixture
def place(template, tmp_path, monkeypatch) -> Place:
    """A store of this test's own, which flows and runs find by the environment."""
    path, old, new = template
    copy = tmp_path / "lastgood.db"
    shutil.copy(path, copy)
    monkeypatch.setenv("LASTGOOD_DATABASE", f"sqlite:///{copy}")
    found = Place(Store(os.environ["LASTGOOD_DATABASE"]), old, new)
    yield found
    found.store.close()
    agent.store().close()
