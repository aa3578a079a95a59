"""Planted causes: releases on a real store under a manual clock, whose bundle or provider is at fault.

Everything that decides is the pipeline's own: assignments, triggers, looks, the revert, the watch. Planted are
only the outcomes: base rates, traffic, share, fault and its size are drawn anew for each.
"""

import json
import random
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from config.policy import Policy
from evaluators.watched import Answer
from lastgood import control, recorder, registry, releasing
from lastgood.assigning import Assigned, Request, assign
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.clock import ManualClock
from lastgood.decision import CANDIDATE
from lastgood.errors import LastgoodError
from lastgood.outcome import Outcome
from lastgood.releasing import Ending
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from tasks import driving, preflight, watching

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
POLICY = """
name: planted
lost_after: 1 min
look_every: 15 min
steps: [{share: SHARE}]
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null, actions_per_run: {}, actions_per_hour: {}}
guardrails: {completion: {margin: 5 points}, validation: {margin: 5 points}, escalation: {margin: 5 points}, cost: {}}
triggers: {rates: {completion: {limit: 0.15}, validation: {limit: 0.15}, escalation: {limit: 0.2}}}
on_undecided: ask
watch: {time: 45 min}
"""
AGENT, PLACE = "support", "production"
#: agents with a history of their own; runs of the baseline that are recorded together
AGENTS, BATCH = 10, 10


@dataclass(frozen=True)
class Rates:
    """How runs come out."""

    completion: float
    validation: float
    escalation: float
    #: US dollars, the mean of a log-normal with sigma 1
    cost: float


@dataclass
class Planted:
    """One release, and what is planted in it."""

    draw: random.Random
    store: Store
    clock: ManualClock
    base: Rates
    #: seconds between two runs
    every_s: float
    share: int
    old: str = ""
    new: str = ""
    #: outcomes of the candidate, and of everybody, where they differ from `base`
    bundle: Rates | None = None
    provider: Rates | None = None
    model: str = "m-1"
    served: int = 0
    _serving: Serving | None = None
    release_id: str = ""
    waiting: list[recorder.Report] = field(default_factory=list)

    def assigned(self) -> Assigned:
        self.served += 1
        kind = self.draw.choice(("faq", "faq", "order"))
        assert self._serving is not None
        return assign(self._serving, Request(f"u{self.served}", kind, None, None))

    def outcome(self, bundle_id: str) -> Outcome:
        rates = self.provider or (self.bundle if bundle_id == self.new and self.bundle else self.base)
        failed = self.draw.random() < 0.3 * (1 - rates.completion)
        made = Outcome(
            status="failed" if failed else "ended",
            completed=not failed and self.draw.random() < rates.completion,
            validated=not failed and self.draw.random() < rates.validation,
            escalated=self.draw.random() < rates.escalation,
            cost_usd=rates.cost * self.draw.lognormvariate(-0.5, 1.0),
            error="ToolError" if failed else None,
        )
        made.usage.append({"model": self.model, "tokens_in": 10, "tokens_out": 10, "cost_usd": None})
        return made

    def work(self, runs: int) -> None:
        """Serve so many runs at this traffic."""
        for _ in range(runs):
            self._one()
        self._flush()

    def for_minutes(self, minutes: float) -> None:
        until = self.clock.now_us() + int(minutes * MINUTE)
        while self.clock.now_us() < until:
            self._one()
        self._flush()

    def _one(self) -> None:
        """One run; a candidate's is recorded as it ends, the baseline's wait for each other a little."""
        self.clock.advance(int(self.every_s * SECOND * self.draw.expovariate(1.0)))
        run = self.assigned()
        self.waiting.append(recorder.Report(run.run_id, self.outcome(run.bundle.id)))
        if run.decision.arm == CANDIDATE or len(self.waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            recorder.record_batch(self.store, self.waiting)
            self.waiting = []

    def start(self) -> None:
        text = POLICY.replace("SHARE", f"{self.share}%")
        policy = Policy.load(text)
        with self.store.transaction() as txn:
            values = {"digest": policy.digest, "name": policy.name, "body": policy.to_json(), "author": "ann"}
            txn.insert("policy", {**values, "created_us": txn.now_us})
        wanted = preflight.Wanted(AGENT, self.new, policy.name, actor="ann")
        self.release_id = releasing.start(self.store, preflight.check(self.store, wanted))

    def drive(self, minutes: float) -> str:
        """Look every 15 minutes until the release ends, or so long; its state. Triggers wait for no look."""
        driver = driving.begin(self.store, self.release_id, "me")
        until = self.clock.now_us() + int(minutes * MINUTE)
        while self.clock.now_us() < until:
            what = driving.due(self.store, driver)
            if what.stage is driving.StageName.ENDED:
                break
            driving.act(self.store, driver, what)
            if what.waits:
                self._until_the_next_look()
        return self.state()

    def _until_the_next_look(self) -> None:
        for _ in range(15):
            self.for_minutes(1.0)
            if self.state() in {"reverted", "promoted"}:
                return

    def state(self) -> str:
        with self.store.reading() as txn:
            return str(releasing.read(txn, self.release_id)["state"])

    def watch(self) -> watching.Glance:
        return watching.look(self.store, watching.begin(self.store, self.release_id))


class Unsynced(Store):
    """A store that waits for no disk."""

    def transaction(self, *, durable: bool = False, **given):
        del durable
        return super().transaction(**given)


def season(template: Path, folder: Path) -> None:
    """Write agents with a history of 800 runs, whose base rates are drawn by their number."""
    for number in range(AGENTS):
        made = _opened(template, folder, f"agent-{number}", random.Random(f"agent {number}"))
        for name in ("old", "new"):
            bundle = Bundle([Part.of_value(kind, "1", name) for kind in KINDS])
            setattr(made, name, registry.register(made.store, AGENT, bundle, author="ann")[0].bundle.id)
        control.adopt(made.store, AGENT, PLACE, made.old, actor="ann", reason="it serves")
        made._serving = Serving(made.store, AGENT, PLACE)
        made.work(800)
        made.clock.advance(2 * MINUTE)
        made.store.close()
        known = {"old": made.old, "new": made.new, "base": asdict(made.base), "clock": asdict(made.clock)}
        (folder / f"agent-{number}.json").write_text(json.dumps(known), "utf-8")


def _opened(source: Path, folder: Path, name: str, draw: random.Random) -> Planted:
    shutil.copy(source, folder / f"{name}.db")
    clock = ManualClock()
    base = Rates(draw.uniform(0.92, 0.98), draw.uniform(0.93, 0.98), draw.uniform(0.02, 0.08), 0.08)
    store = Unsynced(f"sqlite:///{folder / name}.db", clock)
    every_s, share = draw.uniform(3.0, 12.0), draw.choice((10, 20, 30))
    return Planted(draw, store, clock, base, every_s, share)


def planted(folder: Path, seed: int) -> Planted:
    """One of the seasoned agents, its traffic and share drawn by a seed."""
    source = folder / f"agent-{seed % AGENTS}"
    known = json.loads(source.with_suffix(".json").read_text("utf-8"))
    found = _opened(source.with_suffix(".db"), folder, f"seed-{seed}", random.Random(seed))
    for name, value in known["clock"].items():
        setattr(found.clock, name, value)
    found.old, found.new, found.base = known["old"], known["new"], Rates(**known["base"])
    found.served = 1_000_000  # no unit of the history comes again
    found._serving = Serving(found.store, AGENT, PLACE)
    return found


def worse(draw: random.Random, base: Rates) -> Rates:
    """One of the faults that the issue names, in a size that a release reverts for."""
    kind = draw.choice(("malformed", "wrong", "cheap", "mixed"))
    if kind == "malformed":
        return replace(base, completion=draw.uniform(0.2, 0.5), validation=draw.uniform(0.2, 0.5))
    if kind == "wrong":
        return replace(base, validation=draw.uniform(0.4, 0.7))
    if kind == "cheap":
        return replace(base, escalation=draw.uniform(0.35, 0.6), validation=draw.uniform(0.6, 0.8))
    return replace(base, completion=draw.uniform(0.5, 0.7), cost=0.2)


def bundle_at_fault(world: Planted) -> watching.Glance | None:
    """The candidate is bad from its first run on; leaving it helps."""
    world.bundle = worse(world.draw, world.base)
    world.start()
    if world.drive(600) != "reverted":
        return None
    world.for_minutes(46)
    return world.watch()


def provider_at_fault(world: Planted) -> watching.Glance | None:
    """After a while both bundles fail alike, and go on failing; half of the time the model's name changed."""
    world.start()
    if world.drive(world.draw.uniform(5, 20)) != "compare":
        return None
    world.provider = worse(world.draw, world.base)
    world.model = world.draw.choice(("m-1", "m-2"))
    if world.drive(600) != "reverted":
        return None
    world.for_minutes(46)
    return world.watch()


def provider_healed(world: Planted) -> watching.Glance | None:
    """The same, and the provider is well again when the bundle is left: no cause to praise the revert."""
    world.start()
    if world.drive(world.draw.uniform(5, 20)) != "compare":
        return None
    world.provider = worse(world.draw, world.base)
    if world.drive(600) != "reverted":
        return None
    world.provider = None
    world.for_minutes(46)
    return world.watch()


def nothing_wrong(world: Planted) -> watching.Glance | None:
    """A person reverts a healthy candidate: nothing was wrong, nothing can be fixed."""
    world.start()
    if world.drive(world.draw.uniform(20, 60)) != "compare":
        return None
    releasing.revert(world.store, world.release_id, Ending("ann", "a feeling", by="hand"))
    world.for_minutes(46)
    return world.watch()


def few_runs(world: Planted) -> watching.Glance | None:
    """The bundle or the provider was at fault, and hardly anybody came after the revert."""
    at_fault = world.draw.random() < 0.5
    world.start()
    rates = worse(world.draw, world.base)
    world.bundle, world.provider = (rates, None) if at_fault else (None, rates)
    if world.drive(600) != "reverted":
        return None
    world.work(world.draw.randint(0, 3))
    world.clock.advance(46 * MINUTE)
    return world.watch()


def promoted_well(world: Planted) -> watching.Glance | None:
    """A candidate as good as the baseline is promoted by hand, and holds."""
    return _promoted(world, None)


def promoted_then_provider(world: Planted) -> watching.Glance | None:
    """It is promoted, and then the provider fails."""
    return _promoted(world, worse(world.draw, world.base))


def _promoted(world: Planted, provider: Rates | None) -> watching.Glance | None:
    world.start()
    if world.drive(30) not in {"compare", "promoted"}:
        return None
    if world.state() != "promoted":
        ending = Ending("ann", "good enough", by="hand")
        releasing.promote(world.store, world.release_id, proven=False, ending=ending, expect=None)
    world.provider = provider
    world.for_minutes(46)
    return world.watch()


#: scenario: what is planted, the answers that are right, and those that would be wrong
SCENARIOS = {
    "provider at fault": (provider_at_fault, {Answer.ELSEWHERE}, {Answer.FIXED}),
    "bundle at fault": (bundle_at_fault, {Answer.FIXED}, {Answer.ELSEWHERE}),
    "provider at fault, healed at the revert": (provider_healed, {Answer.ELSEWHERE}, {Answer.FIXED}),
    "nothing wrong, reverted by hand": (
        nothing_wrong, {Answer.INCONCLUSIVE}, {Answer.FIXED, Answer.ELSEWHERE},
    ),
    "hardly anybody since the revert": (
        few_runs, {Answer.INCONCLUSIVE, Answer.ELSEWHERE}, {Answer.FIXED},
    ),
    "promoted, and it holds": (promoted_well, {Answer.FIXED}, {Answer.ELSEWHERE}),
    "promoted, then the provider fails": (promoted_then_provider, {Answer.ELSEWHERE}, {Answer.FIXED}),
}  # fmt: skip


def result(folder: Path, name: str, seed: int) -> dict[str, object]:
    """One planted release of a scenario; its answer is None where the release did not end as planned."""
    world = planted(folder, seed)
    try:
        found = SCENARIOS[name][0](world)
    except LastgoodError as error:
        return {"seed": seed, "answer": None, "why": str(error)}
    finally:
        world.store.close()
        for file in folder.glob(f"seed-{seed}.db*"):
            file.unlink()
    if found is None:
        return {"seed": seed, "answer": None, "why": "the release did not end as planned"}
    return {
        "seed": seed, "answer": str(found.verdict.answer), "stage": found.stage, "runs": found.verdict.runs_after,
        "left": max(s.n.get("bad", 0) for s in found.verdict.signals), "reason": found.verdict.reason,
        "hints": sorted({h.kind for h in found.verdict.hints}), "why": json.dumps([world.every_s, world.share]),
    }  # fmt: skip
