"""F12: a candidate that poisons its telemetry: forged, crossed and expired tokens, floods, silent drops."""

import os
import random
from collections import Counter
from collections.abc import Iterator

from common import HOUR, SECOND, Line, Place, again, main, number, opened, rows, seasoned

from lastgood import identity
from lastgood.errors import BadToken, LastgoodError
from lastgood.outcome import Outcome
from lastgood.recorder import Report, record_batch, record_event, record_late
from lastgood.running import Run
from tasks import driving
from tests.tasks.conftest import World

FORGERIES, SEEDS = 2_000, 10
#: the silent drop: this share of the candidate's runs fails, and reports nothing
DROPPED = 0.3
POLICY = """
name: dropping
lost_after: 1 min
guardrails: {completion: {margin: 5 points}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 500}]
"""


def tokens(
    draw: random.Random, keys: identity.Keys, mine: object, other: object, now_us: int
) -> dict[str, str]:
    """One of each kind of token that must not do for `mine`."""
    run, bundle, epoch, later = mine.run_id, mine.bundle.id, mine.decision.epoch, now_us + HOUR
    good = identity.sign(keys, run, bundle, epoch, later)
    place = draw.randrange(len(good))
    flipped = good[:place] + chr(ord(good[place]) ^ 1) + good[place + 1 :]
    stranger = identity.Keys(keys.newest, {keys.newest: draw.randbytes(32)})
    return {
        "no token": "", "a character flipped": flipped, "cut short": good[: draw.randrange(1, len(good))],
        "another secret": identity.sign(stranger, run, bundle, epoch, later),
        "another run's": identity.sign(keys, other.run_id, other.bundle.id, other.decision.epoch, later),
        "another bundle": identity.sign(keys, run, "f" * 64, epoch, later),
        "another epoch": identity.sign(keys, run, bundle, epoch + 1, later),
        "expired": identity.sign(keys, run, bundle, epoch, now_us - 1),
        "expiry moved": good.replace(str(later), str(later + HOUR)),
    }  # fmt: skip


def accepted(world: World) -> float:
    """What was kept of forged reports."""
    counts = [f"SELECT count(*) AS n FROM {name} WHERE {ours}" for name, ours in KEPT.items()]
    return sum(number(world.store, query) for query in counts)


def forged(place: Place, world: World, forgeries: int) -> Line:
    """Reports of every kind with every wrong token: none is kept."""
    os.environ.setdefault(identity.VARIABLE, "fault:a-secret-of-the-fault-script")
    opened(world.store, world.candidate)
    keys, draw, kinds, sent = identity.keys(world.store), random.Random(12), Counter(), 0
    while sent < forgeries:
        mine, other = world.assign(), world.assign()
        for kind, token in tokens(draw, keys, mine, other, world.clock.now_us()).items():
            kinds[kind] += 1
            sent += 3
            report = Report(mine.run_id, Outcome(completed=True), token=token)
            record_batch(world.store, [report], keys=keys)
            for tell in (
                lambda m=mine, t=token: record_late(world.store, m.run_id, {"completed": True}, token=t),
                lambda m=mine, t=token: record_event(world.store, m.run_id, "data_leak", {}, token=t),
            ):
                try:
                    tell()
                except BadToken:
                    pass
                except LastgoodError as error:
                    kinds[type(error).__name__] += 1
    refused = number(world.store, "SELECT sum(n) AS n FROM refusal")
    live = len(driving.live_releases(world.store))
    figure = (
        f"{sent} reports with {len(kinds)} kinds of wrong tokens: accepted {accepted(world):g}, refused and "
        f"counted {refused:g}; the release that they would have reverted is {'live' if live else 'reverted'}"
    )
    holds = not accepted(world) and refused == sent and live == 1
    return Line(
        "F12",
        "forged, crossed, cut and expired run tokens",
        figure,
        holds,
    )


#: what the forgeries would have left: nobody else reports on the runs of a release here
KEPT = {
    "outcome": "run_id IN (SELECT id FROM run WHERE release_id IS NOT NULL)",
    "late_report": "TRUE",
    "event": "TRUE",
}


def dropping(world: World, seed: int) -> tuple[int, str]:
    """Drive a release whose candidate drops its failures; its runs until the end, and the end."""
    draw = random.Random(seed)
    driver = driving.begin(world.store, world.start(POLICY), "me")
    for _ in range(200):
        what = driving.due(world.store, driver)
        if what.stage is driving.StageName.ENDED:
            break
        driving.act(world.store, driver, what)
        if not what.waits:
            continue
        for _ in range(20):
            world.clock.advance(3 * SECOND)
            assigned = world.assign()
            if assigned.decision.arm == "candidate" and draw.random() < DROPPED:
                continue  # it failed, and says nothing
            with Run(world.store, assigned) as run:
                run.report(completed=run.arm == "candidate" or draw.random() < 0.9)
    runs = number(world.store, "SELECT count(*) AS n FROM run WHERE arm = 'candidate'")
    return int(runs), rows(world.store, "SELECT state FROM release")[0]["state"]


def dropped(place: Place, seeds: int) -> Line:
    """Runs until a silent drop of failures is found."""
    found, ready = [], seasoned(place.migrated(), runs=1_000)
    for seed in range(seeds):
        world = again(ready, place.copy(ready.store))
        found.append(dropping(world, seed))
        place.drop(world.store)
    runs = sorted(n for n, _ in found)
    reverted = sum(state == "reverted" for _, state in found)
    figure = f"{seeds} releases, reverted {reverted}, after {runs[len(runs) // 2]} candidate runs in the "
    figure += f"median, {runs[-1]} at most"
    return Line(
        "F12",
        f"a candidate drops {DROPPED:.0%} of its runs, which failed, in silence",
        figure,
        reverted == seeds,
    )


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both, on one kind of store."""
    ready = seasoned(place.migrated())
    world = again(ready, place.copy(ready.store))
    yield forged(place, world, 200 if quick else FORGERIES)
    if place.server is None:  # what is judged is the same on both
        yield dropped(place, 1 if quick else SEEDS)


if __name__ == "__main__":
    main(run, "F12")
