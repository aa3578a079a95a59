"""The HTTP service on loopback: evaluation beside a bare answer, intake beside itself without validation.

Requests go by turns to either, each over one connection that stays open. Rates are rows for each CPU second
of the server that answers, and ratios medians over the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from measuring import ENVIRONMENT, Figure, adopted, percentile, ratio, tell, temporary_store

from lastgood import assigning, identity
from lastgood.assigning import Request
from lastgood.roles import Role
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from tests import serving
from tests.serving import Client, Served, cpu_s, free_port

HERE = Path(__file__).resolve().parent
EVALUATE, OUTCOMES = "/ofrep/v1/evaluate/flags/support:id", "/v1/agents/support/outcomes"
#: outcomes of a batch, and of a round one by one
BATCH, ALONE = 1_000, 100


@contextmanager
def bare(store: Store) -> Iterator[tuple[Client, int]]:
    """The server of `bare.py`."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--app-dir", str(HERE), "--port", str(port)]
    environment = {**os.environ, "BARE_DATABASE": store.url}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command += ["--log-level", "error", "--timeout-keep-alive", "60"]
    process = subprocess.Popen(command, env=environment, **quiet)
    client, until = Client(port), time.monotonic() + 60
    try:
        while time.monotonic() < until:
            with suppress(OSError):
                client.ask("GET", "/")
                break
            time.sleep(0.05)
        yield client, process.pid
    finally:
        client.close()
        process.kill()
        process.wait()


def idle(pid: int) -> None:
    """Wait until a server has loaded what it loads in the background."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        before = cpu_s(pid)
        time.sleep(1)
        if cpu_s(pid) - before < 0.02:
            return
    raise RuntimeError("a server is never idle")


def timed(client: Client, path: str, body: bytes) -> float:
    """Seconds until the answer was there."""
    began = time.perf_counter()
    status, said = client.ask("POST", path, body)
    took = time.perf_counter() - began
    if status != 200:
        raise RuntimeError(f"{path}: {status} {said[:300]!r}")
    return took


def evaluation(server: Served, floor: tuple[Client, int], token: str, what: str, requests: int) -> Figure:
    """p99 of an evaluation beside that of a bare answer, and the CPU time of both servers for it."""
    client, pid, (bare_client, bare_pid) = Client(server.port, token), server.process.pid, floor
    taken, bare_taken, computed = [], [], {pid: 0.0, bare_pid: 0.0}
    for number in range(requests):
        body = json.dumps({"context": {"targetingKey": f"{what}-{number}"}}).encode()
        asked = [(client, EVALUATE, pid, taken), (bare_client, "/", bare_pid, bare_taken)]
        for whom, path, process, times in asked if number % 2 else reversed(asked):
            began = cpu_s(process)
            times.append(timed(whom, path, body))
            computed[process] += cpu_s(process) - began
    p50, p99 = (percentile(taken, share) for share in (0.5, 0.99))
    floor50, floor99 = (percentile(bare_taken, share) for share in (0.5, 0.99))
    return Figure(
        f"evaluation, {what}",
        f"p99 {p99 * 1e3:.1f} ms, median {p50 * 1e3:.1f} ms",
        f"a bare ASGI answer: p99 {floor99 * 1e3:.1f} ms, median {floor50 * 1e3:.1f} ms; "
        f"ratio {p99 / floor99:.1f} at p99, {p50 / floor50:.1f} at the median, "
        f"{computed[pid] / computed[bare_pid]:.1f} in CPU time ({computed[pid] / requests * 1e6:.0f} us)",
    )


def batches(store: Store, number: int, size: int) -> list[bytes]:
    """So many bodies of outcomes of new runs."""
    served, keys, made = Serving(store, "support", ENVIRONMENT), identity.keys(store), []
    for _ in range(number):
        lines = []
        for _ in range(size):
            given = assigning.assign(served, Request(f"u-{time.monotonic_ns()}", "faq", None, None))
            until = given.assigned_us + identity.LIFETIME_US
            token = identity.sign(keys, given.run_id, given.bundle.id, given.decision.epoch, until)
            lines.append({"run": given.run_id, "token": token, "completed": True, "cost_usd": 0.01})
        made.append("\n".join(map(json.dumps, lines)).encode())
    return made


def intake(store: Store, server: Served, floor: tuple[Client, int], token: str, rounds: int) -> list[Figure]:
    """Rows for a CPU second: in batches, one by one, and in batches without validation."""
    client, (bare_client, bare_pid) = Client(server.port, token), floor
    warm = batches(store, 4, 100)
    for place in (0, 2):
        timed(client, OUTCOMES, warm[place])
        timed(bare_client, "/outcomes", warm[place + 1])
    #: CPU seconds a row, by round
    taken: dict[str, list[float]] = {"ours": [], "bare": [], "alone": []}

    def spend(what: str, pid: int, work: Callable[[], object], size: int) -> None:
        began = cpu_s(pid)
        work()
        taken[what].append((cpu_s(pid) - began) / size)

    for turn in range(rounds):
        mine, theirs = batches(store, 2, BATCH)
        alone = batches(store, ALONE, 1)
        works = [
            ("ours", server.process.pid, lambda sent=mine: timed(client, OUTCOMES, sent), BATCH),
            ("bare", bare_pid, lambda sent=theirs: timed(bare_client, "/outcomes", sent), BATCH),
        ]
        for work in works if turn % 2 else reversed(works):
            spend(*work)
        one_by_one = lambda sent=alone: [timed(client, OUTCOMES, each) for each in sent]  # noqa: E731
        spend("alone", server.process.pid, one_by_one, ALONE)
    share, times = ratio(taken, "bare", "ours"), ratio(taken, "alone", "ours")
    ours, bare_rate, single = (1 / statistics.median(taken[what]) for what in ("ours", "bare", "alone"))
    said = f"{ours:,.0f} rows in batches of {BATCH}"
    return [
        Figure(
            "intake of outcomes with validation", said,
            f"without validation: {bare_rate:,.0f}; median ratio {share:.2f}", ">= 0.67 of it",
            share >= 2 / 3,
        ),
        Figure(
            "batched intake", said, f"one row a request: {single:,.0f}; median ratio {times:.0f}",
            ">= 50x one-row requests", times >= 50,
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    os.environ[identity.VARIABLE] = serving.KEY
    with temporary_store() as store:
        adopted(store)
        agent, observer = (serving.token(store, role) for role in (Role.AGENT, Role.OBSERVER))
        with serving.served(store.url) as server, bare(store) as floor:
            requests = 50 if quick else 3_000
            for pid in (server.process.pid, floor[1]):
                idle(pid)
            tell([evaluation(server, floor, observer, "looking", requests)])
            tell([evaluation(server, floor, agent, "entering a run", requests // 2)])
            tell(intake(store, server, floor, agent, 1 if quick else 20))


if __name__ == "__main__":
    main()
