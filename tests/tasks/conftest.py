"""A small world to release in: one agent, two bundles, a clock that stands still until it is moved."""

import random
import shutil
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from config.policy import Policy
from lastgood import control, ledger, registry, releasing
from lastgood.assigning import Assigned, Request, assign
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.clock import ManualClock
from lastgood.running import Run
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tasks import driving, preflight

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
#: two steps, wide margins, nothing that stands in the way of a small release
POLICY = """
name: small
lost_after: 1 min
guardrails: {completion: {margin: 20 points}}
alpha: {promote: 0.1}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 20%, min_runs: 10, rule_out: 4}, {share: 50%, min_runs: 10}]
preflight: {open_incidents: allow}
"""
#: the same with one step
ONE_STEP = POLICY.replace("{share: 20%, min_runs: 10, rule_out: 4}, ", "")


class Unsynced(Store):
    """A store that waits for no disk: a test survives no power cut, and a kill loses nothing without it."""

    def transaction(self, *, durable: bool = False, **given):
        del durable
        return super().transaction(**given)


def make_bundle(text: str) -> Bundle:
    return Bundle([Part.of_value(kind, "1", text) for kind in KINDS])


@dataclass
class World:
    """One store with an adopted baseline and a registered candidate."""

    store: Store
    clock: ManualClock
    baseline: str
    candidate: str
    agent: str = "support"
    environment: str = "production"
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    served: int = 0
    _agent: Serving | None = None

    @property
    def serving(self) -> Serving:
        return Serving(self.store, self.agent, self.environment)

    def bundle(self, text: str) -> str:
        found, _ = registry.register(self.store, self.agent, make_bundle(text), author="ann")
        return found.bundle.id

    def assign(self, unit: str | None = None, task_type: str = "faq", risk: str | None = None) -> Assigned:
        self.served += 1
        if self._agent is None or self._agent.store is not self.store:
            self._agent = self.serving  # one process at work: it reads a bundle once
        return assign(self._agent, Request(unit or f"u{self.served}", task_type, risk, None))

    def run(
        self, unit: str | None = None, *, task_type: str = "faq", risk: str | None = None, **fields
    ) -> Run:
        with Run(self.store, self.assign(unit, task_type, risk)) as run:
            run.report(**{"completed": True, **fields})
        return run

    def work(self, runs: int, *, good: float = 0.9, candidate: float = 0.9, every: int = 6 * SECOND) -> None:
        """Serve runs that complete with the given chances, one every `every` microseconds."""
        for _ in range(runs):
            self.clock.advance(every)
            with Run(self.store, self.assign()) as run:
                run.report(
                    completed=self.draw.random() < (candidate if run.arm == "candidate" else good),
                    validated=True,
                )

    def history(self, runs: int = 300) -> None:
        """Serve the baseline, and wait until what it served is matured."""
        self.work(runs)
        self.clock.advance(11 * MINUTE)

    def policy(self, text: str = POLICY) -> Policy:
        """Store a policy under its name."""
        found = Policy.load(text)
        with self.store.transaction() as txn:
            values = {"digest": found.digest, "name": found.name, "body": found.to_json(), "author": "ann"}
            txn.insert("policy", {**values, "created_us": txn.now_us})
        return found

    def wanted(self, **changes) -> preflight.Wanted:
        return preflight.Wanted(
            **{"agent": self.agent, "candidate": self.candidate, "policy": "small", "actor": "ann", **changes}
        )

    def start(self, text: str = POLICY, **changes) -> str:
        """Start a release under a policy."""
        policy = self.policy(text)
        return releasing.start(
            self.store, preflight.check(self.store, self.wanted(policy=policy.name, **changes))
        )

    def drive(
        self, release_id: str, *, looks: int = 400, runs: int = 30, name: str = "me", **work
    ) -> list[str]:
        """Drive a release, serving runs while it waits; the moves that were made, holds left out."""
        driver, moves = driving.begin(self.store, release_id, name), []
        for _ in range(looks):
            what = driving.due(self.store, driver)
            if what.stage in {driving.StageName.ENDED, driving.StageName.ASKING}:
                break
            driving.act(self.store, driver, what)
            if what.waits:
                self.work(runs, every=2 * SECOND, **work)
            else:
                moves.append(str(what.transition.move))
        return moves

    def step(self, driver: driving.Driver) -> driving.Due:
        """Decide and act once."""
        what = driving.due(self.store, driver)
        driving.act(self.store, driver, what)
        return what

    def until(self, driver: driving.Driver, stage: str) -> driving.Due:
        """Make what is due until a stage is due; that is returned undone."""
        for _ in range(10):
            what = driving.due(self.store, driver)
            if what.stage == stage and (stage != "compare" or what.look is not None):
                return what
            driving.act(self.store, driver, what)
        raise AssertionError(f"{stage} never came")

    def rows(self, query: str, **values) -> list[dict]:
        with self.store.reading() as txn:
            return [dict(row) for row in txn.all(query, **values)]

    def row(self, release_id: str) -> dict:
        return self.rows("SELECT * FROM release WHERE id = :id", id=release_id)[0]

    def point(self) -> dict:
        return self.rows("SELECT * FROM control_point WHERE agent = :agent", agent=self.agent)[0]

    def ledger(self) -> list[str]:
        """The moves in the ledger, whose chain is checked."""
        ledger.verify(self.store, self.agent, self.environment)
        return [row["action"] for row in self.rows("SELECT action FROM ledger ORDER BY seq")]

    def dump(self) -> str:
        """Everything that the database holds."""
        with sqlite3.connect(self.store.path) as connection:
            found = "\n".join(connection.iterdump())
        connection.close()
        return found

    def tamper(self, statement: str, *values: object) -> None:
        """Change the database as somebody with the file in hand would."""
        connection = sqlite3.connect(self.store.path, isolation_level=None)
        connection.execute("PRAGMA foreign_keys=OFF")
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement, values)
        connection.close()


@pytest.fixture(scope="session")
def one_step() -> str:
    """A policy of one step."""
    return ONE_STEP


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A migrated store without a row; copied by who needs one."""
    path = tmp_path_factory.mktemp("store") / "lastgood.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def stores(empty_store, tmp_path_factory) -> dict[str, World]:
    """Worlds to copy: `adopted` has a baseline and a candidate, `seasoned` a history too."""
    made = {}
    for name in ("adopted", "seasoned"):
        path = tmp_path_factory.mktemp(name) / "lastgood.db"
        shutil.copy(empty_store, path)
        clock = ManualClock()
        world = World(Unsynced(f"sqlite:///{path}", clock), clock, "", "")
        world.baseline, world.candidate = world.bundle("old"), world.bundle("new")
        control.adopt(
            world.store, world.agent, world.environment, world.baseline, actor="ann", reason="it serves today"
        )
        if name == "seasoned":
            world.history()
        world.store.close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        made[name] = world
    return made


@pytest.fixture(scope="session")
def make_world(stores):
    """Build worlds; each has its own copy of a store."""

    def make(place: Path, name: str = "seasoned") -> World:
        source = stores[name]
        copy = place / "lastgood.db"
        shutil.copy(source.store.path, copy)
        clock = replace(source.clock)
        store = Unsynced(f"sqlite:///{copy}", clock)
        return World(store, clock, source.baseline, source.candidate, served=source.served)

    return make


@pytest.fixture
def world(make_world, tmp_path):
    """An agent whose baseline has served 300 runs."""
    made = make_world(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def quiet_world(make_world, tmp_path):
    """An agent that has served nothing yet."""
    made = make_world(tmp_path, "adopted")
    yield made
    made.store.close()
