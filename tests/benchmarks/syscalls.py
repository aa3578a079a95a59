"""System calls of routing decisions, counted by strace in a process of their own.

Two counts of one program, with few and with many decisions: what the difference holds is what decisions cost.
A look at the epoch words' file, four times a second, is the only thing that may be in it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import ENVIRONMENT, Figure, served, tell, temporary_store

_PROGRAM = """
import sys, time
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
route = Serving(Store(sys.argv[1]), "counted", sys.argv[2]).router.route
route("unit")
units = [f"unit-{n}" for n in range(1_000)]
began = time.monotonic()
for number in range(int(sys.argv[3])):
    route(units[number % 1_000])
print(time.monotonic() - began)
"""


def counted(url: str, decisions: int, folder: Path) -> tuple[dict[str, int], float]:
    """Calls by name of a process that makes so many decisions, and the seconds that these took."""
    log = folder / "strace"
    command = ["strace", "-f", "-c", "-o", str(log), sys.executable, "-c", _PROGRAM, url, ENVIRONMENT]
    took = float(
        subprocess.run([*command, str(decisions)], check=True, capture_output=True, text=True).stdout
    )
    rows = (re.split(r"\s+", line.strip()) for line in log.read_text().splitlines()[2:])
    return {
        row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"
    }, took


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few decisions: to see that it runs")
    many = 20_000 if parser.parse_args().quick else 1_000_000
    what = "system calls of a routing decision"
    if shutil.which("strace") is None:
        tell([Figure(what, "not measured", "there is no strace on PATH", "none")])
        return
    with temporary_store() as store, tempfile.TemporaryDirectory() as name:
        served(store, ["counted"], 1_000)
        store.close()
        few, _ = counted(store.url, 1, Path(name))
        lots, took = counted(store.url, many + 1, Path(name))
    more = {call: lots.get(call, 0) - few.get(call, 0) for call in {*few, *lots}}
    extra = {call: count for call, count in more.items() if count > 0}
    total = sum(extra.values())
    # a look is two `stat`, four times a second; memory that Python takes or gives back is no decision's
    looks = int(2 * (4 * took + 2))
    allowed = looks + sum(extra.get(call, 0) for call in ("brk", "mmap", "munmap"))
    said = ", ".join(f"{call} {count}" for call, count in sorted(extra.items())) or "no call"
    tell(
        [
            Figure(
                what,
                f"{total} in {many:,} decisions ({said})",
                f"two for each look, four looks a second: {looks}",
                "none but the looks",
                total <= allowed,
            )
        ]
    )


if __name__ == "__main__":
    main()
