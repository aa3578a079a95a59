"""An environment built from the project's own files is pinned throughout, and Prefect schedules in it.

Some versions install well and still break Prefect: with a newer fastapi most client calls answer 422, with a
newer SQLAlchemy the scheduler dies silently. So the proof is `read_flows()` through the client and a run that
the server's scheduler made. It takes about 90 s, most of it the installation.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.prefect

#: seconds that each part may take at most
INSTALL, START, WATCH = 300, 120, 150


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory,
    copy_checkout: Callable[..., Path],
    clean_environment: dict[str, str],
) -> Iterator[Path]:
    """A copied checkout after `make setup`."""
    root = copy_checkout(tmp_path_factory.mktemp("fresh") / "clone")
    # The interpreter under the running venv: the suite may have been set up with `make setup PYTHON=...`.
    command = ["make", "setup", f"PYTHON={Path(sys.base_prefix, 'bin', 'python3')}"]
    try:
        result = subprocess.run(
            command,
            check=False,
            cwd=root,
            env=clean_environment,
            capture_output=True,
            text=True,
            timeout=INSTALL,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        yield root
    finally:
        shutil.rmtree(root / ".venv", ignore_errors=True)  # 0.8 GB


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended with all that it started."""
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


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.25)
    pytest.fail(f"the Prefect server did not start:\n{log.read_text()[-3000:]}")


def test_nothing_was_installed_that_constraints_txt_does_not_pin(fresh: Path) -> None:
    command = [str(fresh / ".venv" / "bin" / "python"), "-m", "pip", "list", "--format=json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    installed = {(canonicalize_name(each["name"]), each["version"]) for each in listed}
    lines = (fresh / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {
        (canonicalize_name(name), version) for name, _, version in (line.partition("==") for line in lines)
    }
    # `python -m venv` of Python 3.11 brings its own setuptools.
    extra = {each for each in installed - pinned if each[0] not in {"lastgood", "setuptools"}}
    assert extra == set()


def test_it_answers_read_flows_and_runs_one_scheduled_flow(
    fresh: Path, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    port, python = free_port(), str(fresh / ".venv" / "bin" / "python")
    url = f"http://127.0.0.1:{port}/api"
    environment = clean_environment | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    start = [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    tick = [python, str(fresh / "tests" / "contracts" / "tick.py")]
    logs = {name: tmp_path / f"{name}.log" for name in ("server", "serve")}
    with running(start, logs["server"], environment) as server:
        wait_until_healthy(url, server, logs["server"])
        with running([*tick, "serve"], logs["serve"], environment):
            watched = subprocess.run(
                [*tick, "watch"], check=False, env=environment, capture_output=True, text=True, timeout=WATCH
            )
    said = "\n".join(log.read_text()[-3000:] for log in logs.values())
    assert watched.returncode == 0, f"{watched.stdout}{watched.stderr}\n{said}"
    assert json.loads(watched.stdout)["flows"] == ["tick"]
