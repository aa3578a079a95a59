"""F19: the Prefect server is killed in the middle of a canary and its database wiped."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import AGENT, ENVIRONMENT, ROOT, SECOND, Line, Place, main, number, rows, seasoned, servers

import lastgood
from lastgood import ledger
from lastgood.clock import ManualClock, SystemClock
from lastgood.store.connection import Store
from tests.tasks.conftest import World

CAP = 60
#: a canary that lasts until somebody ends it
POLICY = f"""
name: canary
lost_after: 0.5 s
guardrails: {{completion: {{margin: 25 points}}}}
alpha: {{promote: 0.2}}
caps: {{spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: {CAP}}}
steps: [{{share: 50%, min_runs: 10, min_time: 1 h}}]
look_every: 0.3 s
lease: 30 s
driver_timeout: 5 s
"""
DRIVER = ROOT / "tests" / "flows" / "driver.py"


def wait_for(what: Callable[[], object], seconds: float) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)


def prefect(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command of a server of one's own on loopback, and the environment that reaches it."""
    port = servers._free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
    }
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    return words, environment


def command(environment: dict[str, str], *words: str) -> tuple[int, float]:
    """Run `lastgood` as a person would; its exit status and seconds."""
    began = time.monotonic()
    line = [sys.executable, "-m", "lastgood.cli", *words]
    ran = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.returncode, time.monotonic() - began


def serve(runs: int) -> list[str]:
    """Serve runs as an agent does; their arms."""
    arms = []
    for _ in range(runs):
        with lastgood.run(AGENT) as run:
            run.report(completed=True)
            arms.append(run.arm)
    return arms


def canary(world: World, environment: dict[str, str], folder: Path) -> dict[str, object]:
    """Start a canary by the release flow, take Prefect away, and go on without it."""
    words, with_server = prefect(folder)
    environment = {**with_server, **environment}
    with servers._running(words, folder / "server.log", with_server) as server:
        servers._wait_until_healthy(with_server["PREFECT_API_URL"], server, folder / "server.log")
        driver = [sys.executable, str(DRIVER), AGENT, world.candidate[:12], "canary"]
        with servers._running(driver, folder / "driver.log", environment) as flow:
            wait_for(lambda: rows(world.store, "SELECT 1 FROM release WHERE state = 'compare'"), 90)
            before = serve(40)
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)
            shutil.rmtree(with_server["PREFECT_HOME"])
            gone = time.monotonic()
            after = serve(40)
            routed = time.monotonic() - gone
            more = serve(200)
            status = command(environment, "status", AGENT)[0]
            reverted, took = command(environment, "rollback", AGENT, "--reason", "Prefect is gone")
            last = serve(60)
            flow.poll()
    return {
        "before": before, "after": after + more, "first": routed, "status": status, "rollback": reverted,
        "seconds": took, "last": last,
    }  # fmt: skip


def run(place: Place, quick: bool) -> Iterator[Line]:
    """A real server, on one kind of store."""
    now = SystemClock().now_us()
    world = seasoned(place.migrated(), clock=ManualClock(wall_us=now - 3_000 * SECOND))
    world.store = Store(world.store.url)
    world.policy(POLICY)
    lastgood.configure(database=world.store.url, environment=ENVIRONMENT)
    environment = {"LASTGOOD_DATABASE": world.store.url}
    with tempfile.TemporaryDirectory(prefix="lastgood-prefect-") as folder:
        found = canary(world, environment, Path(folder))
    started = number(world.store, "SELECT count(*) AS n FROM run WHERE arm = 'candidate'")
    state = rows(world.store, "SELECT state FROM release")[0]["state"]
    ledger.verify(world.store, AGENT, ENVIRONMENT)
    figure = (
        f"served {len(found['before'])} runs before and {len(found['after'])} after it (the first 40 in "
        f"{found['first']:.1f} s), candidates {started:g} of {CAP} allowed; `lastgood rollback`: status "
        f"{found['rollback']}, {found['seconds']:.1f} s, then {found['last'].count('candidate')} candidate "
        f"runs; the release is {state}"
    )
    went_on = "candidate" in found["before"] and "candidate" in found["after"] and started <= CAP
    by_hand = (found["status"], found["rollback"], state) == (0, 0, "reverted")
    holds = went_on and by_hand and "candidate" not in found["last"] and found["seconds"] <= 5
    yield Line("F19", "Prefect server killed by SIGKILL mid-canary, its database deleted", figure, holds)


if __name__ == "__main__":
    main(run, "F19")
