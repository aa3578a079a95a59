"""F5 and F6: the router is cut off from the store, and the store is locked for five seconds."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from common import AGENT, Line, Place, adopted, main, opened, percentile, store_at

import lastgood
from lastgood import agent as agents
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

fork = multiprocessing.get_context("fork")
#: seconds: how long the candidate may be served without a look, and how long the store is locked
LEASE_S, HELD_S = 3.0, 5.0
ROUNDS = 3


class Proxy:
    """A TCP proxy on loopback before a server; `cut` makes it a black hole that keeps connections open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()
        self.cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self.cut.is_set():
                    continue  # swallowed: nobody is told
                target.sendall(data)
        with contextlib.suppress(OSError):
            if not self.cut.is_set():
                target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Listen no more."""
        self.cut.set()
        self._listener.close()


@dataclass
class Seen:
    """What a router answered over a while."""

    #: decisions by arm, before the lease's end and after it
    within: Counter = field(default_factory=Counter)
    after: Counter = field(default_factory=Counter)
    errors: int = 0
    #: seconds of each decision
    took: list[float] = field(default_factory=list)


def watch(served: Serving, seconds: float, seen: Seen) -> None:
    """Route without a pause; sort what is answered by the lease that the router knew."""
    router, boot = served.router, served.store.clock.boot_us
    deadline_us, until = router.snapshot.lease_deadline_us, time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until:
        turn += 1
        asked_us, began = boot(), time.perf_counter()
        try:
            arm = router.route(f"u{turn}").arm
        except Exception:  # noqa: BLE001  none may come
            seen.errors += 1
            continue
        seen.took.append(time.perf_counter() - began)
        # a decision that began within the lease may end after it
        (seen.after if asked_us >= deadline_us else seen.within)[arm] += 1
        if turn % 50 == 0:
            time.sleep(0.002)  # others share this machine


def cut_off(place: Place, rounds: int, *, freeze: bool = False) -> Line:
    """F5: the last snapshot within the lease, the baseline after it; with `freeze` the server is stopped."""
    seen, runs, worst = Seen(), Counter(), 0.0
    for _ in range(rounds):
        store = store_at(place.migrated())
        _, candidate = adopted(store)
        opened(store, candidate, lease_us=int(LEASE_S * 1e6))
        proxy = Proxy(store.url) if place.server is not None and not freeze else None
        url = proxy.url if proxy is not None else store.url
        lastgood.configure(database=url)
        served = agents.serving(AGENT)
        served.router.route("first")
        time.sleep(0.3)  # until it listens
        served.router.route("second")
        with frozen(store) if freeze else hidden(store, proxy):
            agent = threading.Thread(target=lambda: runs.update([one_run()]))
            agent.start()
            watch(served, LEASE_S * 2, seen)
            began = time.monotonic()
            agent.join()
            runs[one_run()] += 1
            worst = max(worst, time.monotonic() - began)
    what = "TCP black hole before the server" if place.server is not None else "the store's folder moved away"
    what = "every process of the server stopped by SIGSTOP" if freeze else what
    figure = (
        f"{rounds} rounds, lease {LEASE_S:g} s: within it {dict(seen.within)}, after it {dict(seen.after)}; "
        f"candidate decisions after the lease {seen.after['candidate']}, errors {seen.errors}; "
        f"whole runs meanwhile: {dict(runs)}, within {worst:.1f} s"
    )
    served_on = seen.within["candidate"] > 0 and seen.after["baseline"] > 0
    holds = served_on and not seen.after["candidate"] and not seen.errors and set(runs) == {"baseline"}
    return Line("F5", what, figure, holds)


def one_run() -> str:
    """Make a whole run, as an agent does; its arm, or what it raised."""
    try:
        with lastgood.run(AGENT) as run:
            return run.arm
    except Exception as error:  # noqa: BLE001  the line tells
        return type(error).__name__


@contextlib.contextmanager
def hidden(store: Store, proxy: Proxy | None) -> Iterator[None]:
    """Make the store unreachable."""
    if proxy is not None:
        proxy.cut.set()
    else:
        store.close()
        folder = store.path.parent
        os.rename(folder, folder.with_name(f"{folder.name}-away"))  # noqa: PTH104  says what it does
    yield


@contextlib.contextmanager
def frozen(store: Store) -> Iterator[None]:
    """Stop a server of our own: its first process, and all that it started."""
    with store.reading() as txn:
        [mine] = txn.all("SELECT pg_backend_pid() AS pid")
        first = parent(mine["pid"])
    store.close()
    others = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    pids = [first, *(pid for pid in others if parent(pid) == first)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def parent(pid: int) -> int:
    """Id of the process that started another; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def holder(url: str, ready) -> None:
    """Hold the write lock for a while."""
    store = store_at(url)
    if store.path is None:
        import psycopg

        from lastgood.store.postgres import lock_key

        with psycopg.connect(url, autocommit=True) as held:
            held.execute("SELECT pg_advisory_lock(%s)", [lock_key()])
            held.execute("BEGIN; LOCK TABLE control_point, run, outcome, release IN ACCESS EXCLUSIVE MODE")
            ready.set()
            time.sleep(HELD_S)
        return
    held = sqlite3.connect(store.path, isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    ready.set()
    time.sleep(HELD_S)
    held.close()


def locked(place: Place, rounds: int) -> Line:
    """F6: `route` waits for nobody."""
    seen, runs, slowest = Seen(), Counter(), 0.0
    for _ in range(rounds):
        store = store_at(place.migrated())
        _, candidate = adopted(store)
        opened(store, candidate)
        lastgood.configure(database=store.url)
        served = agents.serving(AGENT)  # a process that never saw the store has no baseline to serve
        served.router.route("first")
        time.sleep(0.3)
        ready = fork.Event()
        other = fork.Process(target=holder, args=(store.url, ready))
        other.start()
        ready.wait(10)
        began, agent = time.monotonic(), threading.Thread(target=lambda: runs.update([one_run()]))
        agent.start()
        watch(served, HELD_S, seen)
        agent.join()
        slowest = max(slowest, time.monotonic() - began)
        other.join()
    p99, most = percentile(seen.took, 0.99) * 1e6, max(seen.took) * 1e3
    figure = (
        f"{rounds} x {HELD_S:g} s, {len(seen.took)} decisions: p99 {p99:.1f} us, slowest {most:.1f} ms, "
        f"errors {seen.errors}, {dict(seen.within)}; a whole run took up to {slowest:.1f} s: {dict(runs)}"
    )
    holds = not seen.errors and p99 < 1_000 and most < 250 and set(runs) <= {"baseline", "candidate"}
    return Line("F6", f"a lock holder keeps the store for {HELD_S:g} s", figure, holds)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both, on one kind of store; a server that somebody gave us is not stopped."""
    yield cut_off(place, 1 if quick else ROUNDS)
    if place.server is not None and not os.environ.get("LASTGOOD_TEST_POSTGRES"):
        yield cut_off(place, 1 if quick else ROUNDS, freeze=True)
    yield locked(place, 1 if quick else ROUNDS)


if __name__ == "__main__":
    main(run, "F5, F6")
