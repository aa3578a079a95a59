"""F10: reverts while every evaluator hangs in the middle of a look, and ten writers are at work."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import suppress

from common import AGENT, ENVIRONMENT, Line, Place, main, percentile, rows, seasoned, serving, store_at

from evaluators import Comparison
from lastgood import batching, control, ledger, releasing, running
from lastgood.assigning import Request, assign
from lastgood.clock import SystemClock
from lastgood.errors import LastgoodError, StoreError
from lastgood.recorder import record_event
from lastgood.releasing import Ending
from lastgood.store.connection import Store
from tasks import driving, preflight
from tests.tasks.conftest import POLICY, World

fork = multiprocessing.get_context("fork")
WRITERS, REVERTS = 10, 40
FAST = POLICY.replace("lost_after: 1 min", "lost_after: 1 s\ncooldown: 1 s\nblock: {size: 10, time: 1 h}")


def write(url: str, tag: int) -> None:
    """Assign runs and record what they report, one after another."""
    store = store_at(url)
    served, recorder = serving(store), batching.Recorder(store, 0.0)
    for turn in range(1_000_000):
        with suppress(StoreError):
            assigned = assign(served, Request(f"unit-{tag}-{turn}", "faq", None, None))
            with running.Run(store, assigned, recorder=recorder) as run:
                run.report(validated=True)
        time.sleep(0.01)


def hang(url: str, release_id: str, hung) -> None:
    """Look at a release with an evaluator that never comes back."""
    store = store_at(url)

    def forever(self: Comparison) -> None:
        hung.set()
        time.sleep(3_600)

    Comparison.verdict = forever
    driving.is_driven = lambda store, row: False
    with suppress(LastgoodError):
        driving.evaluate(store, release_id, "an evaluator that hangs")


def revert(world: World, turn: int) -> tuple[float, str]:
    """One release, one look that hangs, one revert: by a trigger, a person, or the command's function."""
    store = world.store
    candidate = world.bundle(f"new {turn}")
    wanted = preflight.check(store, world.wanted(candidate=candidate, policy="small"))
    release_id = releasing.start(store, wanted)
    driver = driving.begin(store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    run_id = next(a.run_id for a in iter(world.assign, None) if a.decision.arm == "candidate")
    hung = fork.Event()
    other = fork.Process(target=hang, args=(store.url, release_id, hung), daemon=True)
    other.start()
    assert hung.wait(60), "no evaluator hung"
    began = time.monotonic()
    failed = ""
    try:
        if turn % 3 == 0:
            record_event(store, run_id, "data_leak", {})
        elif turn % 3 == 1:
            releasing.revert(store, release_id, Ending("ann", "by hand", "hand"))
        else:
            control.rollback(store, AGENT, ENVIRONMENT, actor="ann", reason="by hand")
    except LastgoodError as error:
        failed = str(error)[:80]
    took = time.monotonic() - began
    other.kill()
    other.join()
    if failed:
        releasing.revert(store, release_id, Ending("ann", "after all", "hand"))
    return took, failed


def measured(world: World, reverts: int) -> Line:
    """Revert again and again among the writers."""
    store = world.store
    world.policy(FAST)
    others = [fork.Process(target=write, args=(store.url, tag), daemon=True) for tag in range(WRITERS)]
    store.close()
    for other in others:
        other.start()
    found = [revert(world, turn) for turn in range(reverts)]
    for other in others:
        other.kill()
        other.join()
    ledger.verify(store, AGENT, ENVIRONMENT)
    failed = [why for _, why in found if why]
    p99 = percentile([took for took, _ in found], 0.99) * 1e3
    left = rows(store, "SELECT id FROM release WHERE ended_us IS NULL")
    figure = f"{reverts} reverts, p99 {p99:.0f} ms, failed {len(failed)}{f' ({failed[0]})' if failed else ''}"
    what = f"reverts by trigger and by hand while an evaluator hangs in its look, among {WRITERS} writers"
    return Line("F10", what, figure, not failed and p99 <= 250 and not left)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """On one kind of store."""
    world = seasoned(place.migrated())
    world.clock = SystemClock()  # the history is old; what is served from here on is not
    world.store = Store(world.store.url)
    for _ in range(50):
        world.run()
    yield measured(world, 3 if quick else REVERTS)


if __name__ == "__main__":
    main(run, "F10")
