"""What `import lastgood` costs an agent, and how long `lastgood rollback` takes to its durable commit."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from measuring import ENVIRONMENT, Figure, adopted, tell, temporary_store


def cpu_s(code: str) -> float:
    """CPU seconds of a fresh interpreter that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def importing(rounds: int) -> Figure:
    """Measure the import beside a bare interpreter."""
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(cpu_s("pass"))
        ours.append(cpu_s("import lastgood"))
    more = statistics.median(b - a for a, b in zip(bare, ours, strict=True)) * 1_000
    return Figure(
        "CPU of `import lastgood`",
        f"{more:.0f} ms more",
        f"bare Python ({statistics.median(bare) * 1_000:.0f} ms)",
        "<= 150 ms",
        more <= 150,
    )


def rolling_back(rounds: int) -> list[Figure]:
    """Measure the command; it says when the commit had returned by ending."""
    walls, cpus = [], []
    with temporary_store() as store:
        first, second = adopted(store)
        environment = {
            **os.environ,
            "LASTGOOD_DATABASE": store.url,
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
        }
        program = [sys.executable, "-m", "lastgood.cli", "rollback", "support", "--reason", "measure"]
        for _ in range(rounds):
            with store.reading() as txn:
                from lastgood import points

                now = points.read(txn, "support", ENVIRONMENT).baseline
            other = second if now == first else first
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.monotonic()
            subprocess.run(
                [*program, "--to", other, "--vouch"], check=True, env=environment, stdout=subprocess.DEVNULL
            )
            walls.append((time.monotonic() - began) * 1_000)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpus.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1_000)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    return [
        Figure(
            "`lastgood rollback`, from process start to after its durable commit",
            f"median {wall:.0f} ms",
            f"of it {cpu:.0f} ms CPU; Prefect is down",
            "<= 400 ms",
            wall <= 400,
        )
    ]


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs")
    rounds = 2 if parser.parse_args().quick else 15
    tell([importing(rounds), *rolling_back(rounds)])


if __name__ == "__main__":
    main()
