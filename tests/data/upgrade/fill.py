"""Fills a store by the code that stands in the current folder, and writes it as SQL; see README.md here."""

import importlib.util
import random
import sqlite3
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from lastgood import control, ids, recorder, registry, releasing
from lastgood.assigning import Request, assign
from lastgood.bundle import Bundle, Part
from lastgood.errors import LastgoodError
from lastgood.running import Run
from lastgood.snapshot import Serving
from lastgood.store.connection import SCHEMA

MINUTE = 60_000_000
POLICY = """
name: small
lost_after: 1 min
guardrails: {completion: {margin: 25 points}, validation: {margin: 25 points, matures: 2 min}}
alpha: {promote: 0.1}
caps:
  spend_usd_per_hour: 50
  spend_usd_per_run: 0.5
  runs_per_hour: 500
  actions_per_run: {message: 3}
  actions_per_hour: {message: 100}
triggers: {zero_tolerance: [data_leak], RATES}
steps: [{share: 40%, min_runs: 10, rule_out: 8}, {share: 50%, min_runs: 10}]
"""
PRICES = {"small": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}}
REFUND = {"name": "refund", "kind": "message", "risk": "low", "key": ["order"]}


def old_world(path):
    """The small world of the tests of that time, over a new store."""
    spec = importlib.util.spec_from_file_location("world", "tests/tasks/conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["world"] = module
    spec.loader.exec_module(module)
    module.upgrade(f"sqlite:///{path}")
    clock = module.ManualClock()
    return module.World(module.Store(f"sqlite:///{path}", clock), clock, "", "")


def bundle(world, text):
    parts = [
        Part.of_value("prompt", "1", text),
        Part.of_value("model", "1", {"default": "small", "prices": PRICES}),
        Part.of_value("tools", "1", [REFUND]),
        Part.of_value("memory", "1", {"retrieval": "none"}),
        Part.of_value("policy", "1", {"escalate_below": 0.5}),
    ]
    return registry.register(world.store, world.agent, Bundle(parts), author="ann")[0].bundle.id


def start(world, candidate):
    world.candidate = candidate
    return releasing.start(world.store, world.module.preflight.check(world.store, world.wanted()))


def drive(world, release_id, looks, runs=40, **work):
    world.drive(release_id, looks=looks, runs=runs, **work)


def work(world, runs, *, good=0.9, candidate=0.9, every=6_000_000):
    """What the world's own `work` does, by runs that say more of themselves."""
    for _ in range(runs):
        world.clock.advance(every)
        with Run(world.store, world.assign()) as run:
            chance = candidate if run.arm == "candidate" else good
            run.report(
                completed=world.draw.random() < chance,
                validated=True,
                cost_usd=round(world.draw.uniform(0.01, 0.2), 4),
                latency_s=round(world.draw.uniform(0.1, 2), 3),
                escalated=world.draw.random() < 0.1,
            )


def special(world, number):
    """Runs of which each leaves rows in tables that plain work leaves empty."""
    world.clock.advance(1_000_000)
    with Run(world.store, world.assign(f"special-{number}")) as run:
        run.input, run.output = f"order {number}, mail ann@example.com", {"said": "sent"}
        run.usage("small", tokens_in=900, tokens_out=120)
        with run.action("message", f"customer-{number}", undo={"kind": "apology", "to": number}):
            pass
        with suppress(RuntimeError), run.action("message", "nobody"):
            raise RuntimeError
        if hasattr(run, "tool"):
            run.tool(refund)(order=f"o-{number}")
        run.event("escalated_to", who="ben")
        run.report(completed=True, validated=True, operator_edits=1, mood=0.5 + number, escalated=False)
    return run


def refund(order):
    return {"refunded": order}


def conversation(world, name):
    world.clock.advance(1_000_000)
    for turn in range(2):
        with Run(world.store, assign(world.serving, Request(f"{name}-{turn}", "faq", None, name))) as run:
            run.report(completed=True, validated=turn == 0)


def left_open(world, name):
    """A run that is under way, with an action that nobody settled."""
    run = Run(world.store, world.assign(name))
    held = run.action("message", f"customer of {name}", undo={"kind": "apology"})
    held.__enter__()
    return run, held


def suspended(world):
    """A run that another process goes on with."""
    world.clock.advance(1_000_000)
    with Run(world.store, world.assign("suspended")) as run:
        run.input = {"order": 7}
        run.usage("small", tokens_in=100, tokens_out=10)
        run.report(validated=True)
        run.suspend()


def of_schema_3(world, run):
    """What came with schemas 0002 and 0003."""
    if SCHEMA < "0003":
        return
    from lastgood import retention

    with suppress(LastgoodError):
        recorder.record_event(world.store, run.id, "said", {}, token="forged")
    limits = retention.Limits(runs_us=12 * MINUTE, ledger_us=12 * MINUTE)
    retention.prune(world.store, limits, actor="ann")
    key = (world.store, world.agent, "staging")
    control.adopt(*key, world.baseline, actor="ann", reason="staging too")
    control.stop(*key, actor="ann", reason="the shop is down")
    denied = Run(world.store, assign(Serving(*key), Request("u", "faq", None, None)))
    with suppress(LastgoodError), denied, denied.action("message", "customer"):
        pass
    late(world, run.id, key="crm-1")


def late(world, run_id, **given):
    recorder.record_late(world.store, run_id, {"operator_edits": 4, "mood": 2.5}, **given)


def fill(world):
    world.module = sys.modules["world"]
    world.work = partial(work, world)
    more = ", cost: {limit_usd: 0.4}, repeated_failures: {times: 50}}" if SCHEMA >= "0003" else "}"
    world.policy(POLICY.replace("RATES}", f"rates: {{completion: {{limit: 0.95, alpha: 0.001}}}}{more}"))
    world.baseline = bundle(world, "first")
    bad, better, newest = (bundle(world, text) for text in ("bad", "better", "newest"))
    control.adopt(
        world.store, world.agent, world.environment, world.baseline, actor="ann", reason="it serves"
    )
    world.work(60)
    special(world, 0)
    world.clock.advance(11 * MINUTE)
    first = start(world, bad)
    drive(world, first, 60, candidate=0.2)
    world.clock.advance(MINUTE)
    second = start(world, better)
    drive(world, second, 60)
    special(world, 1)
    run = special(world, 2)
    conversation(world, "c-1")
    late(world, run.id)
    of_schema_3(world, run)
    third = start(world, newest)
    drive(world, third, 8, 20)
    late(world, special(world, 3).id)
    suspended(world)
    conversation(world, "c-2")
    # held by the caller: an action that nobody holds any more settles itself
    return [left_open(world, f"open-{number}") for number in range(8)]


def main(target):
    drawn = random.Random(1)
    ids.secrets = SimpleNamespace(randbits=drawn.getrandbits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lastgood.db"
        world = old_world(path)
        opened = fill(world)
        world.store.close()
        held, clock = sqlite3.connect(path), world.clock
        head = f"-- schema {SCHEMA}, wall clock {clock.wall_us}, since boot {clock.since_boot_us}"
        Path(target).write_text("\n".join([head, *held.iterdump()]) + "\n")
        held.close()
        del opened


if __name__ == "__main__":
    main(sys.argv[1])
