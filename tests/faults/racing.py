"""F3 and F11: eight processes start a release at once; five senders tell the same triggers and decisions."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from common import AGENT, ENVIRONMENT, OPEN, Line, Place, adopted, begun, main, number, opened, rows, store_at

from lastgood import control, ledger, registry, releasing
from lastgood.assigning import Request, assign
from lastgood.errors import InvalidMove, LastgoodError, LiveRelease
from lastgood.outcome import Outcome
from lastgood.recorder import Report, record_batch, record_event, record_late
from lastgood.releasing import Ending
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from lastgood.triggers import RateTrigger, Triggers
from tests.tasks.conftest import make_bundle

fork = multiprocessing.get_context("fork")
RACERS, RACES = 8, 1_000
SENDERS, ROUNDS = 5, 60
#: a rate that these rounds never prove, so that its count can be compared
WATCHED = replace(OPEN, triggers=Triggers(rates=(RateTrigger("completion", 0.9),)))


def racer(url: str, candidate: str, races: int, barrier, told) -> None:
    """Start a release in each race, at the same moment as everybody else."""
    store = store_at(url)
    for _ in range(races):
        barrier.wait(60)
        try:
            begun(store, candidate)
            told.put("won")
        except LiveRelease:
            told.put("lost")
        except Exception as error:  # noqa: BLE001  whatever it is, the line tells
            told.put(type(error).__name__)
        barrier.wait(60)  # the race is over
        barrier.wait(60)  # and the winner is gone


def race(place: Place, races: int) -> Line:
    """F3: exactly one wins each race, the others are told so."""
    url = place.migrated()
    store = store_at(url)
    adopted(store)
    names = [f"c{each}" for each in range(RACERS)]
    made = [registry.register(store, AGENT, make_bundle(name), author="ann")[0].bundle.id for name in names]
    store.close()
    barrier, told = fork.Barrier(RACERS + 1), fork.SimpleQueue()
    racers = [fork.Process(target=racer, args=(url, each, races, barrier, told)) for each in made]
    for each in racers:
        each.start()
    violations, said = 0, Counter()
    for _ in range(races):
        barrier.wait(60)
        barrier.wait(60)
        ends = Counter(told.get() for _ in racers)
        said += ends
        live = rows(store, "SELECT id FROM release WHERE ended_us IS NULL")
        violations += ends["won"] != 1 or ends["lost"] != RACERS - 1 or len(live) != 1
        for row in live:
            releasing.revert(store, row["id"], Ending("ann", "the next race", "hand"))
        barrier.wait(60)
    for each in racers:
        each.join(10)
    ledger.verify(store, AGENT, ENVIRONMENT)
    what = f"{RACERS} processes start a release at a barrier"
    return Line("F3", what, f"{races} races, {dict(said)}, violations {violations}", violations == 0)


def messages(store: Store, release_id: str, draw: random.Random) -> list[tuple]:
    """What one round tells: outcomes, late reports, an event that reverts, a person's decisions."""
    serving, made = Serving(store, AGENT, ENVIRONMENT), []
    for each in range(6):
        run = assign(serving, Request(f"u{draw.random()}-{each}", "faq", None, None))
        made.append(run)
    found = [("outcome", run.run_id, draw.random() < 0.5) for run in made]
    found += [("late", run.run_id, f"k{each}") for run in made for each in range(2)]
    leaking = [run.run_id for run in made if run.decision.arm == "candidate"][:1]
    found += [("event", run_id, "data_leak") for run_id in leaking]
    return [*found, ("promote", release_id, ""), ("rollback", release_id, "")]


def send(store: Store, message: tuple) -> None:
    """Tell one message."""
    kind, name, more = message
    if kind == "outcome":
        record_batch(store, [Report(name, Outcome(status="ended", completed=more, validated=True))])
    elif kind == "late":
        record_late(store, name, {"operator_edits": 1}, key=more)
    elif kind == "event":
        record_event(store, name, more, {})
    elif kind == "promote":
        ending = Ending("ann", "I answer for it", "hand")
        releasing.promote(store, name, proven=False, ending=ending, expect=None)
    else:
        releasing.revert(store, name, Ending("bob", "I don't", "hand"))


def sender(url: str, number_: int, inbox, told) -> None:
    """Tell everything that comes, shuffled by a seed of its own, and half of it once more."""
    store, draw = store_at(url), random.Random(number_)
    while (found := inbox.get()) is not None:
        draw.shuffle(found)
        wrong = Counter()
        for message in [*found, *found[: len(found) // 2]]:
            try:
                send(store, message)
            except InvalidMove:  # the release has ended
                pass
            except LastgoodError as error:
                wrong[f"{message[0]}: {type(error).__name__}"] += 1
        told.put(wrong)


#: each of these has to be 0 at any time
DOUBLED = {
    "outcomes": "SELECT count(*) - count(DISTINCT run_id) AS n FROM outcome",
    "late reports": "SELECT count(*) - count(DISTINCT run_id || key) AS n FROM late_report",
    "endings": "SELECT count(*) - count(DISTINCT release_id) AS n FROM ledger "
    "WHERE action IN ('promote', 'revert')",
    "served": "SELECT count(*) - count(DISTINCT epoch) AS n FROM served",
    "stages": "SELECT count(*) - count(DISTINCT release_id || key) AS n FROM stage",
    "releases that did not end": "SELECT count(*) AS n FROM release WHERE ended_us IS NULL",
}
#: bad runs that the trigger counted, beyond those that were recorded while their release was live
COUNTED = "SELECT coalesce(sum(n), 0) AS n FROM trigger_count"
ENDED = "SELECT count(*) AS n FROM outcome JOIN run ON run.id = run_id WHERE arm = 'candidate'"


def repeat(place: Place, rounds: int) -> Line:
    """F11: the same key has the same result, once."""
    url = place.migrated()
    store = store_at(url)
    adopted(store)
    store.close()
    inboxes, told = [fork.SimpleQueue() for _ in range(SENDERS)], fork.SimpleQueue()
    senders = [fork.Process(target=sender, args=(url, n, box, told)) for n, box in enumerate(inboxes)]
    for each in senders:
        each.start()
    draw, wrong, sent, doubled = random.Random(1), Counter(), 0, Counter()
    for turn in range(rounds):
        fresh = registry.register(store, AGENT, make_bundle(f"c{turn}"), author="ann")[0].bundle.id
        found = messages(store, opened(store, fresh, WATCHED, share_bp=9_000), draw)
        for box in inboxes:
            box.put(list(found))
        for _ in senders:
            wrong += told.get()
        sent += SENDERS * (len(found) + len(found) // 2)
        doubled += Counter({name: int(number(store, query)) for name, query in DOUBLED.items()})
        doubled["trigger counts"] += number(store, COUNTED) > number(store, ENDED)
    for box, each in zip(inboxes, senders, strict=True):
        box.put(None)
        each.join(10)
    ledger.verify(store, AGENT, ENVIRONMENT)
    ended = rows(store, "SELECT state, count(*) AS n FROM release GROUP BY state ORDER BY state")
    doubled = +doubled
    figure = f"{sent} messages, {rounds} releases {[tuple(row.values()) for row in ended]}; "
    figure += f"double effects {doubled.total()}{f' {dict(doubled)}' if doubled else ''}"
    figure += f"; unexpected errors {dict(wrong)}" if wrong else ""
    what = (
        f"{SENDERS} senders tell the same outcomes, late reports, triggers and decisions, shuffled, replayed"
    )
    return Line("F11", what, figure, not doubled and not wrong)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both, on one kind of store."""
    yield race(place, 5 if quick else RACES)
    yield repeat(place, 2 if quick else ROUNDS)
    assert control is not None


if __name__ == "__main__":
    main(run, "F3, F11")
