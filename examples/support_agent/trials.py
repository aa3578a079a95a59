"""Trials: a bundle released for real, on a copy of a shop whose baseline has a history."""

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from config.policy import Policy
from examples.support_agent import shop
from examples.support_agent.tickets import case
from lastgood import ids, recorder, releasing, tallies
from lastgood.clock import ManualClock
from lastgood.reserving import window
from lastgood.store import statements as sql
from lastgood.store.connection import Store

#: tickets that are the baseline's history, and after which a release that goes on is left
HISTORY, MOST_TICKETS = 2_000, 30_000
_LATEST = 15 * shop.MINUTE
_RUNS = """
SELECT run.id, run.assigned_us, outcome.cost_usd FROM run LEFT JOIN outcome ON outcome.run_id = run.id
WHERE run.release_id = :release_id AND run.arm = 'candidate'
"""
_MESSAGES = """
SELECT run_id, count(*) AS n FROM action WHERE release_id = :release_id AND kind = 'message'
  AND state <> 'failed' GROUP BY run_id
"""
_ENDED = "SELECT run.unit, outcome.* FROM run JOIN outcome ON outcome.run_id = run.id WHERE run.risk = 'low'"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one release."""

    bundle: str
    number: int
    #: state of the release at last
    state: str
    #: guardrails or triggers that are named, the first one first
    culprits: tuple[str, ...]
    #: candidate runs that were assigned until then, and tickets of both arms
    runs: int
    tickets: int
    #: US dollars above the ceiling of a run, and of an hour
    usd_over_run: float
    usd_over_hour: float
    #: messages above the ceiling of a run
    messages_over: int


@contextmanager
def drawn(name: str) -> Iterator[None]:
    """Draw ids from a seed: a release's id is the salt of its assignment."""
    source = SimpleNamespace(randbits=random.Random(name).getrandbits)
    with patch.object(ids, "secrets", source):
        yield


def season(folder: Path, tickets: int = HISTORY, seed: int = 1) -> ManualClock:
    """Let the good bundle serve in a new shop until it has a history; the clock as it is then."""
    with drawn(f"history {seed}"):
        made = shop.opened(folder, seed=seed)
        made.serve(tickets)
        made.clock.advance(_LATEST)
        made.traffic.pass_on()
        made.clock.advance(_LATEST)
    made.close()
    with sqlite3.connect(folder / "lastgood.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return made.clock


def trial(
    seasoned: Path,
    folder: Path,
    clock: ManualClock,
    policy: Policy,
    name: str,
    number: int,
    most: int = MOST_TICKETS,
) -> Trial:
    """Release a bundle on a copy of a seasoned shop, with tickets and a salt of its own."""
    shutil.copy(seasoned / "lastgood.db", folder / "lastgood.db")
    with drawn(f"{name} {number}"):
        made = shop.opened(folder, seed=1_000 + number, clock=replace(clock))
        release_id = made.release(name, policy)
        made.drive(release_id, policy, most_tickets=most)
        found = told(made.store, release_id, policy, name, number, made.traffic.served)
    made.close()
    return found


def told(store: Store, release_id: str, policy: Policy, name: str, number: int, tickets: int) -> Trial:
    """Read what became of a release."""
    caps = policy.caps()
    with store.reading() as txn:
        release = releasing.read(txn, release_id)
        runs = txn.all(_RUNS, release_id=release_id)
        messages = [row["n"] for row in txn.all(_MESSAGES, release_id=release_id)]
    costs = [(window(row["assigned_us"]), row["cost_usd"] or 0.0) for row in runs]
    hours: dict[int, float] = {}
    for hour, cost in costs:
        hours[hour] = hours.get(hour, 0.0) + cost
    most_run, most_hour = caps.spend_usd_per_run or 0.0, caps.spend_usd_per_hour or 0.0
    return Trial(
        name,
        number,
        release["state"],
        tuple(json.loads(release["culprits"] or "[]")),
        len(runs),
        tickets,
        sum(max(0.0, cost - most_run) for _, cost in costs),
        sum(max(0.0, spent - most_hour) for spent in hours.values()),
        sum(max(0, sent - (caps.messages_per_run or 0)) for sent in messages),
    )


def record(folder: Path, path: Path, name: str, tickets: int, seed: int = 2) -> None:
    """Let a bundle serve alone, and write what its runs reported: one JSON line a run."""
    with drawn(f"recorded {name} {seed}"):
        made = shop.opened(folder, seed=seed, baseline=name)
        made.serve(tickets)
        made.traffic.pass_on(everything=True)
    with path.open("a", encoding="utf-8") as file, made.store.reading() as txn:
        for row in txn.all(_ENDED):
            late = [json.loads(each["fields"]) for each in txn.all(sql.LATE_REPORTS, run_id=row["run_id"])]
            outcome = tallies.merged(recorder.outcome_of(row), late)
            file.write(
                json.dumps(_line(name, row["unit"], outcome, json.loads(row["output"] or "null"))) + "\n"
            )
    made.close()


def _line(name: str, unit: str, outcome: Any, output: Any) -> dict[str, Any]:
    from examples.support_agent.operators import mistakes

    found = case(unit)
    return {
        "variant": name,
        "stratum": found.ticket.task_type,
        "task_id": unit,
        **{
            column: getattr(outcome, column) for column in ("completed", "validated", "escalated", "cost_usd")
        },
        "incidents": outcome.incidents or 0,
        "operator_edits": outcome.operator_edits,
        "lost": False,
        "tool_malformed": bool(outcome.metrics.get("tool_malformed")),
        "correct": not mistakes(found, output),
    }


__all__ = ["HISTORY", "MOST_TICKETS", "Trial", "drawn", "record", "season", "told", "trial"]
