"""`make faults`: inject every fault of this folder and of tests/tasks/faults, and write docs/faults.md.

Each script is a program of its own that prints its lines as JSON; one whose promise does not hold, or that
breaks, makes the whole end with an error.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: the scripts, quickest first
PROGRAMS = (
    "schemas", "clocks", "tampered", "full_disk", "forged", "poisoned", "hung", "no_prefect", "cut_off",
    "racing", "served", "burst", "compensations", "planted_recovery", "starts", "prefect_kills",
    "crash_points",
)  # fmt: skip
#: those that pytest runs: what each is about
TESTED = {
    "F4": "evidence down, 500, slow, half JSON, NaN, infinite, empty, negative, future-dated",
    "F14": "the referee's digest changes in the middle of a release",
}
#: a figure of theirs, as tests/tasks/faults prints it
FIGURE = re.compile(r"^\.*(F\d+)(.*?): (\d+) cases, (.*)$")
#: cases of each
CASES = 10
_HEAD = """# Faults

Injected by `make faults` on {date}: {machine}, load {load} at the start,
{minutes:.0f} minutes in all. Each row is a real fault (a signal, a cut connection, a full disk, an edited
row) on a real store. The scripts are in tests/faults and tests/tasks/faults.

| fault | what was done | figure | holds | seconds |
|---|---|---|---|---|
"""
SAID = {True: "yes", False: "**no**", None: "not run"}
Line = dict[str, object]


def scripted(name: str, *, quick: bool) -> Iterator[Line]:
    """Run one script, line by line; a broken one is a line that does not hold."""
    began = time.monotonic()
    command = [sys.executable, str(HERE / f"{name}.py"), *["--quick"] * quick]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as ran:
        yield from (json.loads(line) for line in ran.stdout if line.startswith("{"))
    if ran.returncode != 0:
        yield line_of(name, "the script broke", f"exit status {ran.returncode}", False, began)


def line_of(fault: str, what: str, figure: str, holds: bool | None, began: float) -> Line:
    """A line that no script prints."""
    return {
        "fault": fault,
        "what": what,
        "figure": figure,
        "holds": holds,
        "seconds": time.monotonic() - began,
    }


def tested(*, quick: bool) -> Iterator[Line]:
    """Run the faults that are tests, each with many cases; one line a fault."""
    for fault, what in TESTED.items():
        began = time.monotonic()
        test = ROOT / "tests" / "tasks" / "faults" / f"test_f{int(fault[1:]):02}.py"
        environment = {**os.environ, "FAULT_CASES": "1" if quick else str(CASES)}
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(test)]
        ran = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        told = [
            match for line in ran.stdout.splitlines() if (match := FIGURE.match(line)) and match[1] == fault
        ]
        cases = sum(int(match[3]) for match in told)
        passed = sum(int(n) for match in told for n in re.findall(r"(?:promotes|accepted) (\d+)", match[4]))
        figure = f"{cases} cases in {len(told)} ways, promoted {passed}"
        yield line_of(fault, what, figure, ran.returncode == 0 and cases > 0 and passed == 0, began)


def row(line: Line) -> str:
    """A row of the page."""
    cells = (line["fault"], line["what"], line["figure"], SAID[line["holds"]], f"{line['seconds']:.0f}")
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |\n"


def machine() -> str:
    """Say what this ran on, without saying where."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return f"{model[1] if model else sys.platform}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}"


def main() -> int:
    """Run what is asked for; write the page when that is everything. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join((*PROGRAMS, 'tested'))}; default: all")
    parser.add_argument("--quick", action="store_true", help="few cases: to see that they run")
    given = parser.parse_args()
    began, load, found = time.monotonic(), os.getloadavg()[0], []
    for name in given.names or (*PROGRAMS, "tested"):
        lines = tested(quick=given.quick) if name == "tested" else scripted(name, quick=given.quick)
        for line in lines:
            sys.stdout.write(row(line))
            sys.stdout.flush()
            found.append(line)
    found.sort(key=lambda line: int(re.search(r"\d+|$", str(line["fault"]))[0] or 0))
    if not given.names and not given.quick:
        minutes, date = (time.monotonic() - began) / 60, time.strftime("%Y-%m-%d", time.gmtime())
        head = _HEAD.format(date=date, machine=machine(), load=f"{load:.1f}", minutes=minutes)
        (ROOT / "docs" / "faults.md").write_text(head + "".join(map(row, found)), encoding="utf-8")
    broken = [line for line in found if line["holds"] is False]
    sys.stdout.write(f"{len(found)} lines, {len(broken)} do not hold\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
