"""F17 over HTTP: a service stopped, killed and flooded, and half bodies: no acknowledged row is lost."""

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from common import AGENT, ENVIRONMENT, Line, Place, adopted, main, number, opened, rows, shown, store_at

from lastgood import control
from lastgood.roles import Role
from tests import serving
from tests.serving import Client, Served

RUNS, OUTCOMES = (f"/v1/agents/{AGENT}/{noun}" for noun in ("runs", "outcomes"))
CALM, BURST = 2, 20
#: outcomes of a batch
BATCH = 5
_KEPT = "SELECT id, outcome.run_id AS ended FROM run LEFT JOIN outcome ON outcome.run_id = run.id"


class Load:
    """Clients that enter runs and report them; what was acknowledged to them."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self.runs: set[str] = set()
        self.ended: set[str] = set()
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def more(self, clients: int) -> None:
        """Let so many clients more at it."""
        for _ in range(clients):
            work = threading.Thread(target=self._work, args=(len(self._threads),), daemon=True)
            self._threads.append(work)
            work.start()

    def stop(self) -> None:
        """End them all."""
        self._stop.set()
        for each in self._threads:
            each.join(60)

    def _work(self, tag: int) -> None:
        client, pending, turn = Client(self._port, self._token, timeout_s=5), [], 0
        while not self._stop.is_set():
            turn += 1
            try:
                status, said = client.post(RUNS, {"unit": f"{tag}-{turn}", "run": f"{tag}-{turn}"})
                self.answers[str(status)] += 1
                if status == 200:
                    self.runs.add(said["run"])
                    pending.append({"run": said["run"], "token": said["token"], "validated": True})
                if len(pending) >= BATCH:
                    self._report(client, pending)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.answers[type(error).__name__] += 1
                time.sleep(0.05)

    def _report(self, client: Client, pending: list[dict]) -> None:
        status, said = client.lines(OUTCOMES, pending)
        self.answers[str(status)] += 1
        if status == 200 and not said["refused"]:
            self.ended.update(each["run"] for each in pending)
            pending.clear()


def lost(store: object, load: Load) -> int:
    """How many acknowledged rows the store has not."""
    kept = rows(store, _KEPT)
    return len(load.runs - {row["id"] for row in kept}) + len(load.ended - {row["ended"] for row in kept})


def head(token: str, length: int) -> bytes:
    """The head of a batch of so many bytes."""
    return (
        f"POST {OUTCOMES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def halves(server: Served, token: str, number_of: int) -> list[str]:
    """Send half a batch over each of so many connections and go away; the runs that must stay open."""
    client, runs = Client(server.port, token), []
    for turn in range(number_of):
        while (found := client.post(RUNS, {"unit": f"half-{turn}", "run": f"half-{turn}"}))[0] != 200:
            time.sleep(0.05)
        said = found[1]
        line = json.dumps({"run": said["run"], "token": said["token"], "validated": True}).encode() + b"\n"
        runs.append(said["run"])
        with socket.create_connection(("127.0.0.1", server.port)) as held:
            held.sendall(head(token, len(line) * 2) + line)
    client.close()
    return runs


def slow(server: Served, token: str, number_of: int) -> list[socket.socket]:
    """Connections that have begun a request and go on a byte at a time."""
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(number_of)]
    for place, each in enumerate(held):
        each.sendall(head(token, 1_000)[: 40 + place] if place % 2 else head(token, 1_000) + b"{")
    return held


def stopped(place: Place, rounds: int, seconds: float) -> Line:
    """Everything at once, on one store."""
    os.environ["LASTGOOD_RUN_KEY"] = serving.KEY
    store = store_at(place.migrated())
    _, candidate = adopted(store)
    opened(store, candidate)
    token = serving.token(store, Role.AGENT)
    draw, took, stops, kills = random.Random(17), [], 0, 0
    with serving.served(store.url) as server:
        load = Load(server.port, token)
        load.more(CALM)
        time.sleep(seconds)
        load.more(BURST - CALM)
        time.sleep(seconds)
        half = halves(server, token, 20)
        trickling = slow(server, token, 40)
        began = time.monotonic()
        assert Client(server.port).ask("GET", "/health")[0] == 200
        health_s = time.monotonic() - began
        for turn in range(rounds):
            time.sleep(draw.uniform(0.1, 0.5))
            server.process.send_signal(signal.SIGSTOP)
            stops += 1
            if turn == 0:
                began = time.monotonic()
                control.rollback(store, AGENT, ENVIRONMENT, actor="ann", reason="it hangs")
                took.append(time.monotonic() - began)
            time.sleep(seconds / 2)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(draw.uniform(0.1, 0.5))
            server.end()  # SIGKILL, in the middle of whatever it does
            kills += 1
            server.begin()
        for each in trickling:
            with suppress(OSError):
                each.close()
        time.sleep(seconds)
        load.stop()
    after = number(store, "SELECT count(*) AS n FROM run WHERE arm = 'candidate' AND release_id IS NULL")
    ended = {row["ended"] for row in rows(store, _KEPT)}
    early = sum(run in ended for run in half)
    gone = lost(store, load)
    failed = Counter(
        {k: n for k, n in load.answers.items() if k.isdecimal() and int(k) >= 500 and k != "503"}
    )
    figure = (
        f"{len(load.runs)} runs and {len(load.ended)} outcomes acknowledged to {BURST} clients after {CALM}, "
        f"through {stops} SIGSTOP and {kills} SIGKILL: lost {gone}; of 20 half bodies written {early}; "
        f"beside 40 slow connections health in {health_s * 1e3:.0f} ms; a rollback while it was stopped "
        f"{took[0] * 1e3:.0f} ms; answers {dict(load.answers)}, of 500 {shown(failed)}"
    )
    holds = not gone and not early and not failed and not after and len(load.ended) > 0
    return Line(
        "F17", "the HTTP service stopped, killed, flooded tenfold, with half and slow bodies", figure, holds
    )


def run(place: Place, quick: bool) -> Iterator[Line]:
    """On one kind of store."""
    yield stopped(place, 1 if quick else 8, 0.5 if quick else 2.0)


if __name__ == "__main__":
    main(run, "F17")
