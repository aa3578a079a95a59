"""Recording batches of 1,000 outcomes with exact sums, beside bare `executemany` and SQLModel's `add_all`.

All three write the same rows into copies of one store; the others keep no sums, settle and judge nothing.
"""

import argparse
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from measuring import ENVIRONMENT, Figure, adopted, interleaved, ratio, tell, temporary_store
from sqlalchemy import Engine
from sqlmodel import Session

from lastgood.assigning import Assigned, Request, assign
from lastgood.caps import Caps
from lastgood.ledger import Entry
from lastgood.outcome import Outcome
from lastgood.points import Expect
from lastgood.recorder import Report, record_batch
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Stage, Start, set_share, start
from lastgood.snapshot import Serving
from lastgood.store import engine
from lastgood.store.connection import Store
from lastgood.store.run_tables import OutcomeRow

BATCH = 1_000
HOUR_US = 3_600_000_000
SHARE_BP = 1_000


def outcome(number: int) -> Outcome:
    """What a run reports."""
    return Outcome(completed=number % 20 > 0, validated=number % 10 > 0, cost_usd=0.01, latency_s=1.5)


def live(store: Store) -> Serving:
    """A release that sends a tenth to its candidate, without ceilings."""
    _, candidate = adopted(store)
    terms = replace(Terms(), caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None))
    wanted = Start("support", ENVIRONMENT, candidate, "bench", "d" * 64, "{}", "{}", terms, "bench")
    release_id = start(store, wanted)
    serving = Serving(store, "support", ENVIRONMENT)
    expect = Expect.of(serving.router.snapshot.point)
    stage, entry = Stage("canary", ReleaseState.CANARY, 0), Entry("share", "bench", "open", release_id)
    set_share(store, release_id, stage, share_bp=SHARE_BP, lease_us=HOUR_US, entry=entry, expect=expect)
    return serving


def row(run_id: str, said: Outcome) -> dict[str, object]:
    """The same row as plain values."""
    return {
        **said.columns(),
        "usage": "[]",
        "metrics": "{}",
        "run_id": run_id,
        "received_us": 1,
        "input": None,
        "output": None,
    }


def measure(rounds: int) -> list[Figure]:
    """Write batches by turns."""
    with temporary_store() as store:
        serving = live(store)
        said = [outcome(number) for number in range(BATCH)]
        runs = [assign(serving, Request(f"unit-{n}", "faq", None, None)) for n in range((rounds + 1) * BATCH)]
        copies = [f"{store.path}.{name}" for name in ("bare", "orm")]
        for copy in copies:
            with (
                closing(sqlite3.connect(str(store.path))) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
                target.execute("PRAGMA journal_mode=WAL")
        held = sqlite3.connect(copies[0], isolation_level=None)
        held.execute("PRAGMA synchronous=NORMAL")
        held.execute("PRAGMA foreign_keys=ON")
        orm = engine.engine_for(f"sqlite:///{copies[1]}")
        # everybody is given what is to be written in the form that it takes
        values = [
            [row(run.run_id, told) for run, told in zip(batch, said, strict=True)] for batch in batches(runs)
        ]
        reports = [
            [Report(run.run_id, told, origin=run.origin) for run, told in zip(batch, said, strict=True)]
            for batch in batches(runs)
        ]
        works = {"ours": ours(store, reports), "bare": bare(held, values), "orm": orm_adds(orm, values)}
        taken = interleaved(works, rounds)
        held.close()
        orm.dispose()
    share, times = 1 / ratio(taken, "ours", "bare"), ratio(taken, "orm", "ours")
    per_second = BATCH / sorted(taken["ours"])[rounds // 2]
    return [
        Figure(
            "recording batches of 1,000 with exact sums",
            f"{share:.0%} ({per_second:,.0f} rows per CPU-second)",
            "rows per CPU-second of bare executemany",
            ">= 70%",
            share >= 0.7,
        ),
        Figure("the same", f"{times:.1f}x as many", "SQLModel add_all", ">= 15x", times >= 15),
    ]


def batches(runs: list[Assigned]) -> list[list[Assigned]]:
    """Cut into batches."""
    return [runs[at : at + BATCH] for at in range(0, len(runs), BATCH)]


def ours(store: Store, reports: list[list[Report]]) -> Callable[[], object]:
    """Work: record the next thousand runs."""
    turns = iter(reports)

    def work() -> None:
        assert record_batch(store, next(turns), durable=False).new == BATCH

    return work


def bare(held: sqlite3.Connection, values: list[list[dict[str, object]]]) -> Callable[[], object]:
    """Work: insert the next thousand rows."""
    names = tuple(values[0][0])
    statement = f"INSERT INTO outcome ({', '.join(names)}) VALUES ({', '.join('?' for _ in names)})"
    turns = iter([[tuple(each.values()) for each in batch] for batch in values])

    def work() -> None:
        held.execute("BEGIN IMMEDIATE")
        held.executemany(statement, next(turns))
        held.execute("COMMIT")

    return work


def orm_adds(orm: Engine, values: list[list[dict[str, object]]]) -> Callable[[], object]:
    """Work: add the next thousand objects."""
    turns = iter(values)

    def work() -> None:
        with Session(orm) as session:
            session.add_all(OutcomeRow(**each) for each in next(turns))
            session.commit()

    return work


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs")
    tell(measure(1 if parser.parse_args().quick else 15))


if __name__ == "__main__":
    main()
