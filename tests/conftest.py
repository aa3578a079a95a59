"""What every test runs under: none of the developer's own settings, and Hypothesis without deadlines."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A test must never reach the store or the Prefect server that a developer's shell points to.
for name in [name for name in os.environ if name.startswith(("LASTGOOD_", "PREFECT_"))]:
    del os.environ[name]
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


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
