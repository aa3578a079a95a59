"""A store of one's own for every test, with a clock that stands still, two bundles and an adopted agent."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lastgood import agent as agents
from lastgood import assignment, control, points, registry, releasing
from lastgood.bundle import Bundle, Part
from lastgood.caps import Caps
from lastgood.clock import ManualClock
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Ending, Stage, Start
from lastgood.store import engine
from lastgood.store.connection import Store

MINUTE = 60_000_000
PRICES = {"small": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}}
#: no ceiling stands in the way of tests that are about something else
OPEN = Terms(caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None))


def make_bundle(prompt: str = "first", runtime: str | None = None) -> Bundle:
    return Bundle(
        [
            Part.of_value("prompt", "1", prompt, runtime),
            Part.of_value("model", "1", {"default": "small", "prices": PRICES}),
            Part.of_value("tools", "1", []),
            Part.of_value("memory", "1", {"retrieval": "none"}),
            Part.of_value("policy", "1", {"escalate_below": 0.5}),
        ]
    )


class Desk:
    """One agent, `support` in production, and what tests do with it."""

    agent, environment = "support", "production"

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        self.baseline, self.candidate = self.register("first"), self.register("second")

    def register(self, prompt: str, runtime: str | None = None, store: Store | None = None) -> str:
        bundle = make_bundle(prompt, runtime)
        return registry.register(store or self.store, self.agent, bundle, author="ann")[0].bundle.id

    def adopt(self) -> None:
        control.adopt(
            self.store, self.agent, self.environment, self.baseline, actor="ann", reason="the first"
        )

    @property
    def point(self):
        with self.store.reading() as txn:
            return points.read(txn, self.agent, self.environment)

    def one(self, query: str, **values):
        with self.store.reading() as txn:
            return txn.one(query, **values)

    def all(self, query: str, **values):
        with self.store.reading() as txn:
            return [dict(row) for row in txn.all(query, **values)]

    def wanted(self, candidate: str | None = None, terms: Terms = OPEN) -> Start:
        return Start(
            self.agent,
            self.environment,
            candidate or self.candidate,
            "default",
            "d" * 64,
            "{}",
            "{}",
            terms,
            "ann",
        )

    def start(self, candidate: str | None = None, terms: Terms = OPEN) -> str:
        return releasing.start(self.store, self.wanted(candidate, terms))

    def serve(self, release_id: str, share_bp: int, lease_us: int = 60 * MINUTE, key: str | None = None):
        point = self.point
        stage = Stage(key or f"canary:{point.epoch}", ReleaseState.CANARY, 0)
        entry = Entry("share", "ann", f"{share_bp} basis points", release_id)
        expect = Expect.of(point)
        return releasing.set_share(
            self.store, release_id, stage, share_bp=share_bp, lease_us=lease_us, entry=entry, expect=expect
        )

    def live(self, share_bp: int = 10_000, terms: Terms = OPEN, candidate: str | None = None) -> str:
        release_id = self.start(candidate, terms)
        self.serve(release_id, share_bp)
        return release_id

    def revert(self, release_id: str, by: str = "hand"):
        return releasing.revert(self.store, release_id, Ending("ann", "it is bad", by))

    def promote(self, release_id: str):
        ending = Ending("ann", "it is good", "evidence")
        return releasing.promote(self.store, release_id, proven=True, ending=ending, expect=None)

    def kill(self):
        return control.kill(self.store, self.agent, self.environment, actor="ann", reason="stop")

    def rollback(self, to: str | None = None, **given):
        key = (self.store, self.agent, self.environment)
        return control.rollback(*key, actor="ann", reason="back", to=to, **given)

    def units(self, release_id: str, share_bp: int, *, candidate: bool, number: int = 1) -> list[str]:
        """Units that the share sends to one arm."""
        find = assignment.bucketer(release_id)
        every = (f"unit-{i}" for i in range(100_000))
        found = (unit for unit in every if (find(unit) < share_bp) is candidate)
        return [next(found) for _ in range(number)]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "lastgood.db"
    engine.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def stocked(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the two bundles and the adopted agent: made once, copied by every test that needs it."""
    path = tmp_path_factory.mktemp("stocked") / "lastgood.db"
    shutil.copy(migrated, path)
    store = Store(f"sqlite:///{path}", ManualClock())
    Desk(store, store.clock).adopt()
    store.close()
    return path


@pytest.fixture
def path(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path / "lastgood.db"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(path: Path, clock: ManualClock) -> Iterator[Store]:
    """An empty store at this version's schema."""
    store = Store(f"sqlite:///{path}", clock)
    yield store
    store.close()


@pytest.fixture
def desk(stocked: Path, tmp_path: Path, clock: ManualClock) -> Iterator[Desk]:
    """The adopted agent `support`, serving its first bundle."""
    store = Store(f"sqlite:///{shutil.copy(stocked, tmp_path / 'desk.db')}", clock)
    yield Desk(store, clock)
    store.close()


@pytest.fixture
def lab(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The same, with `lastgood.run` pointed at its store."""
    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    monkeypatch.setattr(agents, "_serving", {})
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    return desk


@pytest.fixture
def build() -> Callable[..., Bundle]:
    return make_bundle


@pytest.fixture
def tools() -> SimpleNamespace:
    """What tests would import if tests were packages."""
    return SimpleNamespace(Desk=Desk, OPEN=OPEN, MINUTE=MINUTE)
