"""What the fault scripts share: the line that each prints, stores to break, and an agent with a release."""

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from lastgood import control, points, registry, releasing  # noqa: E402  found by the lines above
from lastgood.caps import Caps  # noqa: E402
from lastgood.clock import Clock, ManualClock  # noqa: E402
from lastgood.ledger import Entry  # noqa: E402
from lastgood.points import Expect  # noqa: E402
from lastgood.release import ReleaseState, Terms  # noqa: E402
from lastgood.releasing import Stage, Start  # noqa: E402
from lastgood.snapshot import Serving  # noqa: E402
from lastgood.store.connection import Store  # noqa: E402
from lastgood.store.engine import upgrade  # noqa: E402
from tests import conftest as servers  # noqa: E402
from tests.tasks.conftest import World, make_bundle  # noqa: E402

AGENT, ENVIRONMENT = "support", "production"
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
#: no ceiling and no rest: for faults that are about something else
OPEN = Terms(caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None), cooldown_us=0)


@dataclass(frozen=True)
class Line:
    """What one fault did."""

    #: F1 to F20
    fault: str
    #: what was done, and on which store
    what: str
    #: what was counted or measured
    figure: str
    #: whether the promise held; None: not run here, and `figure` says why
    holds: bool | None
    #: seconds that it took
    seconds: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where stores of one kind are made."""

    #: `SQLite` or `Postgres`
    kind: str
    folder: Path
    #: the server; None on SQLite
    server: servers.Postgres | None = None

    def empty(self) -> str:
        """URL of a database without a table."""
        if self.server is not None:
            return self.server.make()
        return f"sqlite:///{Path(tempfile.mkdtemp(dir=self.folder)) / 'lastgood.db'}"

    def migrated(self) -> str:
        """URL of a store without a row."""
        url = self.empty()
        upgrade(url)
        return url

    def copy(self, store: Store) -> str:
        """URL of a copy of a store that nobody is connected to but this thread."""
        store.close()
        if self.server is not None:
            return self.server.make(store.url)
        url = self.empty()
        shutil.copy(store.path, url.removeprefix("sqlite:///"))
        return url

    def drop(self, store: Store) -> None:
        """Take a store away."""
        store.close()
        if self.server is not None:
            self.server.drop(store.url)
        else:
            shutil.rmtree(store.path.parent, ignore_errors=True)


@contextlib.contextmanager
def place(kind: str) -> Iterator[Place | None]:
    """A folder in memory, or a Postgres server of one's own; None where there can't be one."""
    with tempfile.TemporaryDirectory(dir=servers._memory(), prefix="lastgood-fault-") as name:
        if kind == "SQLite":
            yield Place(kind, Path(name))
            return
        given = os.environ.get("LASTGOOD_TEST_POSTGRES")
        if not given and servers._bin() is None:
            yield None
            return
        start = (
            contextlib.nullcontext(SimpleNamespace(url=given))
            if given
            else servers._started(Path(name), servers._bin())
        )
        with start as server:
            databases = servers.Postgres(server.url)
            yield Place(kind, Path(name), databases)
            databases.drop_all()


def adopted(store: Store) -> tuple[str, str]:
    """Adopt the agent; return the ids of its baseline and of a candidate."""
    made = [
        registry.register(store, AGENT, make_bundle(text), author="ann")[0].bundle.id for text in ("a", "b")
    ]
    control.adopt(store, AGENT, ENVIRONMENT, made[0], actor="ann", reason="it serves today")
    return made[0], made[1]


def seasoned(url: str, runs: int = 300, clock: ManualClock | None = None) -> World:
    """An agent whose baseline has served for a while, and a candidate."""
    clock = clock or ManualClock()
    world = World(Store(url, clock), clock, "", "")
    world.baseline, world.candidate = world.bundle("old"), world.bundle("new")
    control.adopt(world.store, AGENT, ENVIRONMENT, world.baseline, actor="ann", reason="it serves today")
    world.history(runs)
    world.store.close()
    if world.store.path is not None:
        held = sqlite3.connect(world.store.path)
        held.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        held.close()
    return world


def again(world: World, url: str) -> World:
    """The same world in a copy of its store, with a clock of its own."""
    clock = replace(world.clock)
    return replace(world, store=Store(url, clock), clock=clock, draw=random.Random(7))


def begun(store: Store, candidate: str, terms: Terms = OPEN) -> str:
    """Start a release that nobody looks at; return its id."""
    wanted = Start(AGENT, ENVIRONMENT, candidate, "fault", "d" * 64, "{}", "{}", terms, "ann")
    return releasing.start(store, wanted)


def opened(
    store: Store, candidate: str, terms: Terms = OPEN, *, share_bp: int = 5_000, lease_us: int = HOUR
) -> str:
    """Start a release and serve its candidate; return its id."""
    release_id = begun(store, candidate, terms)
    with store.reading() as txn:
        expect = Expect.of(points.read(txn, AGENT, ENVIRONMENT))
    stage, entry = Stage("canary", ReleaseState.CANARY, 0), Entry("share", "ann", "open", release_id)
    releasing.set_share(
        store, release_id, stage, share_bp=share_bp, lease_us=lease_us, entry=entry, expect=expect
    )
    return release_id


def serving(store: Store) -> Serving:
    """How this process serves the agent."""
    return Serving(store, AGENT, ENVIRONMENT)


def store_at(url: str, clock: Clock | None = None) -> Store:
    """A store with connections of its own."""
    return Store(url, clock)


def rows(store: Store, query: str, **values: object) -> list[dict]:
    """Every row of a query."""
    with store.reading() as txn:
        return [dict(row) for row in txn.all(query, **values)]


def number(store: Store, query: str, **values: object) -> float:
    """The only value of a query's only row."""
    return next(iter(rows(store, query, **values)[0].values())) or 0


def shown(found: Counter) -> str:
    """How many of what should not be there, and which."""
    return f"{found.total():g}{f' {dict(found)}' if found else ''}"


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all values do not exceed."""
    return sorted(values)[max(0, round(len(values) * share) - 1)]


def hand(store: Store, statement: str, *values: object) -> int:
    """Change the store as somebody with its file or its superuser would; `?` for values; rows changed."""
    if store.path is None:
        import psycopg

        with psycopg.connect(store.url, autocommit=True) as held:
            held.execute("SET session_replication_role = replica")  # no trigger, no foreign key
            return held.execute(statement.replace("?", "%s"), values).rowcount
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as held:
        held.execute("PRAGMA foreign_keys=OFF")
        for (name,) in held.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            held.execute(f"DROP TRIGGER {name}")
        return held.execute(statement, values).rowcount


Run = Callable[[Place, bool], Iterator[Line]]


def lines(run: Run, faults: str, kinds: tuple[str, ...], *, quick: bool) -> Iterator[Line]:
    """Run a script on each kind of store; every line says which, and how long it took."""
    for kind in kinds:
        with place(kind) as found:
            if found is None:
                yield Line(faults, f"on {kind}", "not run: there is no Postgres here", None)
                continue
            began = time.monotonic()
            for line in run(found, quick):
                took, began = time.monotonic() - began, time.monotonic()
                yield replace(line, what=f"{line.what} ({kind})", seconds=took)


def main(run: Run, faults: str, kinds: tuple[str, ...] = ("SQLite", "Postgres")) -> None:
    """Run a script and print its lines as JSON; what broke the script itself goes up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few cases: to see that it runs")
    parser.add_argument("--only", choices=kinds, help="one kind of store")
    given = parser.parse_args()
    logging.disable(logging.ERROR)  # what a fault makes lastgood say is expected
    for line in lines(run, faults, (given.only,) if given.only else kinds, quick=given.quick):
        print(json.dumps(asdict(line)), flush=True)  # noqa: T201  run.py reads it
