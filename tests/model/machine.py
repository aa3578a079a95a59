"""The rules: what may happen, in any order, as Hypothesis draws it."""

import sys
from collections import Counter
from typing import Any

from afterwards import AFTER, ready
from bench import AGENT, PLACE, Plan, Yard
from core import HOUR, MINUTE, SECOND
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from looks import KINDS
from tampering import tamper_bundle, tamper_ledger, tamper_point
from world import World

from lastgood.caps import Caps
from lastgood.release import Terms
from lastgood.triggers import RateTrigger, Triggers

TIGHT = Caps(2.0, 0.5, 6, (("message", 2),), (("message", 3),))
OPEN = Caps(None, None, None)
RATES = (RateTrigger("completion", 0.2, 0.05), RateTrigger("lost", 0.2, 0.05))
EDITS = (RateTrigger("completion", 0.2, 0.05), RateTrigger("corrections", 0.1, 0.05))
LEAK = ("data_leak",)
TERMS = (
    Terms(
        caps=TIGHT, block_size=2, cooldown_us=30 * MINUTE, on_revert="finish", watch_us=30 * MINUTE,
        triggers=Triggers(LEAK),
    ),
    Terms(caps=OPEN, block_size=3, cooldown_us=5 * MINUTE, triggers=Triggers(LEAK, RATES)),
    Terms(
        caps=Caps(5.0, 0.5, 100), eligible_risks=("low", "medium"), strata=("faq",), after_watch="revert",
        triggers=Triggers(LEAK, EDITS), on_revert="finish",
    ),
)  # fmt: skip

actors = st.integers(0, 1)
beliefs = st.integers(0, 2).map(lambda n: n)
plans = st.one_of(
    st.none(),
    st.none(),
    st.builds(Plan, st.just("statement"), st.integers(0, 12), st.booleans()),
    st.builds(Plan, st.sampled_from(["commit", "committed"]), st.just(0), st.booleans()),
)
leases = st.sampled_from([MINUTE, 5 * MINUTE, HOUR])
shares = st.sampled_from([0, 1_000, 5_000, 10_000])
units = st.sampled_from([f"u{n}" for n in range(1, 9)])
risks = st.sampled_from([None, None, "low", "medium", "high"])
tasks = st.sampled_from(["faq", "refund"])
conversations = st.sampled_from([None, None, "c1", "c2"])
kinds = st.sampled_from(["message", "message", "refund"])
keys = st.sampled_from([None, "k1", "k2"])
tokens = st.sampled_from(["none", "none", "right", "right", "forged", "crossed", "expired", "missing"])
outcomes = st.fixed_dictionaries(
    {"completed": st.sampled_from([True, True, False, None]), "latency_s": st.sampled_from([None, 0.25])},
    optional={
        "cost_usd": st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75]),
        "operator_edits": st.sampled_from([0, 2]),
        "status": st.sampled_from(["ended", "failed", "disconnected"]),
    },
)
fields = st.sampled_from(
    [{"operator_edits": 3}, {"completed": False}, {"completed": True}, {"cost_usd": 0.4}, {"cost_usd": 0.9}]
)
numbers = st.integers(0, 200)


def machine(  # noqa: C901  its rules are its body
    yard: Yard, reached: Counter[str], steps: list[int]
) -> type[RuleBasedStateMachine]:
    """The machine over a yard; it adds to the situations and the steps (`steps[0]`)."""

    class Release(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.world = World(yard, reached)

        def teardown(self) -> None:
            try:
                if sys.exc_info()[0] is None:  # else it has failed already
                    self.world.watch.at_the_end()
            finally:
                steps[0] += self.world.steps
                self.world.close()

        def _run(self, number: int) -> Any:
            runs = list(self.world.ref.runs.values())
            return runs[-1 - number % len(runs)] if runs else None

        @rule(actor=actors, bundle=st.integers(0, 3), terms=st.sampled_from(TERMS), plan=plans)
        def start(self, actor, bundle, terms, plan):
            self.world.start(actor, self.world.bundles[bundle], terms, plan)

        @rule(actor=actors, which=beliefs, share_bp=shares, lease_us=leases, plan=plans)
        def share(self, actor, which, share_bp, lease_us, plan):
            self.world.share(actor, which, share_bp, lease_us, plan)

        @rule(actor=actors, which=beliefs, state=st.sampled_from(["cap", "compare", "asking"]), plan=plans)
        def enter(self, actor, which, state, plan):
            self.world.enter(actor, which, state, plan)

        @rule(actor=actors, which=beliefs, lease_us=leases, plan=plans)
        def renew(self, actor, which, lease_us, plan):
            self.world.renew(actor, which, lease_us, plan)

        @rule(actor=actors, which=beliefs, plan=plans)
        def take_over(self, actor, which, plan):
            self.world.take_over(actor, which, plan)

        @rule(actor=actors, which=beliefs, kind=st.sampled_from(KINDS), runs=st.integers(0, 5), plan=plans)
        def look(self, actor, which, kind, runs, plan):
            self.world.look(actor, which, kind, runs, plan)

        @rule(actor=actors, which=beliefs, held=st.booleans(), plan=plans)
        def promote(self, actor, which, held, plan):
            self.world.promote(actor, which, held=held, plan=plan)

        @rule(
            actor=actors, which=beliefs, by=st.sampled_from(["hand", "evidence", "lapse"]),
            held=st.booleans(), plan=plans,
        )  # fmt: skip
        def revert(self, actor, which, by, held, plan):
            self.world.revert(actor, which, by, held=held, plan=plan)

        @rule(actor=actors, to=st.integers(-3, 3), vouched=st.booleans(), plan=plans)
        def rollback(self, actor, to, vouched, plan):
            target = self.world.bundles[to] if to >= 0 else None
            self.world.rollback(actor, target, vouched=vouched, plan=plan)

        @rule(
            actor=actors,
            what=st.sampled_from(["kill", "clear", "clear", "stop", "unstop", "unstop"]),
            plan=plans,
        )
        def switch(self, actor, what, plan):
            self.world.switch(actor, what, plan)

        @rule(actor=actors, bundle=st.integers(0, 3), plan=plans)
        def readmit(self, actor, bundle, plan):
            self.world.readmit(actor, self.world.bundles[bundle], plan)

        @precondition(lambda self: self.world.ref.incidents)
        @rule(
            actor=actors, number=numbers, how=st.sampled_from(["reason", "case", "nothing"]), plan=plans
        )  # fmt: skip
        def learn(self, actor, number, how, plan):
            self.world.learn(actor, number, how, plan)

        @rule(us=st.sampled_from([0, SECOND, 61 * SECOND, 11 * MINUTE, HOUR]))
        def wait(self, us):
            self.world.wait(us)

        @rule(us=st.sampled_from([-HOUR, HOUR, 24 * HOUR]))
        def set_clock(self, us):
            self.world.set_clock(us)

        @rule(actor=actors, cut=st.sampled_from([True, False, False]))
        def link(self, actor, cut):
            self.world.link(actor, cut=cut)

        @rule()
        def hear(self):
            self.world.hear()

        @rule(actor=actors, unit=units, risk=risks, task_type=tasks, conversation=conversations, plan=plans)
        def begin(self, actor, unit, risk, task_type, conversation, plan):
            self.world.begin(actor, unit, risk, task_type, conversation, plan)

        @precondition(lambda self: self.world.ref.runs)
        @rule(
            actor=actors, number=numbers, kind=kinds, key=keys,
            end=st.sampled_from(["done", "done", "failed", "open"]), plan=plans, idempotent=st.booleans(),
        )  # fmt: skip
        def act(self, actor, number, kind, key, end, plan, idempotent=False):
            self.world.act(actor, self._run(number), kind, key, end, plan, idempotent=idempotent)

        @precondition(lambda self: self.world.ref.runs)
        @rule(
            actor=actors,
            reports=st.lists(st.tuples(numbers, outcomes), min_size=1, max_size=4),
            token=tokens,
            plan=plans,
        )
        def end(self, actor, reports, token, plan):
            runs = [self._run(number) for number, _ in reports]
            self.world.end(actor, runs, [dict(given) for _, given in reports], token, plan)

        @precondition(lambda self: self.world.ref.runs)
        @rule(actor=actors, number=numbers, given=fields, key=keys, token=tokens, plan=plans)
        def late(self, actor, number, given, key, token, plan):
            self.world.late(actor, self._run(number), dict(given), key, token, plan)

        @precondition(lambda self: self.world.ref.runs)
        @rule(
            actor=actors,
            number=numbers,
            name=st.sampled_from(["data_leak", "thumbs_up"]),
            token=tokens,
            plan=plans,
        )
        def event(self, actor, number, name, token, plan):
            self.world.event(actor, self._run(number), name, token, plan)

        @rule(what=st.sampled_from(["point", "ledger", "bundle"]), number=numbers)
        def tamper(self, what, number):
            {"point": tamper_point, "ledger": tamper_ledger, "bundle": tamper_bundle}[what](
                self.world, number
            )

        # -- the two rules of the domain: what random rules seldom put together

        @rule(
            actor=actors, bundle=st.integers(1, 3), terms=st.sampled_from(TERMS), share_bp=shares,
            members=st.lists(st.tuples(actors, units, tasks, conversations, kinds, outcomes), min_size=2, max_size=8),
            asks=st.booleans(),
            then=st.sampled_from(["", *AFTER]),
        )  # fmt: skip
        def burst(self, actor, bundle, terms, share_bp, members, asks, then):
            """A canary opens, runs are routed, act and end; then what may come of it."""
            world = self.world
            self._open(actor, bundle, terms, share_bp or 10_000, "asking" if asks else "compare")
            for place, unit, task_type, conversation, kind, outcome in members:
                run = world.begin(place, unit, None, task_type, conversation)
                if run is None:
                    continue
                world.act(place, run, kind, None, "done")
                if outcome.get("status") != "disconnected":
                    world.end(1 - place, [run], [dict(outcome)], "none")

            if then:
                AFTER[then](world, actor)

        def _open(self, actor: int, bundle: int, terms: Terms, share_bp: int, state: str) -> None:
            """A canary that serves, whatever was before."""
            world, ref = self.world, self.world.ref
            ready(world, actor, bundle)
            if ref.release is None:
                world.start(actor, world.bundles[bundle], terms)
            world.remember()
            world.share(actor, 0, share_bp, HOUR)
            world.remember()
            world.enter(actor, 0, state)

        @rule(
            actor=actors, bundle=st.integers(1, 3), terms=st.sampled_from(TERMS), far=st.booleans(),
            cut=st.booleans(), plan=plans, asks=st.booleans(), opens=st.sampled_from([True, True, False]),
            by=st.sampled_from(["hand", "evidence", "event", "rollback"]), after=st.sampled_from([0, SECOND, 2 * HOUR]),
        )  # fmt: skip
        def storm(self, actor, bundle, terms, far, cut, plan, asks, opens, by, after):
            """A revert with a crash point, an action under way, a router cut off; then they all go on."""
            world = self.world
            if opens:
                self._open(actor, bundle, terms, 10_000, "asking" if asks else "compare")
                world.begin(actor, "u3", None, "faq", "c1")
            run = next(
                (
                    r
                    for r in reversed(world.ref.runs.values())
                    if r.release and r.release == world.ref.release
                ),
                None,
            )
            if far:
                world.hear()
            if run is not None:
                world.act(actor, run, "message", "k1", "open")
            world.link(1 - actor, cut=cut)
            if by == "rollback":
                world.rollback(actor, None, vouched=False, plan=plan)
            elif by == "event" and run is not None:
                world.event(actor, run, "data_leak", "right", plan)
            else:
                world.revert(actor, 0, "hand" if by == "event" else by, held=False, plan=plan)
            world.wait(after)
            world.link(1 - actor, cut=False)
            if run is not None:
                world.act(1 - actor, run, "message", None, "done")
                world.act(actor, run, "message", "k1", "done")
                world.late(actor, run, {"operator_edits": 1}, None, "right")
            world.begin(1 - actor, "u1", None, "faq", "c1")
            if run is not None:
                world.start(actor, run.bundle, TERMS[0])

    return Release


__all__ = ["AGENT", "PLACE", "machine"]
