"""Drives one small release and, at each of its commits, lets a process of its own die there.

`python crashing.py JSON`: the fields of `Wanted`. The story goes on in this process, which never dies.
Whenever the driver is about to commit, the store is copied, once for each death, and a fork of this process
goes on with the copy, over a connection of its own, until the signal ends it. Nothing is told twice, so a
death costs a fork and a copy. Prints one JSON line a death: where, the copy's URL, how the process ended.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).parents[2])]

from lastgood import ids, registry, releasing  # noqa: E402  found by the line above
from lastgood.clock import ManualClock  # noqa: E402
from lastgood.store import connection  # noqa: E402
from lastgood.store.connection import Store  # noqa: E402
from tasks import preflight  # noqa: E402
from tests.tasks.conftest import World  # noqa: E402

POLICY = """
name: crash
lost_after: 1 min
guardrails: {completion: {margin: 30 points}}
alpha: {promote: 0.2, revert: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%, min_runs: 5, rule_out: 10}, {share: 60%, min_runs: 5}]
"""
#: exit status of a process that committed more after the signal than its transaction
SURVIVED = 99
#: commits that no term is held for yet: whoever comes to them late is no stale driver
UNHELD = {"releasing.start", "releasing.take_over"}


@dataclass(frozen=True)
class Wanted:
    """What to tell, and who dies where."""

    #: URL of a store whose baseline has a history; it stays as it is
    source: str
    #: folder of the copies, or on Postgres the beginning of their names
    place: str
    #: microseconds UTC
    clock_us: int
    #: the candidate's chance to complete
    good: float
    #: number of the first commit to die at
    first: int = 1
    #: of the ids and of what runs report
    seed: int = 1
    #: when and by which signal: `begin` (before BEGIN), `before` COMMIT, `between` COMMIT and what tells the
    #: routers of it, or `after` both
    deaths: tuple[tuple[str, int], ...] = (("before", 9), ("after", 9))
    #: runs between two looks
    runs: int = 80


def duplicate(source: str, wanted: Wanted, name: str) -> str:
    """Copy a store that nobody writes to; return the copy's URL."""
    if not source.startswith("sqlite:"):
        return _duplicate_database(source, f"{wanted.place}_{name}".replace("-", "_"))
    old, new = Path(source.removeprefix("sqlite:///")), Path(wanted.place) / f"{name}.db"
    for suffix in ("", "-wal", ".epochs"):
        if (beside := old.with_name(old.name + suffix)).exists():
            shutil.copy(beside, new.with_name(new.name + suffix))
    return f"sqlite:///{new}"


def _duplicate_database(source: str, name: str) -> str:
    import psycopg

    server, _, old = source.rpartition("/")
    users = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{old}'"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as held:
        while held.execute(users).fetchone()[0]:  # else CREATE DATABASE looks again after 100 ms alone
            pass
        held.execute(f"CREATE DATABASE {name} TEMPLATE {old}")
    return f"{server}/{name}"


def move(store: Store, url: str) -> None:
    """Let a store that is connected nowhere mean another database."""
    store.url, store._database, store._local = url, connection.database(url), threading.local()
    file = store.path
    store.word_path = None if file is None else file.with_name(file.name + ".epochs")


class Story:
    """Counts the commits of the driver, and sends a fork to its death at each."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted, self.seen, self.counting = wanted, 0, False
        #: the store whose commits are points; a drill in a store of its own is none
        self.store: Store | None = None
        #: how this process has to die; None: it is the one that goes on
        self.death: tuple[str, int] | None = None
        self.doomed = False

    def visit(self, store: Store) -> None:
        """The driver is about to begin a transaction."""
        if self.doomed and self.death is None:
            os._exit(SURVIVED)
        if self.doomed:
            return
        self.seen += 1
        if self.seen < self.wanted.first:
            return
        store.close()
        name = committer()
        for when, number in self.wanted.deaths:
            if number == signal.SIGSTOP and name in UNHELD:
                continue
            url = duplicate(store.url, self.wanted, f"{self.seen}-{when}-{number}")
            child = os.fork()
            if child == 0:
                self.death, self.doomed = (when, number), True
                signal.signal(signal.SIGTERM, leave)
                # a shell that started this in the background left it ignored
                signal.signal(signal.SIGINT, signal.default_int_handler)
                move(store, url)
                self.reach("begin")
                return
            _, status = os.waitpid(child, os.WUNTRACED)
            told = {"point": f"{when} {self.seen} {name}", "store": url, "pid": child}
            told |= {"status": status, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}
            say(told)

    def reach(self, when: str) -> None:
        """Die, if it is here."""
        if self.death is None or self.death[0] != when:
            return
        number, self.death = self.death[1], None
        if number == signal.SIGSTOP:
            self.counting = False  # it goes on as it would have, until somebody stops it
        os.kill(os.getpid(), number)


def leave(number: int, frame: object) -> None:
    """What Prefect and most services do when they are asked to end."""
    raise SystemExit(128 + number)


def say(line: dict[str, object]) -> None:
    """Tell whoever started this."""
    os.write(1, json.dumps(line).encode() + b"\n")


def committer() -> str:
    """Module and function whose transaction is about to begin."""
    frame = sys._getframe(1)
    while "/tests/" in frame.f_code.co_filename or frame.f_code.co_filename.endswith("contextlib.py"):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


class Serving(World):
    """A world whose agent's own commits are no points."""

    story: Story

    def work(self, runs: int, **given) -> None:
        was, self.story.counting = self.story.counting, False
        super().work(runs, **given)
        self.story.counting = was


def patch(story: Story, link: type) -> None:
    """Let every transaction pass by the story."""
    real, commit = Store.transaction, link.commit

    @contextmanager
    def transaction(self, **given):
        if not story.counting or self is not story.store:
            with real(self, **given) as txn:
                yield txn
            return
        story.visit(self)
        with real(self, **given) as txn:
            yield txn
            story.reach("before")
        story.reach("after")

    def committed(self) -> None:
        commit(self)
        story.reach("between")

    Store.transaction, link.commit = transaction, committed


def tell(wanted: Wanted, story: Story) -> None:
    """The whole release: start, two steps, promote or revert."""
    ids.secrets = SimpleNamespace(randbits=random.Random(wanted.seed).getrandbits)
    store = story.store = Store(
        duplicate(wanted.source, wanted, "story"), ManualClock(wall_us=wanted.clock_us)
    )
    with store.reading() as txn:
        rows = txn.all("SELECT id FROM bundle ORDER BY name")
        old, new = (registry.read(txn, row["id"]).bundle.id for row in rows)
    world = Serving(store, store.clock, old, new, draw=random.Random(6 + wanted.seed), served=10_000)
    world.story = story
    world.policy(POLICY)
    with store._connected() as slot:
        patch(story, type(slot.link))
    story.counting = True
    release_id = releasing.start(store, preflight.check(store, world.wanted(policy="crash")))
    world.drive(release_id, runs=wanted.runs, good=0.9, candidate=wanted.good)


def main(wanted: Wanted) -> None:
    """Tell the story; a fork that comes to its end, or is interrupted, says how."""
    story, ended = Story(wanted), "told"
    try:
        tell(wanted, story)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if not story.doomed:
            raise
        ended = type(error).__name__
    if story.doomed:
        say({"pid": os.getpid(), "ended": ended})
        os._exit(0)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(Wanted(**{**given, "deaths": tuple(tuple(death) for death in given["deaths"])}))
