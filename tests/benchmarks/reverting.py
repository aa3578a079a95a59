"""How long a revert takes to commit: on an idle store, and with ten writers and every evaluator hung.

A hung evaluator is a process that has read the evidence and does not come back, with its reading still open.
"""

import argparse
import multiprocessing
import time
from contextlib import suppress
from dataclasses import replace

from measuring import ENVIRONMENT, Figure, adopted, bundle, percentile, tell, temporary_store

from lastgood import batching, points, registry, running
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.errors import StoreError
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Ending, Stage, Start, revert, set_share, start
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

HOUR_US = 3_600_000_000
WRITERS, HUNG = 10, 4


def write(url: str, number: int) -> None:
    """A writer: assign runs and record what they report, one after another."""
    store = Store(url)
    serving, recorder = Serving(store, "support", ENVIRONMENT), batching.Recorder(store, 0.0)
    for turn in range(1_000_000):
        with suppress(StoreError):  # others were in the way for too long
            assigned = assign(serving, Request(f"unit-{number}-{turn}", "faq", None, None))
            with running.Run(store, assigned, recorder=recorder) as run:
                run.report(validated=True, cost_usd=0.01)


def hang(url: str) -> None:
    """An evaluator that never comes back."""
    with Store(url).reading() as txn:
        txn.all("SELECT * FROM release")
        time.sleep(3_600)


def reverts(store: Store, number: int, tag: str) -> list[float]:
    """Milliseconds that each of some reverts took."""
    taken = []
    terms = replace(Terms(), caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None))
    for turn in range(number):
        new = registry.register(store, "support", bundle(f"{tag} {turn}"), author="bench")[0].bundle.id
        wanted = Start("support", ENVIRONMENT, new, "bench", "d" * 64, "{}", "{}", terms, "bench")
        release_id = start(store, wanted)
        stage, entry = Stage("canary", ReleaseState.CANARY, 0), Entry("share", "bench", "open", release_id)
        with store.reading() as txn:
            expect = Expect.of(points.read(txn, "support", ENVIRONMENT))
        set_share(store, release_id, stage, share_bp=5_000, lease_us=HOUR_US, entry=entry, expect=expect)
        began = time.monotonic()
        revert(store, release_id, Ending("bench", "measure", "trigger"))
        taken.append((time.monotonic() - began) * 1_000)
    return taken


def measure(number: int) -> list[Figure]:
    """Revert on an idle store, then among writers."""
    fork = multiprocessing.get_context("fork")
    with temporary_store() as store:
        adopted(store)
        idle = reverts(store, number, "idle")
        store.close()
        others = [fork.Process(target=hang, args=(store.url,), daemon=True) for _ in range(HUNG)]
        others += [fork.Process(target=write, args=(store.url, n), daemon=True) for n in range(WRITERS)]
        for other in others:
            other.start()
        time.sleep(1.0)
        busy = reverts(store, number, "busy")
        with store.reading() as txn:
            written = len(txn.all("SELECT 1 FROM outcome"))
        for other in others:
            other.kill()
            other.join()
    low, high = percentile(idle, 0.99), percentile(busy, 0.99)
    return [
        Figure(
            "a revert's commit on an idle store",
            f"p99 {low:.0f} ms (median {percentile(idle, 0.5):.1f} ms)",
            f"{number} reverts",
            "p99 <= 50 ms",
            low <= 50,
        ),
        Figure(
            f"with {WRITERS} writers and {HUNG} hung evaluators",
            f"p99 {high:.0f} ms (median {percentile(busy, 0.5):.1f} ms)",
            f"{number} reverts, {written:,} outcomes written",
            "p99 <= 250 ms",
            high <= 250,
        ),
    ]


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few reverts: to see that it runs")
    tell(measure(3 if parser.parse_args().quick else 200))


if __name__ == "__main__":
    main()
