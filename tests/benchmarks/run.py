"""`make bench`: run the benchmarks of this folder one after another and write docs/benchmarks.md.

Each is a program of its own that prints figures as lines of JSON. They run in .bench/venv, which holds this
checkout and the flag SDKs of peers.txt and is made at the first time.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BENCH = ROOT / ".bench" / "venv"
PYTHON = BENCH / "bin" / "python"
#: this checkout with what the programs over HTTP need
OURS = ".[client,service]"
#: what each program is about, in the order of the page
PROGRAMS = {
    "routing": "Routing",
    "syscalls": "System calls",
    "switching": "Switches",
    "recording": "Recording",
    "reverting": "Reverting",
    "starting": "Starting",
    "over_http": "Over HTTP",
    "steady": "Memory of the service",
    "hearing": "Switches over LASTGOOD_URL",
}
_HEAD = """# Benchmarks

Measured by `make bench` on {date}: {machine}, load {load} at the start. Each figure stands
beside its floor or peer, measured in the same run by turns: ratios are medians over the rounds of CPU time,
and absolute times on a shared machine are noise. The programs are in tests/benchmarks.
"""


def prepare() -> bool:
    """Make the environment of the SDKs where it is missing or old; return whether it is there."""
    wanted = OURS + "".join(path.read_text() for path in (HERE / "peers.txt", ROOT / "pyproject.toml"))
    stamp = BENCH / ".installed"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return True
    print("bench: installing the SDKs of tests/benchmarks/peers.txt into .bench/venv", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", "constraints.txt"]
    commands = [[sys.executable, "-m", "venv", str(BENCH)], [*pip, "-e", OURS, "-r", str(HERE / "peers.txt")]]
    for command in commands:
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            print("bench: they can't be installed: what needs them is not measured", flush=True)
            return False
    stamp.write_text(wanted)
    return True


def figures(name: str, python: Path, more: list[str]) -> list[dict[str, object]]:
    """Run one program; return what it told."""
    command = [str(python), str(HERE / f"{name}.py"), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    if run.returncode != 0:
        found.append(
            {
                "what": name,
                "measured": f"failed with {run.returncode}",
                "beside": "",
                "target": "",
                "met": False,
            }
        )
    return found


def table(found: list[dict[str, object]]) -> str:
    """Write figures as a table."""
    said = {True: "yes", False: "**no**", None: ""}
    rows = [
        f"| {f['what']} | {f['measured']} | {f['beside']} | {f['target']} | {said[f['met']]} |" for f in found
    ]
    return "\n".join(["| what | measured | beside | target | met |", "|---|---|---|---|---|", *rows])


def machine() -> str:
    """Say what this ran on, without saying where."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cpus = os.cpu_count()
    return (
        f"{model or platform.machine()}, {cpus} CPUs, {platform.system()}, Python {platform.python_version()}"
    )


def main() -> None:
    """Run what is asked for; write the page when that is everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PROGRAMS, []], help="default: all, and write the page")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that they run")
    given = parser.parse_args()
    peers = prepare()
    date, load = time.strftime("%Y-%m-%d", time.gmtime()), f"{os.getloadavg()[0]:.1f}"
    page = [_HEAD.format(date=date, machine=machine(), load=load)]
    for name in given.names or PROGRAMS:
        more = ["--quick"] * given.quick + ["--floor"] * (name == "routing" and not peers)
        found = figures(name, PYTHON if peers else Path(sys.executable), more)
        page.append(f"\n## {PROGRAMS[name]}\n\n{table(found)}\n")
        print(page[-1], flush=True)
    if not given.names and not given.quick:
        (ROOT / "docs" / "benchmarks.md").write_text("".join(page))


if __name__ == "__main__":
    main()
