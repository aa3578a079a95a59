"""F9 and F16: a recovery whose CRM fails, hangs and handles requests twice, killed around its calls."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import crm_server
import httpx
from common import AGENT, ENVIRONMENT, HOUR, OPEN, Line, Place, adopted, main, rows, serving, shown, store_at

from config.policy import Policy
from lastgood import acting, incidents, points, profile, releasing
from lastgood.acting import Effect
from lastgood.assigning import Request, assign
from lastgood.ids import new_id
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Ending, Stage, Start
from lastgood.store.connection import Store
from tasks import recovery
from tasks.undoing import Caller

fork = multiprocessing.get_context("fork")
ACTIONS, FEW, EACH = 10_000, 400, 5
#: chances of a call that the process is killed before it, and after it
DIES = 0.02
#: late actions, in groups
LATE, GROUPS = 200, 20
HANG_S = 0.5
POLICY = """
name: fault
recovery: {rate_per_minute: 1000000, timeout: 0.25 s, attempts: 14, backoff: 0.01 s, backoff_most: 0.05 s,
  in_doubt_after: 1 s}
"""
UNDO = {"kind": "refund"}
#: one action of so many is of each kind that is left over, or in doubt
RARE = 50


@dataclass
class Scene:
    """A reverted release, and what is to become of each of its actions."""

    store: Store
    incident: str
    runs: list[str]
    #: action -> why it is left over; empty: it is to be undone
    wanted: dict[str, str]


def release(store: Store, candidate: str) -> str:
    """A release that serves everybody, whose runs may finish after its revert."""
    policy, terms = Policy.load(POLICY), replace(OPEN, on_revert="finish")
    given = (AGENT, ENVIRONMENT, candidate, policy.name, policy.digest, policy.to_json(), "{}", terms, "ann")
    release_id = releasing.start(store, Start(*given))
    with store.reading() as txn:
        expect = Expect.of(points.read(txn, AGENT, ENVIRONMENT))
    stage, entry = Stage("canary", ReleaseState.CANARY, 0), Entry("share", "ann", "open", release_id)
    moved = {"share_bp": 10_000, "lease_us": HOUR, "entry": entry, "expect": expect}
    releasing.set_share(store, release_id, stage, **moved)
    return release_id


def kinds(number: int) -> tuple[str, str, str, str]:
    """Kind, target, state and cause of an action: most are undone, some of each other sort are not."""
    place, turn = divmod(number, RARE)
    if turn:
        return "refund", f"order-{number}", "done", ""
    return (
        ("message", f"person-{number}", "done", "irreversible"),
        ("refund", f"refused-{number}", "done", "refused"),
        ("refund", f"broken-{number}", "done", "exhausted"),
        ("ticket", f"ticket-{number}", "done", "no_handler"),
        ("note", f"note-{number}", "failed", "in_doubt"),
        ("refund", f"order-{number}", "failed", ""),
        ("refund", f"order-{number}", "reserved", ""),
    )[place % 7]


def scene(place: Place, port: int, actions: int) -> Scene:
    """Runs of a bad bundle with their actions, and the revert."""
    store = store_at(place.migrated())
    _, candidate = adopted(store)
    release_id = release(store, candidate)
    os.environ["LASTGOOD_ALLOW_HOSTS"] = "127.0.0.1"  # the guard of outgoing URLs
    url = f"http://127.0.0.1:{port}/undo"
    undo = {"refund": {"call": url, "in_doubt": "undo"}, "note": url}
    body = {"agent": AGENT, "owner": "", "routes": [], "replay": "", "undo": undo, "signals": {}}
    with store.transaction() as txn:
        profile.store_body(txn, AGENT, json.dumps(body), actor="ann")
    served = serving(store)
    runs = [assign(served, Request(f"u{n}", "faq", None, None)).run_id for n in range(actions // EACH)]
    wanted = written(store, release_id, runs, actions)
    releasing.revert(store, release_id, Ending("ann", "it is bad", "trigger"))
    with store.reading() as txn:
        incident = incidents.listed(txn, AGENT, ENVIRONMENT)[0].id
    return Scene(store, incident, runs, wanted)


def written(store: Store, release_id: str, runs: list[str], actions: int) -> dict[str, str]:
    """Write the actions as the gate does, many in one transaction; why each is to be left over."""
    wanted, made = {}, []
    columns = ("id", "run_id", "release_id", "kind", "target", "state", "undo", "reserved_us", "settled_us")
    with store.transaction(durable=True) as txn:
        for number in range(actions):
            kind, target, state, cause = kinds(number)
            action = new_id("act_", txn.now_us)
            undo = "{}" if kind == "message" else json.dumps({"kind": kind})
            at_us = txn.now_us - actions + number
            settled = None if state == "reserved" else at_us
            made.append(
                (action, runs[number % len(runs)], release_id, kind, target, state, undo, at_us, settled)
            )
            wanted[action] = cause
        txn.insert_new("action", columns, made)
    return wanted


def recovering(url: str, incident: str, seed: int, dies: float) -> None:
    """A process that recovers, and is killed around some of its calls."""
    draw, call = random.Random(seed), Caller.call

    def fatal(self, handler, undo):
        if draw.random() < dies:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = call(self, handler, undo)
        if draw.random() < dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Caller.call = fatal
    recovery.recover(store_at(url), incident, take_over=True, patience_us=2_000_000)


def until_it_ends(found: Scene, port: int, between, dies: float = DIES) -> int:
    """Start the recovery again and again until it has ended; how many processes were killed."""
    killed = 0
    for seed in range(5_000):
        found.store.close()
        process = fork.Process(target=recovering, args=(found.store.url, found.incident, seed, dies))
        process.start()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        done = rows(found.store, "SELECT key FROM compensation WHERE state = 'done'")
        httpx.post(f"http://127.0.0.1:{port}/marked", json=[row["key"] for row in done], timeout=30)
        more = between(killed)
        (row,) = rows(found.store, "SELECT recovery FROM incident WHERE id = :id", id=found.incident)
        if row["recovery"] in {"done", "residue"} and not more:
            return killed
        if process.exitcode == 0:
            time.sleep(0.3)  # an action in doubt is not old enough yet
    raise AssertionError("the recovery never ended")


def judged(found: Scene, port: int, wanted: dict[str, str]) -> tuple[Counter, dict]:
    """What is not as it should be, and what the CRM counted."""
    state = httpx.get(f"http://127.0.0.1:{port}/state", timeout=30).json()
    effects, counts = Counter(state["effects"]), state["counts"]
    books = rows(found.store, "SELECT * FROM compensation")
    left = {row["action_id"]: row["cause"] for row in books if row["state"] == "residue"}
    undone = {action for action, cause in wanted.items() if not cause}
    wrong = Counter(
        {
            "lost": len(undone - effects.keys()),
            "doubled": sum(n > 1 for n in effects.values()),
            "undone though it can't be": len(effects.keys() - undone),
            "residue missing": len({a for a, cause in wanted.items() if cause and left.get(a) != cause}),
            "residue too much": len(left.keys() - {a for a, cause in wanted.items() if cause}),
            "not in the books": len(wanted.keys() - {row["action_id"] for row in books}),
            "called after its success was recorded": counts.get("called after its success was recorded", 0),
        }
    )
    return +wrong, counts


def crm(seed: int):
    """A CRM in a process of its own, and its port."""
    told = fork.Queue()
    process = fork.Process(target=crm_server.serve, args=(told, HANG_S, seed), daemon=True)
    process.start()
    return process, told.get(timeout=30)


def many(place: Place, actions: int) -> Line:
    """F9: many compensations, with crashes before and after the effect."""
    server, port = crm(1)
    try:
        found = scene(place, port, actions)
        killed = until_it_ends(found, port, lambda _: False)
        wrong, counts = judged(found, port, found.wanted)
        left = sum(bool(cause) for cause in found.wanted.values())
    finally:
        server.terminate()
        server.join()
    before, after = (counts.get(f"failed {when} the effect", 0) for when in ("before", "after"))
    figure = (
        f"{actions} actions, {counts.get('calls', 0)} calls ({before} failed before and {after} after the "
        f"effect, {counts.get('hung', 0)} hung), {killed} processes killed; lost {wrong['lost']}, "
        f"doubled {wrong['doubled']}; residue {left}, wrong {shown(wrong)}"
    )
    return Line(
        "F9",
        "compensations by a CRM that fails, hangs, acts twice; kill -9",
        figure,
        not wrong and killed > 0,
    )


def late(place: Place, groups: int, actions: int) -> Line:
    """F16: runs in flight act while their incident is recovered, and after that has ended."""
    server, port = crm(2)
    try:
        found = scene(place, port, 200)
        wanted, ended = dict(found.wanted), Counter()

        def act(killed: int) -> bool:
            if ended["groups"] >= groups:
                return False
            (row,) = rows(found.store, "SELECT recovery FROM incident WHERE id = :id", id=found.incident)
            over = row["recovery"] in {"done", "residue"}
            if not over and ended["groups"] >= groups // 2:
                return True  # the other half comes after an end
            ended["groups"] += 1
            ended["after its end"] += over
            for number in range(actions // groups):
                effect = Effect("refund", f"late-{killed}-{number}", UNDO)
                gated = acting.reserve(found.store, found.runs[number], effect)
                acting.settle(found.store, gated.id, "done")
                wanted[gated.id] = ""
            return True

        killed = until_it_ends(found, port, act)
        wrong, _ = judged(found, port, wanted)
    finally:
        server.terminate()
        server.join()
    figure = (
        f"{actions} late actions in {groups} groups ({ended['after its end']} after the recovery had ended), "
        f"{killed} processes killed; uncompensated {wrong['lost']}, wrong {shown(wrong)}"
    )
    holds = not wrong and ended["after its end"] > 0
    return Line("F16", "late actions of runs in flight, on_revert: finish", figure, holds)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both, on one kind of store."""
    yield many(place, FEW if quick else ACTIONS)
    yield late(place, 5 if quick else GROUPS, 20 if quick else LATE)


if __name__ == "__main__":
    main(run, "F9, F16")
