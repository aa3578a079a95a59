"""What every test runs under: none of the developer's own settings, a Postgres, Hypothesis without deadlines.

Tests that want a Postgres get a database of their own: on the server of LASTGOOD_TEST_POSTGRES (a URL with
which databases may be created), else on one that the system's `initdb` makes for this process. Without either
they are skipped, or with LASTGOOD_REQUIRE_POSTGRES=1 they fail.
"""

import contextlib
import ctypes
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

# A test must never reach the store or the Prefect server that a developer's shell points to.
_FOR_TESTS = {"LASTGOOD_TEST_POSTGRES", "LASTGOOD_REQUIRE_POSTGRES"}
for name in [name for name in os.environ if name.startswith(("LASTGOOD_", "PREFECT_"))]:
    if name not in _FOR_TESTS:
        del os.environ[name]
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# -- The same ids every time: a release's id is the salt of its assignment, and a healthy release is reverted
# -- in up to `alpha` of all draws. No test may be decided by the luck of one.

_drawn = random.Random()
os.register_at_fork(after_in_child=_drawn.seed)  # siblings must not draw the same ids
# What Prefect asks to be called when threads end waits for threads that a forked child does not have, and
# ends the child with 1.
os.register_at_fork(after_in_child=lambda: getattr(threading, "_threading_atexits", []).clear())


def pytest_sessionstart() -> None:
    """Ids are drawn from what each fixture and each test seeds for itself."""
    from lastgood import ids

    ids.secrets = SimpleNamespace(randbits=_drawn.getrandbits)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Any:
    """A shared fixture draws what it draws, whichever test asked for it first."""
    if fixturedef.scope == "function":
        return (yield)
    before = _drawn.getstate()
    _drawn.seed(f"{fixturedef.baseid} {fixturedef.argname} {getattr(request, 'param', '')}")
    try:
        return (yield)
    finally:
        _drawn.setstate(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long go first, so that no worker is left with one at the end."""
    long = {item.path for item in items if item.get_closest_marker("prefect")}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: Any) -> None:
    """A test draws what it draws, whichever ran before it."""
    _drawn.seed(item.nodeid)


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment without what the running suite's own venv, make or Prefect put there."""
    ours = ("PREFECT_", "LASTGOOD_", "MAKE", "MFLAGS", "PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextlib.contextmanager
def _running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)


@pytest.fixture(scope="session")
def background() -> Callable[..., Any]:
    """`with background(command, log, environment)`: a process, ended with all that it started."""
    return _running


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.25)
    pytest.fail(f"the Prefect server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def real_server(clean_environment: dict[str, str]) -> Callable[..., Any]:
    """`with real_server(python, folder) as environment`: a real server, and what reaches it."""

    @contextlib.contextmanager
    def start(python: str, folder: Path) -> Iterator[dict[str, str]]:
        port = _free_port()
        url = f"http://127.0.0.1:{port}/api"
        environment = clean_environment | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        }
        command = [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with _running(command, folder / "server.log", environment) as server:
            _wait_until_healthy(url, server, folder / "server.log")
            yield environment

    return start


# -- Postgres

#: connections of a parent process
_inherited: list[Any] = []


class Postgres:
    """A server, and databases on it: each a copy of a template, so that one takes 20 ms."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: Any = None
        #: files are copied as they are, which is twice as quick; before version 15 nothing else was known
        self._copying = ""
        os.register_at_fork(after_in_child=self._leave)
        self._names = (f"lastgood_test_{os.getpid()}_{number}" for number in itertools.count())
        self._made: set[str] = set()

    def of(self, database: str) -> str:
        """The URL of one database."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    def _leave(self) -> None:
        """In a forked child: the connection is the parent's, and must not be closed here."""
        _inherited.append(self._connection)
        self._connection = None

    @property
    def _held(self) -> Any:
        import psycopg

        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url, autocommit=True)
            new = self._connection.info.server_version >= 150_000
            self._copying = " STRATEGY FILE_COPY" if new else ""
        return self._connection

    def run(self, statement: str) -> None:
        self._held.execute(statement)

    def make(self, template: str = "") -> str:
        """The URL of a new database, empty or a copy of the one at the URL `template`."""
        name = next(self._names)
        source = f" TEMPLATE {template.rpartition('/')[2]}" if template else ""
        held = self._held
        held.execute(f"CREATE DATABASE {name}{source}{self._copying if template else ''}")
        self._made.add(name)
        return self.of(name)

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[2]
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.discard(name)

    def drop_all(self) -> None:
        """Drop what was made, and leave."""
        for name in list(self._made):
            self.drop(self.of(name))
        if self._connection is not None:
            self._connection.close()


def _bin() -> Path | None:
    """The folder of the newest `initdb` and `postgres` here."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _memory() -> str | None:
    """A folder in memory, where a database is copied ten times as fast; None where there is too little of it.

    Not pytest's own: that is closed to the user that the server runs as.
    """
    room = "/dev/shm"
    usable = os.access(room, os.W_OK) and shutil.disk_usage(room).free > 1 << 30
    return room if usable else None


def _somebody() -> dict[str, Any]:
    """Arguments of a subprocess that Postgres accepts: it refuses to run as root."""
    if os.getuid() != 0:
        return {}
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = known.get("postgres") or known.get("nobody")
    assert user is not None, "neither a user postgres nor nobody: Postgres can't run as root"
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _end_with_parent() -> None:
    """Ask the kernel (Linux) to end the server should this process be killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _cluster(folder: Path, binaries: Path, user: dict[str, Any], environment: dict[str, str]) -> None:
    """Make a cluster that sorts by a language, where this Postgres can: a store must not depend on that."""
    command = [
        binaries / "initdb",
        "-D",
        folder / "data",
        "-U",
        "lastgood",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "-N",
    ]
    language = ["--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8"]
    for more in (language, ["--locale=C.UTF-8"], ["--locale=C"]):
        made = subprocess.run(
            [*command, *more],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            **user,
        )
        if made.returncode == 0:
            return
        shutil.rmtree(folder / "data", ignore_errors=True)
    pytest.fail(f"initdb failed:\n{made.stderr[-2000:]}")


@contextlib.contextmanager
def _started(folder: Path, binaries: Path, *more: str) -> Iterator[SimpleNamespace]:
    """A server on loopback whose data is in `folder`; it ends with this process."""
    if user := _somebody():
        os.chown(folder, user["user"], user["group"])
    _cluster(folder, binaries, user, _PLAIN)
    port = _free_port()
    server = _postmaster(folder, binaries, port, *more)
    try:
        yield SimpleNamespace(url=_url(port), pid=server.pid)
    finally:
        _ended(server)


_PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


def _url(port: int) -> str:
    return f"postgresql://lastgood@127.0.0.1:{port}/postgres"


def _postmaster(folder: Path, binaries: Path, port: int, *more: str) -> subprocess.Popen[bytes]:
    """Start a server on the data that is in `folder`, and wait until it answers."""
    quick = [
        "fsync=off",
        "full_page_writes=off",
        "autovacuum=off",
        "max_connections=100",
        "max_wal_size=128MB",
    ]
    settings = [
        *quick,
        *more,
        "listen_addresses=127.0.0.1",
        f"port={port}",
        f"unix_socket_directories={folder}",
    ]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", *(f"--{setting}" for setting in settings)],
            cwd=folder, env=_PLAIN, stdout=log, stderr=log, preexec_fn=_end_with_parent, **_somebody(),  # noqa: PLW1509
        )  # fmt: skip
    try:
        _wait_until_answering(_url(port), server, folder / "server.log")
    except BaseException:
        _ended(server)
        raise
    return server


def _ended(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)  # "fast": disconnects everybody
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=20)


def _wait_until_answering(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=5):
            return
        time.sleep(0.05)
    pytest.fail(f"Postgres did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def start_postgres() -> Callable[..., Any]:
    """`with start_postgres() as server`: a server of one's own, with `url` and `pid`, to stop or freeze."""

    @contextlib.contextmanager
    def start() -> Iterator[SimpleNamespace]:
        binaries = _bin()
        if binaries is None:
            without_postgres("this test starts and stops its own server, and there is no `initdb` here")
        assert binaries is not None
        with (
            tempfile.TemporaryDirectory(
                dir=_memory(), prefix="lastgood-postgres-", ignore_cleanup_errors=True
            ) as name,
            _started(Path(name), binaries) as server,
        ):
            yield server

    return start


def without_postgres(why: str) -> None:
    """Skip a test, or fail it where Postgres is demanded."""
    if os.environ.get("LASTGOOD_REQUIRE_POSTGRES"):
        pytest.fail(f"no Postgres, and LASTGOOD_REQUIRE_POSTGRES is set: {why}")
    pytest.skip(f"no Postgres: {why}")


@pytest.fixture(scope="session")
def postgres(start_postgres: Callable[..., Any]) -> Iterator[Postgres]:
    """This process's server."""
    pytest.importorskip("psycopg", reason="no Postgres: psycopg is not installed")
    given = os.environ.get("LASTGOOD_TEST_POSTGRES")
    if not given and _bin() is None:
        without_postgres("no LASTGOOD_TEST_POSTGRES, and no `initdb` on PATH or in /usr/lib/postgresql/*/bin")
    with contextlib.nullcontext() if given else start_postgres() as started:
        server = Postgres(given or started.url)
        yield server
        server.drop_all()
