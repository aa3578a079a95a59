"""How soon the last of 32 routers on this host sees a durable switch, beside Redis pub/sub; and whether any
decision that was begun after a commit had returned serves what the commit switched away.

Two figures say "sees". Until when any process goes on to begin decisions by what was left: the word is there
for every decision that begins after the commit. And how soon all 32 have been woken and have decided anew,
which is how soon these CPUs come to run 32 processes. Each decides a hundred times a second, and at once when
the commit has returned, as for a request that comes at the worst moment. Redis subscribers have the same
requests and decide as often (a bare hash); beside that each hears in a thread, as redis-py gives one
(`run_in_thread`), and has seen a switch as soon as that thread was told, whether it decided or not. They take
turns, so that neither disturbs the other.
"""

import argparse
import json
import mmap
import multiprocessing
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from measuring import ENVIRONMENT, Figure, adopted, percentile, served, tell, temporary_store

from lastgood import control
from lastgood.decision import Reason
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

AGENT = "switched"
PAUSED, ROUTING, DONE = 0, 1, 2
#: words of the board: what to do, the epoch to see, the epoch asked for; then for each process what it saw
#: last, and when (ns)
HEAD = 8


class Board:
    """Numbers that the processes share."""

    def __init__(self, path: Path, processes: int) -> None:
        size = (HEAD + 2 * processes) * 8
        with path.open("ab") as made:
            made.truncate(size)
        with path.open("r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), size)).cast("Q")
        self.processes = processes

    def saw(self, number: int, what: int, at_ns: int) -> None:
        """A process saw something."""
        self.words[HEAD + 2 * number + 1] = at_ns
        self.words[HEAD + 2 * number] = what

    def last(self, numbers: range, what: int) -> int | None:
        """When the last of some processes saw it; None while one has not."""
        if any(self.words[HEAD + 2 * n] < what for n in numbers):
            return None
        return max(self.words[HEAD + 2 * n + 1] for n in numbers)


def route(url: str, board: Board, number: int, log: Path, requests: int) -> None:
    """A router's process: decide, and note the last decision begun under each epoch.

    It has seen a switch when a decision no longer is what it was before: first the baseline, as the control
    point was moved, and soon after, once that was read, whatever is served under the new epoch.
    """
    decide = Serving(Store(url), AGENT, ENVIRONMENT).router.route
    last: dict[tuple[int, bool], int] = {}
    made = noticed = served_since = 0
    board.saw(number, 1, 0)
    while board.words[0] != DONE:
        if board.words[0] == PAUSED:
            time.sleep(0.02)
            continue
        expected, began = board.words[1], time.monotonic_ns()
        decision = decide("unit")
        at, moved = time.monotonic_ns(), decision.reason is Reason.MOVED
        made += 1
        if noticed != expected and (moved or decision.epoch >= expected):
            noticed = expected
            board.saw(number, expected, at)
        if not moved:
            last[decision.epoch, decision.arm == "candidate"] = began
            if served_since != expected and decision.epoch >= expected:
                served_since = expected
                board.saw(2 * board.processes // 3 + number, expected, at)
        if noticed == expected and board.words[2] == expected:
            time.sleep(0.01)  # answered: the request lies there until the last has seen it
        else:
            select.select([requests], [], [], 0.01)
    log.write_text(json.dumps({"made": made, "last": [[*key, at] for key, at in last.items()]}))


def subscribe(port: int, board: Board, number: int, log: Path, requests: int) -> None:
    """A Redis subscriber's process: a thread hears of switches, and requests are decided by what it heard."""
    import redis

    what = 1
    salted = blake2b(b"switch", digest_size=8)
    last: dict[int, int] = {}
    made = 0

    def hear(message: dict[str, bytes]) -> None:
        nonlocal what
        what = int(message["data"])
        board.saw(number, what, time.monotonic_ns())

    pubsub = redis.Redis(port=port).pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(switch=hear)
    hearing = pubsub.run_in_thread(sleep_time=1.0, daemon=True)
    board.saw(number, 1, 0)
    while board.words[0] != DONE:
        if board.words[0] == ROUTING:
            time.sleep(0.02)
            continue
        asked_for = board.words[2]
        began, known = time.monotonic_ns(), what
        hashed = salted.copy()
        hashed.update(b"unit")
        hashed.digest()
        made, last[known] = made + 1, began
        if asked_for:
            time.sleep(0.01)  # answered, as above, by what was known; the thread may hear meanwhile
        else:
            select.select([requests], [], [], 0.01)
    hearing.stop()
    log.write_text(json.dumps({"made": made, "last": [[known, False, at] for known, at in last.items()]}))


def waited(board: Board, numbers: range, what: int) -> int:
    """When the last process saw it."""
    until = time.monotonic() + 60
    while (at := board.last(numbers, what)) is None:
        if time.monotonic() > until:
            raise SystemExit(f"{what} was not seen by everybody within a minute")
        time.sleep(0.001)
    return at


@contextmanager
def redis_server(folder: Path):
    """A Redis of our own that commits as durably: its port, or None where there is none."""
    program = shutil.which("redis-server")
    with suppress(ImportError):
        import redis
    if program is None or "redis" not in sys.modules:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    server = subprocess.Popen(
        [program, *settings, "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL
    )
    try:
        client = redis.Redis(port=port)
        for _ in range(100):
            with suppress(redis.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def switch(store: Store, number: int) -> tuple[int, int, int]:
    """Move the point once; return when that began, when it returned, and the epoch."""
    move = control.clear if number % 2 else control.kill
    began = time.monotonic_ns()
    point = move(store, AGENT, ENVIRONMENT, actor="bench", reason="measure")
    return began, time.monotonic_ns(), point.epoch


def stale(logs: list[Path], returned: dict[int, int]) -> tuple[int, list[list[float]]]:
    """Decisions made; for each switch how late each process began one by what had been left, if it did.

    Milliseconds from when the switch had returned to the last such decision.
    """
    made, late = 0, {epoch: list[float]() for epoch in returned}
    for log in logs:
        told = json.loads(log.read_text())
        made += told["made"]
        for epoch, _, began in told["last"]:
            if began > returned.get(epoch + 1, began):
                late[epoch + 1].append((began - returned[epoch + 1]) / 1e6)
    return made, list(late.values())


def measure(processes: int, switches: int, blocks: int) -> list[Figure]:
    """Switch, by turns with Redis."""
    with tempfile.TemporaryDirectory() as name, temporary_store() as store, redis_server(Path(name)) as port:
        folder = Path(name)
        adopted(store)
        served(store, [AGENT], 10_000)
        board = Board(folder / "board", 3 * processes)
        ours, theirs, renewed = (range(n * processes, (n + 1) * processes) for n in range(3))
        logs, told = ([folder / f"{n}.json" for n in numbers] for numbers in (ours, theirs))
        store.close()
        fork = multiprocessing.get_context("fork")  # 64 interpreters would take a minute to start
        asked, ask = os.pipe()  # one request for all: what brings it is not what is measured
        children = [
            fork.Process(target=route, args=(store.url, board, n, logs[n], asked), daemon=True) for n in ours
        ]
        if port is not None:
            children += [
                fork.Process(target=subscribe, args=(port, board, n, told[n - processes], asked), daemon=True)
                for n in theirs
            ]
        for child in children:
            child.start()
        waited(board, ours, 1)
        waited(board, theirs, 1) if port is not None else None
        after, whole, anew, redis_after, redis_whole = [], [], [], [], []
        returned: dict[int, int] = {}
        redis_returned: dict[int, int] = {}
        for block in range(blocks):
            board.words[0] = ROUTING
            time.sleep(0.1)
            for number in range(switches // blocks):
                began, done, epoch = switch(store, number)
                returned[epoch] = done
                board.words[1] = epoch
                board.words[2] = epoch
                os.write(ask, b"?")
                at = waited(board, ours, epoch)
                os.read(asked, 1)
                board.words[2] = 0
                after.append((at - done) / 1e6)
                whole.append((at - began) / 1e6)
                anew.append((waited(board, renewed, epoch) - done) / 1e6)
            board.words[0] = PAUSED
            time.sleep(0.1)
            if port is not None:
                numbers = range(2 + block * (switches // blocks), 2 + (block + 1) * (switches // blocks))
                publish(port, board, theirs, numbers, (asked, ask), redis_after, redis_whole, redis_returned)
        board.words[0] = DONE
        for child in children:
            child.join(timeout=60)
        made, wrong = stale(logs, returned)
        theirs_wrong = stale(told, redis_returned)[1] if port is not None else []
    counted = (made, wrong, theirs_wrong)
    return figures(processes, (after, whole, anew), (redis_after, redis_whole), counted)


def publish(
    port: int,
    board: Board,
    theirs: range,
    numbers: range,
    request: tuple[int, int],
    after: list[float],
    whole: list[float],
    returned: dict[int, int],
) -> None:
    """Switch by Redis: write durably, then tell the subscribers."""
    import redis

    client = redis.Redis(port=port)
    for what in numbers:
        began = time.monotonic_ns()
        client.set("switch", what)
        done = time.monotonic_ns()
        returned[what] = done
        client.publish("switch", what)
        board.words[2] = what
        os.write(request[1], b"?")
        at = waited(board, theirs, what)
        os.read(request[0], 1)
        board.words[2] = 0
        after.append((at - done) / 1e6)
        whole.append((at - began) / 1e6)


def figures(
    processes: int,
    ours: tuple[list[float], list[float], list[float]],
    theirs: tuple[list[float], list[float]],
    counted: tuple[int, list[list[float]], list[list[float]]],
) -> list[Figure]:
    """Put it into words."""
    (after, whole, anew), (redis_after, redis_whole), (made, late, redis_late) = (ours, theirs, counted)
    mine, all_of_it = statistics.median(after), statistics.median(whole)
    name = f"the last of {processes} processes sees a durable switch"
    found = [
        Figure(
            name,
            f"median {mine:.1f} ms, p99 {percentile(after, 0.99):.1f} ms",
            "from when the commit returned",
            "median <= 5 ms",
            mine <= 5,
        ),
        Figure(
            "the same with the commit itself",
            f"median {all_of_it:.1f} ms, p99 {percentile(whole, 0.99):.1f} ms",
        ),
        Figure(
            "the last has read the store again, and serves under the new epoch",
            f"median {statistics.median(anew):.1f} ms, p99 {percentile(anew, 0.99):.1f} ms",
            "from when the commit returned; spread over 20 ms, the baseline until then",
        ),
        Figure(
            "decisions begun after a commit returned that serve what was left",
            f"{sum(map(len, late))} of {made:,}, over {len(late):,} switches",
            f"Redis pub/sub: {sum(map(len, redis_late)):,} times a process began one" if redis_after else "",
            "0",
            not any(late),
        ),
    ]
    if not redis_after:
        return [
            *found,
            Figure(name, "not measured", "Redis pub/sub: there is no redis-server on PATH", "<= 0.5x"),
        ]
    other, other_whole = statistics.median(redis_after), statistics.median(redis_whole)
    left, redis_left = ([max(each, default=0.0) for each in lates] for lates in (late, redis_late))
    return [
        *found,
        Figure(
            f"until when any of {processes} processes goes on to begin decisions by what was left",
            f"p99 {percentile(left, 0.99):.1f} ms, at most {max(left):.1f} ms after the commit returned",
            f"Redis pub/sub: p99 {percentile(redis_left, 0.99):.1f} ms, at most {max(redis_left):.1f} ms",
        ),
        Figure(
            f"{name}: each was woken and has decided anew",
            f"{mine / other:.2f}x (Redis: median {other:.1f} ms)",
            "Redis pub/sub in the same run, from when SET returned",
            "<= 0.5x",
            mine / other <= 0.5,
        ),
        Figure(
            "the same with the commit itself",
            f"{all_of_it / other_whole:.2f}x (Redis: median {other_whole:.1f} ms)",
            "appendfsync always",
        ),
    ]


def main() -> None:
    """Measure and tell, or be one of the processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--quick", action="store_true", help="few processes and switches: to see that it runs"
    )
    quick = parser.parse_args().quick
    tell(measure(2, 8, 2) if quick else measure(32, 1_000, 10))


if __name__ == "__main__":
    main()
