"""What lives in the soak: Postgres, Prefect's server, two workers, the service, eight agent processes.

All of it runs from a clone of what is committed, so that an edit of the checkout changes nothing under way.
Processes are ended by the ids that were kept when they began, and what Prefect's workers left behind by the
mark that all of ours carry in their environment.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from config.policy import Policy
from lastgood import control, registry
from lastgood.roles import Role
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tasks import policies
from tests import conftest as servers
from tests import serving
from tests.flows.load.run import ROOT, tree
from tests.tasks.conftest import make_bundle

HERE = Path(__file__).resolve().parent
ENVIRONMENT = "production"
AGENTS = tuple(f"agent{number}" for number in range(8))
#: processes that speak to the service; the others have the store at hand
OVER_HTTP = (5, 6, 7)
#: runs a second of one agent process
PACE = 1.5
#: names what a process of this soak carries in its environment
MARK = "SOAK_ID"
POLICY = """
name: soak
lost_after: 5 s
look_every: 4 s
lease: 20 s
driver_timeout: 30 s
steps:
  - {share: 30%, min_runs: 8, rule_out: 5}
  - {share: 60%, min_runs: 12}
guardrails: {completion: {margin: 25 points}}
alpha: {revert: 0.001, promote: 0.2}
block: {size: 10, time: 30 s}
horizon: {runs: 400}
reference: {completion: 0.9}
readiness: {fewer: null, three_or_four: null, five_or_six: null}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
cooldown: 0 s
preflight: {open_incidents: allow}
"""


@dataclass
class Member:
    """A process that should live, with all that it starts; begun anew after a fault."""

    name: str
    words: list[str]
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    #: whether somebody means it to live now
    wanted: bool = False
    #: times that it ended though nobody had ended it
    died: int = 0

    def begin(self) -> None:
        """Start it."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.words, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        self.wanted = True

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send a signal to it, or to its whole group."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def kill(self, *, group: bool = True) -> None:
        """SIGKILL."""
        self.wanted = False
        self.signal(signal.SIGKILL, group=group)
        assert self.process is not None
        self.process.wait(30)

    def end(self) -> None:
        """Ask it to end, then make it."""
        self.wanted = False
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.signal(signal.SIGKILL)
        self.process.wait(30)

    def revive(self) -> None:
        """Begin it anew where it ended by itself, as a supervisor would, and count that."""
        if self.wanted and not self.alive:
            self.died += 1
            self.begin()


@dataclass
class Database:
    """The Postgres server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    wanted: bool = True
    died: int = 0
    settings: tuple[str, ...] = ("max_connections=200", "autovacuum=on", "autovacuum_naptime=15s")

    @classmethod
    def new(cls, folder: Path) -> "Database":
        """Make a cluster and start it."""
        binaries, user = servers._bin(), servers._somebody()
        assert binaries is not None, "the soak needs Postgres: no `initdb` here"
        if user:
            os.chown(folder, user["user"], user["group"])
        servers._cluster(folder, binaries, user, servers._PLAIN)
        port = servers._free_port()
        return cls(folder, port, servers._postmaster(folder, binaries, port, *cls.settings))

    def of(self, name: str) -> str:
        """The URL of a database."""
        return f"{servers._url(self.port).rpartition('/')[0]}/{name}"

    def end(self, number: int = signal.SIGINT) -> None:
        """SIGINT disconnects everybody and writes all; SIGQUIT is a crash."""
        self.process.send_signal(number)
        self.process.wait(60)

    def begin(self) -> None:
        """Start it on the same data."""
        self.process = servers._postmaster(self.folder, servers._bin(), self.port, *self.settings)


@dataclass
class Stack:
    """The whole."""

    folder: Path
    database: Database
    store: Store
    environment: dict[str, str]
    api_url: str
    server: Member
    workers: list[Member]
    service: serving.Served
    agents: list[Member] = field(default_factory=list)
    mark: str = ""
    #: times that the service ended though nobody had ended it
    service_died: int = 0

    @property
    def members(self) -> list[Member]:
        return [self.server, *self.workers, *self.agents]

    def flow_runs(self) -> list[int]:
        """Processes that run flows of this soak, by the mark that they inherited."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    carried = (folder / "environ").read_bytes().split(b"\0")
                    mine = f"{MARK}={self.mark}".encode() in carried
                    if mine and any(each.startswith(b"PREFECT__FLOW_RUN_ID=") for each in carried):
                        found.append(int(folder.name))
        return found

    def long_lived(self) -> dict[str, list[int]]:
        """What is measured: the ids of each part's processes, those that a worker starts left out."""
        found = {each.name: [each.pid] for each in (*self.workers, *self.agents) if each.alive}
        if self.server.alive:
            found["Prefect's server"] = tree(self.server.pid)
        if self.service.process is not None and self.service.process.poll() is None:
            found["service"] = [self.service.process.pid]
        return found

    def install(self) -> None:
        """Install the automations and the choices of the forms, and start the workers."""
        _ran(self.environment, self.folder / "clone", "python -m flows install")
        for each in self.workers:
            each.begin()

    def wait_for_server(self, seconds: float = 120.0) -> None:
        """Wait until Prefect's API answers."""
        assert self.server.process is not None
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.api_url}/health", timeout=5) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.5)
        raise RuntimeError("Prefect's server did not answer")

    def revive(self) -> None:
        """Begin anew what ended by itself."""
        for each in self.members:
            each.revive()
        if self.service.process is not None and self.service.process.poll() is not None:
            self.service_died += 1
            self.service.begin()

    def end(self) -> None:
        """End all that was started."""
        for each in self.agents:
            each.end()
        for each in (*self.workers, self.server):
            each.end()
        for pid in self.flow_runs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.service.end()


def prepared(url: str) -> Store:
    """A store with every agent adopted, and the policy."""
    upgrade(url)
    store = Store(url)
    for agent in AGENTS:
        first, _ = registry.register(store, agent, make_bundle(f"good {agent} first"), author="ann")
        control.adopt(store, agent, ENVIRONMENT, first.bundle.id, actor="ann", reason="it serves today")
    policies.keep(store, Policy.load(POLICY), "ann")
    return store


def _settings(clone: Path, folder: Path, database: Database, port: int, week_s: float, mark: str) -> dict:
    """The environment of everything: ours and Prefect's limits are as much shorter as the week is."""
    theirs = ("PREFECT_", "LASTGOOD_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(theirs)}
    day_s = max(10, round(week_s / 7))
    return clean | {
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "LASTGOOD_DATABASE": database.of("store"),
        "LASTGOOD_REPOSITORY": f"file://{clone}",
        "LASTGOOD_BRANCH": "soak",
        "LASTGOOD_KEEP_LOOK_RUNS": f"{day_s // 2} s",
        "LASTGOOD_KEEP_PREFECT_RUNS": f"{day_s} s",
        "PREFECT_API_DATABASE_CONNECTION_URL": database.of("prefect").replace(
            "postgresql:", "postgresql+asyncpg:"
        ),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": str(max(30, day_s // 4)),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS": str(max(30, day_s // 4)),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{day_s}S",
        "PREFECT_WORKER_QUERY_SECONDS": "5",
    }


def _cloned(folder: Path) -> Path:
    """A clone of what is committed, on a branch that nobody else writes to."""
    clone = folder / "clone"
    for words in (
        ["clone", "-q", f"file://{ROOT}", str(clone)],
        ["-C", str(clone), "checkout", "-qb", "soak"],
    ):
        subprocess.run(["git", *words], check=True)
    return clone


def _ran(environment: dict[str, str], clone: Path, line: str) -> None:
    made = subprocess.run(
        ["bash", "-c", line], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise RuntimeError(f"{line}\n{made.stdout}{made.stderr}")


@contextlib.contextmanager
def at_work(folder: Path, week_s: float) -> Iterator[Stack]:
    """Bring everything up but the agents; end it all, whatever happens."""
    with tempfile.TemporaryDirectory(
        dir=servers._memory(), prefix="lastgood-soak-", ignore_cleanup_errors=True
    ) as room:
        database = Database.new(Path(room))
        try:
            yield from _on(database, folder, week_s)
        finally:
            servers._ended(database.process)


def _on(database: Database, folder: Path, week_s: float) -> Iterator[Stack]:
    with psycopg.connect(database.of("postgres"), autocommit=True) as held:
        for name in ("prefect", "store"):
            held.execute(f"CREATE DATABASE {name}")
    clone, port, mark = _cloned(folder), servers._free_port(), secrets.token_hex(8)
    environment = _settings(clone, folder, database, port, week_s, mark)
    store = prepared(environment["LASTGOOD_DATABASE"])
    words = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = Member("Prefect's server", words, folder / "server.log", environment)
    start = [sys.executable, "-m", "prefect", "worker", "start", "-p", "lastgood", "--limit", "4", "-n"]
    workers = [
        Member(f"worker {number}", [*start, f"w{number}"], folder / f"worker{number}.log", environment)
        for number in (1, 2)
    ]
    service = serving.Served(store.url, environment=environment, log=folder / "service.log")
    stack = Stack(
        folder, database, store, environment, environment["PREFECT_API_URL"], server, workers, service,
        mark=mark,
    )  # fmt: skip
    try:
        server.begin()
        stack.wait_for_server()
        made = "prefect work-pool create lastgood --type process && prefect --no-prompt deploy --all"
        _ran(environment, clone, made)
        service.begin()
        yield stack
    finally:
        stack.end()
        store.close()


def agents(stack: Stack) -> list[Member]:
    """The agent processes, not begun: each serves two agents, so that each agent is served by two of them."""
    found = []
    for number, first in enumerate(AGENTS):
        name, second = f"process {number}", AGENTS[(number + 3) % len(AGENTS)]
        environment = dict(stack.environment)
        if number in OVER_HTTP:
            del environment["LASTGOOD_DATABASE"]
            environment["LASTGOOD_URL"] = f"http://127.0.0.1:{stack.service.port}"
            environment["LASTGOOD_TOKEN"] = serving.token(stack.store, Role.AGENT)
        diary = stack.folder / f"process{number}.diary"
        words = [sys.executable, str(HERE / "agent.py"), name, str(diary), str(PACE), first, second]
        found.append(Member(name, words, stack.folder / f"process{number}.log", environment))
    return found


__all__ = ["AGENTS", "ENVIRONMENT", "OVER_HTTP", "PACE", "Database", "Member", "Stack", "agents", "at_work"]
