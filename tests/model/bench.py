"""The bench: a real store that can be made to crash, be cut off or lose its process, and what stands still.

A crash is a `BaseException` at a named place of the next write transaction: at its n-th statement, right
before COMMIT, or after COMMIT and before anything that follows. Where the process `dies` nothing of it runs
on: not even what sets an epoch word straight.
"""

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

from wire import Told

from lastgood import control, epoch_word, hearing, identity, ids, registry, snapshot
from lastgood.bundle import Bundle, Part
from lastgood.clock import ManualClock
from lastgood.errors import StoreUnavailable
from lastgood.store import engine
from lastgood.store.connection import Store

AGENT, PLACE = "support", "production"
KEYS = identity.Keys("model", {"model": b"x" * 32})
TOOLS = [{"name": "send", "kind": "message", "risk": "low"}, {"name": "pay", "kind": "refund", "risk": "low"}]


class Crash(BaseException):
    """The process is gone; no handler of errors may see it."""


@dataclass(frozen=True)
class Plan:
    """Where the next write transaction crashes."""

    #: `statement`, `commit` (before it), `committed` (after it)
    where: str
    #: which statement, from 0
    nth: int = 0
    #: whether the process ends there, instead of an exception that unwinds it
    dies: bool = False


class FragileLink:
    """A connection that crashes by its store's plan and counts commits."""

    def __init__(self, link: Any, store: "Bench") -> None:
        self._link, self._store, self._writing, self._left = link, store, False, 0
        self._notes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def begin(self, mode: Any) -> Any:
        opened = self._link.begin(mode)
        self._notes = []
        self._writing, plan = True, self._store.plan
        self._left = plan.nth if plan is not None and plan.where == "statement" else -1
        return opened

    def begin_reading(self) -> Any:
        self._writing = False
        return self._link.begin_reading()

    def _tick(self) -> None:
        if self._writing and self._left >= 0:
            if self._left == 0:
                self._store.crash()
            self._left -= 1

    def execute(self, statement: str, values: Any = ()) -> Any:
        self._tick()
        return self._link.execute(statement, values)

    def many(self, statement: str, rows: Any) -> int:
        self._tick()
        return int(self._link.many(statement, rows))

    def many_bare(self, statement: str, rows: Any) -> int:
        self._tick()
        return int(self._link.many_bare(statement, rows))

    def insert_new(self, table: str, columns: Any) -> int:
        self._tick()
        return int(self._link.insert_new(table, columns))

    def notify(self, payload: str) -> None:
        self._link.notify(payload)
        self._notes.append(payload)

    def commit(self) -> None:
        plan = self._store.plan
        if plan is not None and plan.where == "commit":
            self._store.crash()
        if self._store.probe is not None:
            self._store.probe()
        self._link.commit()
        Told.untold += self._notes
        self._store.commits += 1
        if plan is not None and plan.where == "committed":
            self._store.crash()


class Bench(Store):
    """A store as one process holds it."""

    #: whether the process that is unwinding now is dead: nothing of it has an effect any more
    dying = False

    def __init__(self, url: str, clock: ManualClock) -> None:
        super().__init__(url, clock)
        self.commits = 0
        self.plan: Plan | None = None
        self.cut = False
        #: what others do right before a COMMIT
        self.probe: Callable[[], object] | None = None

    def _open(self) -> Any:
        return FragileLink(super()._open(), self)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        if self.cut:
            msg = "cut off"
            raise StoreUnavailable(msg)
        with super()._connected() as slot:
            yield slot

    def version(self) -> object:
        """What changes with every commit of another connection, and on Postgres with other things too."""
        if self.path is None:
            with self.reading() as txn:
                row = txn.one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS at")
            return row["at"] if row else None
        with self._connected() as slot:
            return slot.link.execute("PRAGMA data_version").fetchone()[0]

    def crash(self) -> None:
        plan, self.plan = self.plan, None
        Bench.dying = plan is not None and plan.dies
        raise Crash


def bundle(prompt: str) -> Bundle:
    return Bundle(
        [
            Part.of_value("prompt", "1", prompt),
            Part.of_value("model", "1", {"default": "small"}),
            Part.of_value("tools", "1", TOOLS),
            Part.of_value("memory", "1", {"retrieval": "none"}),
            Part.of_value("policy", "1", {"escalate_below": 0.5}),
        ]
    )


class Postgres:
    """Databases on a server, each a copy of another."""

    def __init__(self, url: str) -> None:
        self._url, self._number = url, 0

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)

    def make(self, template: str = "") -> str:
        self._number += 1
        name = f"lastgood_model_{os.getpid()}_{self._number}"
        source = f" TEMPLATE {template.rpartition('/')[2]}" if template else ""
        self._run(f"CREATE DATABASE {name}{source}")
        return f"{self._url.rpartition('/')[0]}/{name}"

    def drop(self, url: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")


class Yard:
    """Where each example gets a store of its own, with four bundles, of which the first is adopted."""

    def __init__(self, postgres: Any = None) -> None:
        self._folder: str | None = None
        self._postgres = postgres
        self.bundles: list[str] = []
        self._template = ""
        self._number = 0

    def __enter__(self) -> Self:
        room = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self._folder = tempfile.mkdtemp(prefix="lastgood-model-", dir=room)
        made = self._postgres.make() if self._postgres else f"sqlite:///{self._folder}/template.db"
        self._template = made
        engine.upgrade(made)
        store = Store(made, ManualClock())
        wanted = [bundle(name) for name in ("first", "second", "third", "fourth")]
        self.bundles = [registry.register(store, AGENT, b, author="ann")[0].bundle.id for b in wanted]
        control.adopt(store, AGENT, PLACE, self.bundles[0], actor="ann", reason="the first")
        store.close()
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._postgres:
            self._postgres.drop(self._template)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        if self._postgres:
            url = self._postgres.make(self._template)
            try:
                yield url
            finally:
                self._postgres.drop(url)
            return
        self._number += 1
        path = Path(f"{self._folder}/{self._number}.db")
        shutil.copy(self._template.removeprefix("sqlite:///"), path)
        try:
            yield f"sqlite:///{path}"
        finally:
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()


_ENDED = epoch_word._ended


def _ended(path: Path, slot: int, odd: int) -> None:
    if not Bench.dying:
        _ENDED(path, slot, odd)


def still(clock: ManualClock, seed: int = 0) -> Callable[[], None]:
    """Let nothing of the code depend on the machine's time, on chance or on threads; returns the undo."""
    Told.untold.clear()
    drawn = random.Random(seed)
    quiet = SimpleNamespace(monotonic_ns=lambda: clock.boot_us() * 1_000, monotonic=lambda: 0.0)
    patches = [
        patch.object(ids, "secrets", SimpleNamespace(randbits=drawn.getrandbits)),
        patch.object(snapshot, "time", quiet),
        patch.object(snapshot, "_SPREAD_NS", 0),  # by the process's number
        patch.object(snapshot.Serving, "_in_background", lambda _self, work: work()),
        patch.object(epoch_word, "_ended", _ended),
        patch.object(hearing, "Listener", Told),
        patch.object(identity, "keys", lambda _store: KEYS),
    ]
    undo = contextlib.ExitStack()
    for each in patches:
        undo.enter_context(each)
    return undo.close
