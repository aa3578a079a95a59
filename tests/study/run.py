"""`make study`: the operating characteristics of the rule by simulation, written to docs/study.md.

Results are kept under .study/results/, one file a scenario, every 25 replications: a study that was stopped
goes on where it stood. `--quick` draws a fortieth of the replications, into a table of its own;
`--check N` judges the first N stored ones of each scenario again.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from judging import judge
from peers import study_peers
from scenarios import SCENARIOS, Scenario
from table import write

ROOT = Path(__file__).parents[2]
#: replications between two writes
CHUNK = 25
#: what a whole study writes
TABLES = (ROOT / "docs" / "study.md", ROOT / "docs" / "study.json")


def version() -> str:
    """Which judge the results belong to."""
    files = [*sorted((ROOT / "evaluators").glob("*.py")), Path(__file__).with_name("scenarios.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def load(file: Path) -> dict[str, Any]:
    """What is known of a scenario so far."""
    if not file.exists():
        return {"version": version(), "cpu": 0.0, "rows": []}
    return json.loads(file.read_text("utf-8"))


def chunk(name: str, start: int, end: int) -> tuple[list[dict[str, Any]], float]:
    """Some replications of a scenario, and the CPU seconds that they took."""
    scenario = next(each for each in SCENARIOS if each.name == name)
    began = time.process_time()
    return [judge(scenario, i) for i in range(start, end)], time.process_time() - began


def study(scenarios: Sequence[Scenario], folder: Path, divisor: int, workers: int) -> None:
    """Fill every scenario's file up to its replications: a quarter of all first, for an early table."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        for part in (4, 1):
            for scenario in scenarios:
                wanted = max(10, scenario.replications // divisor // part)
                fill(pool, scenario, folder / f"{scenario.name}.json", wanted)


def fill(pool: ProcessPoolExecutor, scenario: Scenario, file: Path, wanted: int) -> None:
    """Judge the replications that a scenario's file lacks."""
    known = load(file)
    starts = range(len(known["rows"]), wanted, CHUNK)
    ends = [min(start + CHUNK, wanted) for start in starts]
    for rows, cpu in pool.map(chunk, [scenario.name] * len(ends), starts, ends):
        known["rows"] += rows
        known["cpu"] = round(known["cpu"] + cpu, 2)
        file.write_text(json.dumps(known), "utf-8")
        show = f"{scenario.name}: {len(known['rows'])}/{wanted}, {known['cpu']:.0f} s CPU"
        print(f"\r{show:<70}", end="\n" if len(known["rows"]) >= wanted else "", file=sys.stderr)


def check(scenarios: Sequence[Scenario], folder: Path, most: int, workers: int) -> list[str]:
    """Judge the first stored replications of each scenario again; names of those that come out otherwise.

    A stopped study goes on under the evaluators of its day: this tells which results these still stand for.
    """
    known = [(each, load(folder / f"{each.name}.json")["rows"][:most]) for each in scenarios]
    stored = [(each, rows) for each, rows in known if rows]
    names, ends = [each.name for each, _ in stored], [len(rows) for _, rows in stored]
    with ProcessPoolExecutor(workers) as pool:
        again = pool.map(chunk, names, [0] * len(ends), ends)
        return [
            name
            for name, (_, rows), (found, _) in zip(names, stored, again, strict=True)
            if json.loads(json.dumps(found)) != rows
        ]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fortieth of the replications, own table")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--table", action="store_true", help="only write the table of what is known")
    parser.add_argument("--check", type=int, default=0, metavar="N", help="only judge N stored ones again")
    parser.add_argument("--only", nargs="*", default=None, help="names of scenarios")
    asked = parser.parse_args()
    folder = ROOT / ".study" / ("quick" if asked.quick else "results")
    chosen = [each for each in SCENARIOS if asked.only is None or each.name in asked.only]
    divisor = 40 if asked.quick else 1
    if asked.check:
        changed = check(chosen, folder, asked.check, asked.workers)
        sys.exit(f"other results now: {', '.join(changed)}; delete their files" if changed else 0)
    if not asked.table:
        study(chosen, folder, divisor, asked.workers)
        if asked.only is None:
            study_peers(folder, divisor)
    write(folder, *((folder / "study.md", folder / "study.json") if asked.quick else TABLES))


if __name__ == "__main__":
    main()
