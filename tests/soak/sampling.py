"""Samples of what is held: memory, files and threads of each process, connections, rows, bytes; and CPU."""

import contextlib
import os
import threading
import time
from collections import defaultdict
from pathlib import Path

import psycopg

from tests.flows.load.run import cpu_s
from tests.soak.stack import Stack
from tests.soak.trends import Series, longest

EVERY_S = 15.0
#: tables whose rows retention deletes, and those that keep a row of each release, bundle or move for good
PRUNED = (
    "run", "outcome", "late_report", "event", "action", "entry", "conversation", "tally", "sealed_tally",
    "block", "look", "stage", "evidence", "unit_seen", "block_counter", "ledger", "notice", "delivery",
    "compensation", "quarantine_item",
)  # fmt: skip
KEPT = (
    "bundle", "bundle_part", "part", "policy", "release", "served", "quarantine", "incident", "watch",
    "ledger_anchor", "control_point", "reservation", "cap_use", "refusal", "beat",
)  # fmt: skip
_CONNECTIONS = """
SELECT datname, count(*) AS n, count(*) FILTER (WHERE state LIKE 'idle in%') AS idle FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname IN ('store', 'prefect') GROUP BY 1
"""


def _status(pid: int) -> dict[str, float]:
    """Memory in MB, files and threads of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    return {
        "memory": int(said["VmRSS"].split()[0]) / 1e3,
        "files": len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208  a count is wanted
        "threads": int(said["Threads"]),
    }


UNITS = {"memory": "MB", "files": "files", "threads": "threads"}


class Sampler:
    """Samples in a thread of its own, a connection of its own."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._began = stack, time.monotonic()
        #: by part, its process and what is measured
        self._held: dict[tuple[str, int, str], list[tuple[float, float]]] = defaultdict(list)
        self._database: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        self._cpu: dict[int, float] = {}
        #: CPU seconds by part
        self.cpu: dict[str, float] = defaultdict(float)
        self.loads: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-sampler")
        self.broken: list[Exception] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end."""
        self._stopping.set()
        self._thread.join(60)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  told at the end
                self.broken.append(error)
            if self._stopping.wait(EVERY_S):
                return

    def _look(self) -> None:
        self.loads.append(os.getloadavg()[0])
        for name, pids in self._stack.long_lived().items():
            with contextlib.suppress(OSError, KeyError, IndexError):  # it ended meanwhile
                each = [_status(pid) for pid in pids]
                for what in UNITS:
                    point = (self.now_s, sum(found[what] for found in each))
                    self._held[name, pids[0], what].append(point)
                self._count_cpu(name, pids[0])
        self._count_cpu("Postgres", self._stack.database.process.pid)
        self._count_cpu("this script", os.getpid(), alone=True)
        with contextlib.suppress(psycopg.Error):  # it is being restarted
            self._ask()

    def _count_cpu(self, name: str, pid: int, *, alone: bool = False) -> None:
        """CPU of a process and all that it started; of this script its own."""
        used = time.process_time() if alone else cpu_s(pid)
        self.cpu[name] += max(0.0, used - self._cpu.get(pid, used if name == "this script" else 0.0))
        self._cpu[pid] = used

    def _ask(self) -> None:
        now_s = self.now_s
        url = self._stack.database.of("store")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as held:
            seen = {row[0]: row[1:] for row in held.execute(_CONNECTIONS)}
            for database in ("store", "prefect"):
                n, idle = seen.get(database, (0, 0))
                self._database[f"connections to {database}", "connections"].append((now_s, n))
                self._database[f"idle in a transaction, {database}", "connections"].append((now_s, idle))
                size = held.execute("SELECT pg_database_size(%s)", (database,)).fetchone()[0]
                self._database[f"bytes of {database}", "MB"].append((now_s, size / 1e6))
            for table in (*PRUNED, *KEPT):
                n = held.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                self._database[f"rows of {table}", "rows"].append((now_s, n))

    def held(self, what: str) -> list[Series]:
        """One figure of each part: of the process of it that lived longest."""
        parts: dict[str, list[Series]] = defaultdict(list)
        for (name, _, each), points in self._held.items():
            if each == what:
                parts[name].append(Series(name, UNITS[what], tuple(points)))
        return [longest(found) for _, found in sorted(parts.items())]

    def database(self, name: str) -> Series:
        """One figure of the database."""
        for (found, unit), points in self._database.items():
            if found == name:
                return Series(name, unit, tuple(points))
        return Series(name, "", ())
