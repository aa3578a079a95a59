"""`make load`: 20 releases at once on Postgres with two workers; writes its part of docs/prefect.md.

Real workers (`prefect worker start`) run each flow from a clone of the branch, as prefect.yaml says; an agent
process of 20 agents serves all the while. Afterwards every look, step and ledger is counted.
"""

import argparse
import contextlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402  found by the line above
import psycopg  # noqa: E402

from config.policy import Policy  # noqa: E402
from lastgood import control, ledger, registry  # noqa: E402
from lastgood.store.connection import Store  # noqa: E402
from lastgood.store.engine import upgrade  # noqa: E402
from tasks import policies  # noqa: E402
from tests import conftest as servers  # noqa: E402
from tests.faults.run import machine  # noqa: E402
from tests.tasks.conftest import make_bundle  # noqa: E402

RELEASES, WORKERS, LOOK_S = 20, 2, 10
AGENTS = [f"agent{number:02}" for number in range(RELEASES)]
#: two gates that open within the first minutes, and a third step that lasts until somebody ends it
POLICY = f"""
name: load
lost_after: 1 s
look_every: {LOOK_S} s
lease: 3 min
driver_timeout: 90 s
steps:
  - {{share: 10%, min_runs: 10, rule_out: 5}}
  - {{share: 30%, min_runs: 20, rule_out: 4}}
  - {{share: 50%, min_runs: 900000}}
guardrails: {{completion: {{margin: 5 points}}}}
alpha: {{revert: 0.001, promote: 0.05}}
horizon: {{runs: 1000000}}
reference: {{completion: 0.9}}
readiness: {{fewer: null, three_or_four: null, five_or_six: null}}
caps: {{spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}}
"""
#: what an agent process of all agents does: PACE runs a second of each
SERVE = """
import random, sys, time
import lastgood
agents, pace, number = sys.argv[2:], float(sys.argv[1]), 0
began = time.monotonic()
while True:
    for agent in agents:
        number += 1
        with lastgood.run(agent=agent, unit=f"u{number}") as run:
            run.report(completed=random.random() < 0.9)
        time.sleep(max(0.0, began + number / (pace * len(agents)) - time.monotonic()))
"""
PACE = 1.5
#: what a lock that was not had looks like in a log
LOCKED = re.compile(
    r"deadlock|could not serialize|lock timeout|database is locked|LockNotAvailable|too many clients|"
    r"remaining connection slots|StoreUnavailable|Traceback"
)
#: a look that began and proved nothing: lost, and its lease is not renewed
FAILED = re.compile(r"the look at \S+ failed and proves nothing")
OURS = ("look", "sealed_tally", "block", "ledger", "stage", "release", "control_point", "notice")
_PAGE = """## Twenty releases at once

Made by `make load` on {date}: {machine}, load {load} at the start. Prefect {prefect} and the store on one
Postgres {postgres} (fsync and autovacuum off), {workers} process workers that clone the branch for each run,
{releases} releases live for {minutes:.1f} minutes with a look every {look} s, an agent process that serves
{runs:.0f} runs a second in all.

| what | figure |
|---|---|
{rows}"""


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return [pid, *(each for child in children for each in tree(child))]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its descendants that live and those that were waited for."""
    total = 0.0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def run(environment: dict[str, str], line: str) -> str:
    """A line of a person's shell, in the checkout."""
    made = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise SystemExit(f"{line}\n{made.stdout}{made.stderr}")
    return made.stdout


def prepared(url: str) -> tuple[Store, dict[str, str]]:
    """A store with every agent adopted; the candidate of each."""
    upgrade(url)
    store, candidates = Store(url), {}
    for agent in AGENTS:
        old, new = (
            registry.register(store, agent, make_bundle(f"{agent} {text}"), author="ann")[0]
            for text in ("old", "new")
        )
        control.adopt(store, agent, "production", old.bundle.id, actor="ann", reason="it serves today")
        candidates[agent] = f"{new.bundle.short} {new.name}"  # as the form calls it
    policies.keep(store, Policy.load(POLICY), "ann")
    return store, candidates


def rows(store: Store, query: str) -> list[dict]:
    """Every row of a query."""
    with store.reading() as txn:
        return [dict(row) for row in txn.all(query)]


def wait_for(what, seconds: float, why: str):
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > until:
            raise SystemExit(f"it never came: {why}")
        time.sleep(1)
    return found


def measured(url: str, pids: dict[str, int]) -> dict[str, float]:
    """CPU seconds of each part, bytes of each database and of our own tables."""
    found = {f"cpu {name}": cpu_s(pid) for name, pid in pids.items()}
    base = url.rpartition("/")[0]
    with psycopg.connect(f"{base}/store", autocommit=True) as held:
        for name in ("prefect", "store"):
            found[f"bytes {name}"] = held.execute("SELECT pg_database_size(%s)", (name,)).fetchone()[0]
        for name in OURS:
            found[f"bytes table {name}"] = held.execute(
                "SELECT coalesce(pg_total_relation_size(to_regclass(%s)), 0)", (name,)
            ).fetchone()[0]
        found["runs"] = held.execute("SELECT count(*) FROM run").fetchone()[0]
    return found


def started(api: httpx.Client, candidates: dict[str, str]) -> None:
    """Start every release by the API, as the UI does."""
    deployment = api.get("/deployments/name/release/release").json()["id"]
    for agent, candidate in candidates.items():
        given = {"parameters": {"agent": agent, "candidate": candidate, "policy": "load"}}
        answer = api.post(f"/deployments/{deployment}/create_flow_run", json=given)
        answer.raise_for_status()


def counted(store: Store, from_us: int, until_us: int) -> dict[str, object]:
    """What the tables say of the releases: looks, gaps between them, steps, who drove, ledgers."""
    looks, gaps, lost, doubled, broken, drivers = 0, [], 0, 0, 0, Counter()
    for release in rows(store, "SELECT * FROM release"):
        seen = rows(store, f"SELECT * FROM look WHERE release_id = '{release['id']}' ORDER BY seq")
        lost += [row["seq"] for row in seen] != list(range(1, len(seen) + 1))
        times = [row["at_us"] for row in seen if from_us <= row["at_us"] <= until_us]
        looks += len(times)
        gaps += [(b - a) / 1e6 for a, b in itertools.pairwise(times)]
        actions = rows(store, f"SELECT action FROM ledger WHERE release_id = '{release['id']}' ORDER BY seq")
        told = Counter(row["action"] for row in actions)
        doubled += told["start"] != 1 or told["share"] > 3 or told["arm"] > 3 or told["revert"] > 1
        drivers["takeovers"] += told["takeover"] - 1
        drivers["lapses"] += told["lapse"]
        drivers["ended before"] += release["ended_us"] is not None and release["ended_us"] < until_us
        drivers[f"steps {release['step'] + 1}"] += 1
    for agent in AGENTS:
        try:
            ledger.verify(store, agent, "production")
        except Exception as error:  # noqa: BLE001  counted and shown
            broken += 1
            sys.stderr.write(f"{agent} {error!r}\n")
    return {
        "looks": looks, "gaps": sorted(gaps), "lost": lost, "doubled": doubled, "broken": broken,
        "drivers": drivers,
    }  # fmt: skip


def said(folder: Path, wanted: re.Pattern[str]) -> Counter:
    """What logs say of something, by log."""
    found: Counter = Counter()
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if match := wanted.search(line):
                found[f"{path.stem}: {match[0]}"] += 1
    return found


def table(before: dict, after: dict, facts: dict, hours: float, trouble: Counter) -> list[tuple[str, str]]:
    """The page's rows."""
    releases = RELEASES * hours
    per = {name: (after[name] - before[name]) / releases for name in after}
    gaps, drivers = facts["gaps"], facts["drivers"]
    due, late = releases * 3_600 / LOOK_S, sum(gap > 2 * LOOK_S for gap in gaps)
    steps = ", ".join(f"{n} at {name}" for name, n in sorted(drivers.items()) if name.startswith("steps"))
    cpu = ", ".join(f"{name[4:]} {value:.0f}" for name, value in per.items() if name.startswith("cpu"))
    ours = sum(value for name, value in per.items() if name.startswith("bytes table"))
    return [
        ("looks lost", f"{facts['failed']} failed, and a number is missing in {facts['lost']} releases"),
        ("looks written",
         f"{facts['looks']}, where {due:.0f} fit in; {late} came more than an interval late"),
        ("time between two looks", f"median {gaps[len(gaps) // 2]:.1f} s, longest {gaps[-1]:.1f} s"),
        ("releases with a step taken twice", f"{facts['doubled']} of {RELEASES} ({steps})"),
        ("ledgers that do not verify", str(facts["broken"])),
        ("takeovers, lapses, ended early",
         f"{drivers['takeovers']}, {drivers['lapses']}, {drivers['ended before']}"),
        ("lock errors in any log", str(trouble.total()) + (f" {dict(trouble)}" if trouble else "")),
        ("CPU-seconds a release-hour", cpu),
        ("Prefect's database a release-hour", f"{per['bytes prefect'] / 1e6:.2f} MB"),
        ("our tables of releases a release-hour", f"{ours / 1e6:.2f} MB"),
        ("the whole store a release-hour",
         f"{per['bytes store'] / 1e6:.2f} MB, with {per['runs']:.0f} runs of the agent in it"),
    ]  # fmt: skip


def written(page: str) -> None:
    """Put the part into docs/prefect.md in place of the one before."""
    path = ROOT / "docs" / "prefect.md"
    text = path.read_text("utf-8") if path.exists() else "# Prefect, measured\n\n"
    head, _, rest = text.partition("## Twenty releases at once")
    after = rest.partition("\n## ")
    tail = f"\n## {after[2]}" if after[1] else ""
    path.write_text(f"{head}{page}{tail}", encoding="utf-8")


def main() -> int:  # noqa: PLR0915  one story, told in order
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long all releases are live")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(
            dir=servers._memory(), prefix="lastgood-load-", ignore_cleanup_errors=True
        ) as room,
        tempfile.TemporaryDirectory(prefix="lastgood-load-logs-") as name,
        servers._started(Path(room), servers._bin(), "max_connections=400") as postgres,
        contextlib.ExitStack() as stack,
    ):
        folder, base = Path(name), postgres.url.rpartition("/")[0]
        with psycopg.connect(postgres.url, autocommit=True) as held:
            for database in ("prefect", "store"):
                held.execute(f"CREATE DATABASE {database}")
            version = held.execute("SHOW server_version").fetchone()[0].split()[0]
        store, candidates = prepared(f"{base}/store")
        port = servers._free_port()
        theirs = ("PREFECT_", "LASTGOOD_")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(theirs)}
        environment = clean | {
            "LASTGOOD_DATABASE": store.url,
            "LASTGOOD_REPOSITORY": f"file://{ROOT}",
            "LASTGOOD_BRANCH": run(clean, "git rev-parse --abbrev-ref HEAD").strip(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREFECT_API_DATABASE_CONNECTION_URL": f"{base}/prefect".replace(
                "postgresql:", "postgresql+asyncpg:"
            ),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        words = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
        server = stack.enter_context(servers._running(words, folder / "server.log", environment))
        servers._wait_until_healthy(environment["PREFECT_API_URL"], server, folder / "server.log")
        run(
            environment,
            "prefect work-pool create lastgood --type process && prefect --no-prompt deploy --all",
        )
        run(environment, "python -m flows install")
        words = [sys.executable, "-c", SERVE, str(PACE), *AGENTS]
        stack.enter_context(servers._running(words, folder / "agent.log", environment))
        pids = {"Prefect's server": server.pid, "Postgres": postgres.pid}
        for number in range(WORKERS):
            words = [sys.executable, "-m", "prefect", "worker", "start", "-p", "lastgood", "-n", f"w{number}"]
            log = folder / f"worker{number}.log"
            pids[f"worker {number + 1}"] = stack.enter_context(servers._running(words, log, environment)).pid
        with httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60) as api:
            started(api, candidates)
        alive = "SELECT count(*) AS n FROM release WHERE ended_us IS NULL AND state = 'compare'"
        wait_for(lambda: rows(store, alive)[0]["n"] == RELEASES, 420, "all releases compare")
        before, began, from_us = measured(store.url, pids), time.monotonic(), store.clock.now_us()
        while (left := began + given.minutes * 60 - time.monotonic()) > 0:
            time.sleep(min(30, left))
            sys.stdout.write(f"{left / 60:.1f} minutes left, load {os.getloadavg()[0]:.0f}\n")
            sys.stdout.flush()
        after, until_us = measured(store.url, pids), store.clock.now_us()
        hours = (time.monotonic() - began) / 3600
        facts = counted(store, from_us, until_us)
        for agent in AGENTS:
            control.rollback(store, agent, "production", actor="ann", reason="the measurement ends")
        ended = "SELECT count(*) AS n FROM release WHERE state = 'reverted'"
        assert rows(store, ended)[0]["n"] == RELEASES
        trouble, facts["failed"] = said(folder, LOCKED), said(folder, FAILED).total()
        (ROOT / ".ui").mkdir(exist_ok=True)
        for path in [*folder.glob("*.log"), Path(room) / "server.log"]:
            kept = ROOT / ".ui" / f"load-{path.parent.name[:13]}-{path.name}"
            kept.write_text(path.read_text(errors="replace"))
        trouble += said(Path(room), LOCKED)
        store.close()
    found = table(before, after, facts, hours, trouble)
    from importlib.metadata import version as of

    page = _PAGE.format(
        date=time.strftime("%Y-%m-%d", time.gmtime()), machine=machine(), load=f"{load:.0f}",
        prefect=of("prefect"), postgres=version, workers=WORKERS, releases=RELEASES, minutes=hours * 60,
        look=LOOK_S, runs=(after["runs"] - before["runs"]) / hours / 3600,
        rows="".join(f"| {what} | {figure} |\n" for what, figure in found),
    )  # fmt: skip
    sys.stdout.write(page)
    if given.minutes >= 10:
        written(page)
    failed = facts["failed"] or facts["lost"] or facts["doubled"] or facts["broken"] or trouble.total()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
