"""F16 and F17: actions of runs in flight after a revert, and a burst of 100,000 runs against the ceilings."""

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from common import (
    AGENT,
    HOUR,
    OPEN,
    Line,
    Place,
    adopted,
    main,
    number,
    opened,
    rows,
    serving,
    shown,
    store_at,
)

from lastgood import registry, releasing
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.clock import ManualClock
from lastgood.errors import CapReached, LastgoodError, Refused
from lastgood.releasing import Ending
from lastgood.running import Run
from tests.tasks.conftest import make_bundle

fork = multiprocessing.get_context("fork")
ACTORS, REVERTS = 6, 60
WORKERS, RUNS = 8, 100_000
#: on Postgres every run is four round trips to a server that shares these CPUs
RUNS_ON_POSTGRES = 5_000


def actor(url: str, tag: int, orders, told, effects: int) -> None:
    """Hold a candidate run open and act in it without a pause until it is refused; note each effect."""
    store = store_at(url)
    while (turn := orders.get()) is not None:
        served, run = serving(store), None
        while run is None:
            assigned = assign(served, Request(f"{tag}-{turn}-{random.random()}", "faq", None, None))
            run = Run(store, assigned) if assigned.decision.arm == "candidate" else None
        told.put("ready")
        until, ended = time.monotonic() + 2, "went on"
        while time.monotonic() < until:
            try:
                with run.action("message", f"{tag}", undo={"call": "unsend"}) as action_id:
                    os.write(effects, f"{action_id}\n".encode())  # appended whole, whoever else does
            except Refused:
                ended = "refused"
                break
            except LastgoodError as error:
                ended = type(error).__name__
                break
        told.put(ended)


#: actions that were let through after the revert as if nothing had happened
UNMARKED = """
SELECT count(*) AS n FROM action JOIN release ON release.id = action.release_id
JOIN stage ON stage.release_id = release.id AND stage.key = 'revert'
WHERE action.epoch >= stage.epoch AND NOT action.late
"""


def late(place: Place, reverts: int) -> Line:
    """F16: after the revert an action is refused, or marked late; each effect has a row that undoes it."""
    store = store_at(place.migrated())
    adopted(store)
    store.close()
    log = place.folder / "effects"
    effects = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_WRONLY, 0o600)
    orders, told = [fork.SimpleQueue() for _ in range(ACTORS)], fork.SimpleQueue()
    actors = [
        fork.Process(target=actor, args=(store.url, tag, queue, told, effects))
        for tag, queue in enumerate(orders)
    ]
    for each in actors:
        each.start()
    ends, draw = Counter(), random.Random(16)
    for turn in range(reverts):
        fresh = registry.register(store, AGENT, make_bundle(f"c{turn}"), author="ann")[0].bundle.id
        finish = turn % 10 == 9  # these go on for two seconds: few of them
        release_id = opened(
            store, fresh, replace(OPEN, on_revert="finish" if finish else "abort"), share_bp=9_000
        )
        for queue in orders:
            queue.put(turn)
        for _ in actors:
            told.get()
        time.sleep(draw.random() * 0.05)
        releasing.revert(store, release_id, Ending("ann", "while they act", "hand"))
        ends[("finish", "abort")[not finish]] += 1
        ends += Counter(f"{('finish', 'abort')[not finish]}: {told.get()}" for _ in actors)
    for queue, each in zip(orders, actors, strict=True):
        queue.put(None)
        each.join(10)
    os.close(effects)
    had = log.read_text().split()
    recorded = {row["id"]: row for row in rows(store, "SELECT * FROM action")}
    unrecorded = sum(each not in recorded or "unsend" not in recorded[each]["undo"] for each in had)
    marked, unmarked = number(store, "SELECT count(*) AS n FROM action WHERE late"), number(store, UNMARKED)
    figure = (
        f"{reverts} reverts under {ACTORS} acting processes {dict(ends)}; {len(had)} effects, without a row "
        f"that undoes them {unrecorded}, let through unmarked after it {unmarked:g}, marked late {marked:g}"
    )
    strays = {name for name in ends if name in {"abort: went on", "finish: refused"}}
    holds = not unrecorded and not unmarked and not strays and marked > 0 and had
    return Line("F16", "runs in flight go on acting through a revert", figure, bool(holds))


#: what the candidate may do in the burst, all of it asked for ten times over
CAPS = Caps(
    spend_usd_per_hour=50.0, spend_usd_per_run=0.01, runs_per_hour=2_000,
    actions_per_hour=(("message", 500),), actions_per_run=(("message", 2),),
)  # fmt: skip


def worker(url: str, clock: ManualClock, tag: int, runs: int, told) -> None:
    """Serve runs as fast as it goes; candidates spend and send."""
    store, acked, acted, wrong = store_at(url, clock), [], 0, Counter()
    served = serving(store)
    for turn in range(runs):
        try:
            assigned = assign(served, Request(f"{tag}-{turn}", "faq", None, None))
            with Run(store, assigned) as run:
                acked.append(run.id)
                run.report(validated=True, cost_usd=0.005)
                if run.arm == "candidate":
                    for _ in range(3):
                        with suppress(CapReached), run.action("message", "c"):
                            acted += 1
        except LastgoodError as error:
            wrong[f"{type(error).__name__}: {str(error)[:60]}"] += 1
    told.put((len(acked), acted, wrong))


def burst(place: Place, runs: int) -> Line:
    """F17: the ceilings hold exactly, and no acknowledged run is lost."""
    clock = ManualClock(wall_us=1_700_000_000_000_000 // HOUR * HOUR + HOUR // 2)
    store = store_at(place.migrated(), clock)
    _, candidate = adopted(store)
    caps = (
        CAPS
        if runs >= 20_000
        else replace(CAPS, runs_per_hour=runs // 20, actions_per_hour=(("message", 40),))
    )
    opened(store, candidate, replace(OPEN, caps=caps), share_bp=5_000)
    url = store.url
    store.close()
    told = fork.SimpleQueue()
    each = runs // WORKERS
    workers = [fork.Process(target=worker, args=(url, clock, tag, each, told)) for tag in range(WORKERS)]
    began = time.monotonic()
    for process in workers:
        process.start()
    said = [told.get() for _ in workers]
    took = time.monotonic() - began
    acked, acted = sum(s[0] for s in said), sum(s[1] for s in said)
    wrong = sum((s[2] for s in said), Counter())
    kept = number(store, "SELECT count(*) AS n FROM run")
    ended = number(store, "SELECT count(*) AS n FROM outcome")
    started = number(store, "SELECT count(*) AS n FROM run WHERE arm = 'candidate'")
    counted = number(store, "SELECT count(*) AS n FROM action WHERE state = 'done'")
    most = number(
        store, "SELECT max(n) AS n FROM (SELECT count(*) AS n FROM action GROUP BY run_id) AS per_run"
    )
    use = {row["cap"]: (row["used"], row["reserved"]) for row in rows(store, "SELECT * FROM cap_use")}
    messages = dict(caps.actions_per_hour)["message"]
    overshoot = max(0, started - caps.runs_per_hour) + max(0, counted - messages) + max(0, most - 2)
    exact = (started, counted, acted) == (caps.runs_per_hour, messages, messages)
    lost = acked - min(kept, ended) + sum(wrong.values())
    figure = (
        f"{acked} runs by {WORKERS} processes in {took:.0f} s, lost {lost:g}; candidates {started:g} of "
        f"{caps.runs_per_hour}, messages {counted:g} of {messages}, at most {most:g} a run, overshoot "
        f"{overshoot:g}; errors {shown(wrong)}"
    )
    spent = use["spend_usd_per_hour"][0]
    right = abs(spent - 0.005 * started) < 1e-6 and not any(reserved > 1e-9 for _, reserved in use.values())
    return Line("F17", "a burst, ten times what the ceilings allow", figure, exact and not lost and right)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both, on one kind of store."""
    yield late(place, 10 if quick else REVERTS)
    runs = RUNS_ON_POSTGRES if place.server is not None else RUNS
    yield burst(place, 2_000 if quick else runs)


if __name__ == "__main__":
    main(run, "F16, F17")
