"""A store of one's own for every test, with a clock that stands still, two bundles and an adopted agent.

Each test that asks for `store`, `desk` or `lab` runs on SQLite and on Postgres, or on what
`@pytest.mark.only("sqlite")` names. `hand(store, statement, *values)` writes past triggers and foreign keys.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from lastgood import agent as agents
from lastgood import assignment, control, incidents, points, registry, releasing
from lastgood.bundle import Bundle, Part
from lastgood.caps import Caps
from lastgood.clock import ManualClock
from lastgood.errors import StoreUnavailable
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


def _at_server(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(f"{url}/postgres", autocommit=True) as held:
        held.execute(statement)


class Desk:
    """One agent, `support` in production, and what tests do with it."""

    agent, environment = "support", "production"

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        #: writes what waits to be written before a test looks
        self.flush: Callable[[], object] = int
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

    @property
    def incidents(self) -> list[incidents.Incident]:
        """The agent's incidents, newest first."""
        with self.store.reading() as txn:
            return incidents.listed(txn, self.agent, self.environment)

    def hand(self, statement: str, *values) -> list[tuple]:
        """What `hand` does, on this store."""
        return _hand(self.store, statement, *values)

    def lock(self) -> Callable[[], None]:
        """Hold the store as a writer does; what is returned lets it go."""
        if self.store.path is not None:
            held = sqlite3.connect(self.store.path, isolation_level=None)
            held.execute("BEGIN IMMEDIATE")
        else:
            import psycopg

            from lastgood.store.postgres import lock_key

            held = psycopg.connect(self.store.url, autocommit=True)
            held.execute("SELECT pg_advisory_lock(%s)", [lock_key()])
        return held.close

    def vanish(self) -> None:
        """Delete the store."""
        if self.store.path is not None:
            for file in self.store.path.parent.glob(f"{self.store.path.name}*"):
                file.unlink()
            return
        url, _, name = self.store.url.rpartition("/")
        _at_server(url, f"DROP DATABASE {name} WITH (FORCE)")

    def replace(self) -> None:
        """Put an empty store in its place: the agent is unknown there."""
        self.vanish()
        if self.store.path is None:
            url, _, name = self.store.url.rpartition("/")
            _at_server(url, f"CREATE DATABASE {name}")
        engine.upgrade(self.store.url)

    def one(self, query: str, **values):
        self.flush()
        with self.store.reading() as txn:
            return txn.one(query, **values)

    def all(self, query: str, **values):
        self.flush()
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a store on both kinds."""
    if "store_kind" not in metafunc.fixturenames:
        return
    only = metafunc.definition.get_closest_marker("only")
    kinds = only.args if only else ("sqlite", "postgres")
    ways = metafunc.definition.get_closest_marker("ways")
    if ways is None:
        metafunc.parametrize("store_kind", kinds)
        return
    every = [(kind, "store") for kind in kinds if "store" in ways.args]
    # how a service speaks to its store is tried beneath it
    every += [("sqlite", "service")] if "service" in ways.args and "sqlite" in kinds else []
    metafunc.parametrize(("store_kind", "way"), every, indirect=["way"])


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "lastgood.db"
    engine.upgrade(f"sqlite:///{path}")
    return path


def _stock(url: str) -> None:
    store = Store(url, ManualClock())
    Desk(store, store.clock).adopt()
    store.close()


@pytest.fixture(scope="session")
def stocked(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the two bundles and the adopted agent: made once, copied by every test that needs it."""
    path = tmp_path_factory.mktemp("stocked") / "lastgood.db"
    shutil.copy(migrated, path)
    _stock(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres) -> str:
    url = postgres.make()
    engine.upgrade(url)
    return url


@pytest.fixture(scope="session")
def stocked_postgres(postgres, migrated_postgres: str) -> str:
    url = postgres.make(migrated_postgres)
    _stock(url)
    return url


@pytest.fixture
def path(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated, tmp_path / "lastgood.db"))


@pytest.fixture
def make_url(
    store_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """`make_url("migrated")`, `make_url("stocked")`: the URL of a store that is this test's own."""
    made = []

    def make(what: str) -> str:
        if store_kind == "sqlite":
            name = {"migrated": "lastgood.db", "stocked": "desk.db"}[what]
            return f"sqlite:///{shutil.copy(request.getfixturevalue(what), tmp_path / name)}"
        template = request.getfixturevalue(f"{what}_postgres")
        made.append(request.getfixturevalue("postgres").make(template))
        return made[-1]

    yield make
    for url in made:
        request.getfixturevalue("postgres").drop(url)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(make_url: Callable[[str], str], clock: ManualClock) -> Iterator[Store]:
    """An empty store at this version's schema."""
    store = Store(make_url("migrated"), clock)
    yield store
    store.close()


@pytest.fixture
def desk(make_url: Callable[[str], str], clock: ManualClock) -> Iterator[Desk]:
    """The adopted agent `support`, serving its first bundle."""
    store = Store(make_url("stocked"), clock)
    yield Desk(store, clock)
    store.close()


class Raw:
    """The store under a hand that no trigger and no foreign key stops; statements with `?` parameters."""

    def __init__(self, store: Store) -> None:
        if store.path is not None:
            self._held = sqlite3.connect(store.path, isolation_level=None)
            for (name,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                self.execute(f"DROP TRIGGER {name}")
        else:
            import psycopg

            self._held = psycopg.connect(store.url, autocommit=True)
            self.execute("SET session_replication_role = replica")

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        """The rows that the statement gives."""
        if isinstance(self._held, sqlite3.Connection):
            return self._held.execute(statement, values).fetchall()
        cursor = self._held.execute(statement.replace("?", "%s"), values or None)
        return cursor.fetchall() if cursor.description else []

    def executemany(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        for values in rows:
            self.execute(statement, values)

    def close(self) -> None:
        self._held.close()


def _hand(store: Store, statement: str, *values: object) -> list[tuple]:
    """Run one statement as somebody who has the database in hand; return the rows it gives."""
    raw = Raw(store)
    try:
        return raw.execute(statement, values)
    finally:
        raw.close()


@pytest.fixture(scope="session")
def hand() -> Callable[..., list[tuple]]:
    return _hand


def _flush() -> None:
    for each in agents._remotes.values():
        with suppress(StoreUnavailable):
            each.recorder.flush()


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """How `lab` comes to its store: `store`, or `service` for LASTGOOD_URL; a marker `ways` says it."""
    return getattr(request, "param", "store")


@pytest.fixture
def lab(desk: Desk, way: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The same, with `lastgood.run` pointed at its store, or at a service over it."""
    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    monkeypatch.setattr(agents, "_serving", {})
    monkeypatch.setattr(agents, "_remotes", {})
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    if way == "store":
        yield desk
        return
    from tests.lastgood.service.conftest import served

    monkeypatch.setenv("LASTGOOD_RUN_KEY", "k:" + "k" * 32)
    with served(desk) as service:
        desk.service, desk.flush = service, _flush
        agents._configured = {"url": service.url, "token": service.token("agent")}
        yield desk
        for each in agents._remotes.values():
            each.recorder._waiting.clear()
            each.end()


@pytest.fixture
def build() -> Callable[..., Bundle]:
    return make_bundle


@pytest.fixture
def tools() -> SimpleNamespace:
    """What tests would import if tests were packages."""
    return SimpleNamespace(Desk=Desk, Raw=Raw, OPEN=OPEN, MINUTE=MINUTE)
