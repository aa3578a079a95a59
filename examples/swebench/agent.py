"""A coding agent whose work was recorded: it serves SWE-bench Pro tasks under whatever bundle it is given.

Run as a process of its own: `python -m examples.swebench.agent AGENT RUNS_PER_SECOND`. It ends when its
standard input closes, so that it never outlives whoever started it.
"""

import csv
import random
import sys
import threading
import time
from pathlib import Path

import lastgood

RECORDING = Path(__file__).parents[1] / "recorded" / "swebench_pro_2025.csv"


def recorded() -> dict[str, dict[str, bool]]:
    """Return whether each task was solved, by variant and task."""
    outcomes: dict[str, dict[str, bool]] = {}
    with RECORDING.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            outcomes.setdefault(row["variant"], {})[row["task_id"]] = row["success"] == "1"
    return outcomes


def repository(task: str) -> str:
    """Return the repository that a task belongs to: its task type."""
    return task.removeprefix("instance_").rsplit("-", 1)[0].split("-")[0].split("__")[0]


def serve_one(agent: str, task: str, outcomes: dict[str, dict[str, bool]]) -> None:
    """Serve one task: the bundle says which model works on it, the recording how that went."""
    with lastgood.run(agent=agent, task_type=repository(task)) as run:
        variant = run.bundle.model.data["variant"]
        run.report(completed=outcomes[variant][task])


def main(agent: str, runs_per_second: float) -> None:
    """Serve until standard input closes."""
    outcomes = recorded()
    variants = {name: outcomes[name] for name in outcomes if len(outcomes[name]) > 0}
    tasks = sorted(set.intersection(*(set(variants[name]) for name in _served(agent))))
    closed = threading.Event()
    threading.Thread(target=_wait_for_close, args=(closed,), daemon=True).start()
    draw, due = random.Random(agent), time.monotonic()
    while not closed.is_set():
        serve_one(agent, draw.choice(tasks), outcomes)
        due = max(due + 1 / runs_per_second, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


def _wait_for_close(closed: threading.Event) -> None:
    sys.stdin.read()
    closed.set()


def _served(agent: str) -> set[str]:
    """Variants that this agent's bundles name: tasks must be recorded under each of them."""
    pairs = {
        "coder": {"claude-45sonnet-10132025", "gpt-4o-paper"},
        "fixer": {"gpt-5-250-turns-10132025", "claude-45sonnet-10132025"},
    }
    return pairs[agent]


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
