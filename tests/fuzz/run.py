"""`make fuzz`: 100,000 spoilt bodies, and schemathesis over every route with every role's token.

Each runs against `lastgood serve` in a process of its own over a store of its own. schemathesis is installed
into .fuzz/venv, beside nothing else. What is held: no answer of 500, none later than a second, no change of
state that the table of roles forbids. Prints lines of what it found; ends with 1 where a promise is broken.

A body whose answer took a second is sent again: one that is slow by itself is slow each time, one that met a
busy machine is not. How long the server computed for it (CPU time of the process) is told beside it.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lastgood import control, registry  # noqa: E402  found by the line above
from lastgood.bundle import Bundle, Part  # noqa: E402
from lastgood.roles import ALLOWED, Act, Role  # noqa: E402
from lastgood.store.connection import Store  # noqa: E402
from lastgood.store.engine import upgrade  # noqa: E402
from tests import serving  # noqa: E402
from tests.fuzz import bodies  # noqa: E402
from tests.serving import AGENT, Client, Served, cpu_s  # noqa: E402

VENV = ROOT / ".fuzz" / "venv"
SCHEMATHESIS = "schemathesis==4.32.5"
#: names without which hardly a request would get past the door; it reads this where it is run
KNOWN = f"""[parameters]
"path.agent" = "{AGENT}"
"path.key" = "{AGENT}"
"query.environment" = "production"
"""
#: a batch of one line, for the library that knows no JSON lines
LINES = """import json
import schemathesis

@schemathesis.serializer("application/jsonl", "application/x-ndjson")
def as_line(_context, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()
"""
PARTS = ("prompt", "model", "tools", "memory", "policy")
#: tables that a role changes only by an act of the table
GUARDED = {
    "control_point": {Act.REVERT, Act.RESUME, Act.START, Act.PROMOTE, Act.APPROVE},
    "release": {Act.REVERT, Act.START, Act.APPROVE, Act.PROMOTE},
    "stop": {Act.REVERT, Act.RESUME},
    "quarantine": {Act.PROMOTE, Act.REVERT}, "approval": {Act.APPROVE, Act.START},
    "run": {Act.RECORD}, "outcome": {Act.RECORD}, "late_report": {Act.RECORD}, "event": {Act.RECORD},
    "action": {Act.RECORD}, "bundle": set(), "policy": set(), "access_token": set(),
}  # fmt: skip


@contextmanager
def service(given: str | None = None) -> Iterator[tuple[Store, Served]]:
    """A service over a store with an adopted agent: an empty database's URL that is given, else SQLite."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lastgood-fuzz-", dir=memory) as folder:
        url = given or f"sqlite:///{Path(folder) / 'lastgood.db'}"
        upgrade(url)
        store = Store(url)
        for text in ("a", "b"):
            made = Bundle([Part.of_value(kind, "1", text) for kind in PARTS])
            bundle = registry.register(store, AGENT, made, author="ann")[0].bundle.id
            if text == "a":
                control.adopt(store, AGENT, "production", bundle, actor="ann", reason="it serves")
        log = Path(folder) / "service.log"
        with serving.served(url, log) as server:
            yield store, server
        for said in failures(log.read_text(errors="replace")):
            say(f"  the service's log: {said}")
        store.close()


def failures(log: str) -> Counter[str]:
    """The last lines of each traceback in a log, with the place in our code that it came from."""
    found: Counter[str] = Counter()
    for piece in log.split("Traceback (most recent call last)")[1:]:
        places = re.findall(r'File "[^"]*(lastgood/[^"]+)", line (\d+)', piece)
        error = re.findall(r"^(\w[\w.]*(?:Error|Exception|Group)\w*:.*)$", piece, re.MULTILINE)
        found[f"{error[0][:200] if error else '?'} at {':'.join(places[-1]) if places else '?'}"] += 1
    return found


@dataclass
class Sent:
    """What became of spoilt bodies."""

    seen: Counter[int] = field(default_factory=Counter)
    #: seconds until each answer, and the CPU seconds of the server for it
    taken: list[tuple[float, float]] = field(default_factory=list)
    #: how often an answer took a second or longer, and seconds of the quickest of three more tries
    late: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def send(server: Served, token: str, draw: random.Random, number: int, found: Sent) -> None:
    """Send spoilt bodies one after the other over one connection."""
    client, pid = Client(server.port, token), server.process.pid

    def run() -> tuple[str, str]:
        status, said = client.post(f"/v1/agents/{AGENT}/runs", {"unit": f"{draw.random()}"})
        return (said["run"], said["token"]) if status == 200 else ("run_x", "x")

    def once(path: str, body: bytes) -> tuple[int, float, float]:
        began, cpu = time.monotonic(), cpu_s(pid)
        status, _ = client.ask("POST", path, body)
        return status, time.monotonic() - began, cpu_s(pid) - cpu

    for path, body in bodies.every(draw, number, run):
        try:
            status, took, computed = once(path, body)
            if took >= 1:
                found.late.append(min(once(path, body)[1] for _ in range(3)))
        except OSError as error:
            found.broken.append(f"{path}: {error!r}: {body[:200]!r}")
            continue
        found.taken.append((took, computed))
        found.seen[status] += 1
        if status >= 500 or (took >= 1 and found.late[-1] >= 1):
            found.broken.append(f"{path}: {status} after {took:.2f} s: {body[:200]!r}")
    client.close()


def spoilt(number: int, seed: int, url: str | None) -> bool:
    """Send so many spoilt bodies, by turns as an agent and as an approver."""
    found, draw = Sent(), random.Random(seed)
    with service(url) as (store, server):
        held = [serving.token(store, role) for role in (Role.AGENT, Role.APPROVER)]
        began = time.monotonic()
        for turn in range(0, number, 500):
            send(server, held[turn // 500 % 2], draw, min(500, number - turn), found)
        took, alive = time.monotonic() - began, Client(server.port).ask("GET", "/health")[0] == 200
        memory = server.memory_kb() / 1e3
    slowest, computed = max(found.taken), max(each[1] for each in found.taken)
    say(f"bodies: {found.seen.total()} in {took:.0f} s, answers {dict(found.seen)}, slowest "
        f"{slowest[0] * 1e3:.0f} ms (of that computing {slowest[1] * 1e3:.0f} ms), most computing "
        f"{computed * 1e3:.0f} ms, a second or longer {len(found.late)} (sent again: "
        f"{max(found.late, default=0) * 1e3:.0f} ms at most), memory {memory:.0f} MB, broken promises "
        f"{len(found.broken)}, load {os.getloadavg()[0]:.0f}")  # fmt: skip
    for line in found.broken[:20]:
        say(f"  {line}")
    return alive and not found.broken


def prepare() -> Path | None:
    """The command of schemathesis, installed where it is missing; None where it can't be."""
    command = VENV / "bin" / "schemathesis"
    if command.exists():
        return command
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", SCHEMATHESIS]
    for each in ([sys.executable, "-m", "venv", str(VENV)], pip):
        if subprocess.run(each, check=False).returncode != 0:
            return None
    return command


def standing(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """All that a request could have changed."""
    with store.reading() as txn:
        return {
            name: [tuple(dict(row).values()) for row in txn.all(f"SELECT * FROM {name}")] for name in GUARDED
        }


def schema(examples: int, whose: list[str]) -> bool:
    """Run schemathesis without a token, with a wrong one, and with each role's, or for those named."""
    command, well = prepare(), True
    if command is None:
        say("schemathesis: NOT RUN: it can't be installed here")
        return False
    (VENV.parent / "schemathesis.toml").write_text(KNOWN, encoding="ascii")
    (VENV.parent / "as_lines.py").write_text(LINES, encoding="ascii")
    for who in (None, "wrong", *Role):
        if whose and str(who or "no") not in whose:
            continue
        with service() as (store, server):
            token = serving.token(store, who) if isinstance(who, Role) else "lgt_000000000000_" + "A" * 43
            before = standing(store)
            url = f"http://127.0.0.1:{server.port}"
            given = [] if who is None else ["-H", f"Authorization: Bearer {token}"]
            asked = [
                *(str(command), "run", f"{url}/openapi.json", *given, "--no-color"),
                *(
                    "--checks",
                    "not_a_server_error",
                    "--max-examples",
                    str(examples),
                    "--max-response-time",
                    "5",
                ),
                *("--exclude-path", "/ofrep/v1/stream", "--suppress-health-check", "all"),
            ]
            hooked = {**os.environ, "SCHEMATHESIS_HOOKS": "as_lines", "PYTHONPATH": str(VENV.parent)}
            ran = subprocess.run(
                asked, cwd=VENV.parent, env=hooked, capture_output=True, text=True, check=False, timeout=3_600
            )
            after = standing(store)
            may = ALLOWED[who] if isinstance(who, Role) else frozenset()
            changed = {name for name in GUARDED if before[name] != after[name]}
            forbidden = {name for name in changed if not GUARDED[name] & may}
            alive = Client(server.port).ask("GET", "/health")[0] == 200
        tail = [
            line
            for line in ran.stdout.splitlines()
            if "passed" in line or "failed" in line or "generated" in line
        ]
        say(f"schemathesis with {who or 'no'} token: status {ran.returncode}, "
            f"{'; '.join(tail[-3:]).strip()}; "
            f"changed {sorted(changed)}, of that forbidden {sorted(forbidden)}")  # fmt: skip
        if ran.returncode or forbidden or not alive:
            well = False
            say(ran.stdout[-3_000:] + ran.stderr[-1_000:])
    return well


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run both; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["bodies", "schema", []], help="default: both")
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="what the bodies are drawn from")
    parser.add_argument("--store", help="URL of an empty Postgres database for the bodies; default: SQLite")
    parser.add_argument("--examples", type=int, default=50, help="of schemathesis, for each route")
    parser.add_argument("--whose", nargs="*", default=[], help="no, wrong, or roles; default: all")
    given = parser.parse_args()
    what = given.what or ["bodies", "schema"]
    held = [spoilt(given.bodies, given.seed, given.store)] if "bodies" in what else []
    held += [schema(given.examples, given.whose)] if "schema" in what else []
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
