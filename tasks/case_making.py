"""From an incident to regression cases: choose runs, derive checks, record, prove, store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from evaluators.paired import Rules
from lastgood import case_store, registry
from lastgood.bundle import Bundle
from lastgood.case_store import Draft, State, Stored
from lastgood.cases import Case
from lastgood.errors import InvalidInput
from lastgood.fixtures import Fixtures
from lastgood.records import redact, scrubber
from lastgood.rehearsal import Access, Purse
from lastgood.replaying import Means, Replay, load
from lastgood.store.connection import Store
from tasks import failing, proving
from tasks.failing import Failing

#: runs of a group that are tried before it is left without a proven case
TRIES = 3
#: replays on each bundle from which answers are recorded: an agent that varies asks differently
RECORDINGS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that failed the same way."""

    #: how, in words
    signature: str
    #: ids, oldest first
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What cases are made from."""

    agent: str
    environment: str
    #: references of the bundles
    bad: str
    good: str
    groups: tuple[Group, ...]
    incident_id: str | None = None
    culprits: tuple[str, ...] = ()
    #: `module:function` or a URL
    replay: str = ""
    #: rules of redaction on top of those by which the store keeps inputs
    redact: tuple[str, ...] = ("email", "phone", "card")
    #: hosts that are called for real: model vendors
    live: frozenset[str] = frozenset()
    #: hosts where recording may send anything
    sandbox: frozenset[str] = frozenset()
    #: ceiling for real model calls, US dollars
    usd: float = 1.0
    #: seconds that one replay may take
    timeout_s: float = 60.0
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What making and proving need, loaded once."""

    store: Store
    wanted: Wanted
    replay: Replay
    bad: Bundle
    good: Bundle
    purse: Purse

    @property
    def means(self) -> Means:
        """What proving may use: fixtures, and live hosts under the ceiling."""
        return Means(Access(live=self.wanted.live), self.purse, self.wanted.timeout_s)

    @property
    def recording(self) -> Means:
        """What recording may use: reads for real, effects in a sandbox alone."""
        access = Access(self.wanted.live, record=True, sandbox=self.wanted.sandbox)
        return Means(access, self.purse, self.wanted.timeout_s)


def open_workshop(store: Store, wanted: Wanted) -> Workshop:
    """Load the replay and both bundles; raises `InvalidInput` and `NotFound` before anything is written."""
    scrubber(wanted.redact)  # a rule that does not compile is refused by name
    if not wanted.groups:
        raise InvalidInput(
            f"no failing run of {wanted.agent} is named, so there is nothing to make a case of; use --run"
        )
    replay = load(wanted.agent, wanted.replay)
    bad, good = (registry.load(store, reference).bundle for reference in (wanted.bad, wanted.good))
    if bad.id == good.id:
        raise InvalidInput(
            f"{bad.short} can't be the bad bundle and the last known good at once; name another"
        )
    return Workshop(store, wanted, replay, bad, good, Purse(wanted.usd))


def make(store: Store, wanted: Wanted) -> list[Stored]:
    """Make, prove and store the cases of every group; what can't be proven stays a candidate, with why.

    Making them again replaces what was made before of the same runs.
    """
    shop = open_workshop(store, wanted)
    chosen = failing.fewest([group.runs for group in wanted.groups])
    made: list[Stored] = []
    for group in wanted.groups:
        first = next(run for run in chosen if run in group.runs)
        if any(first == each.draft.run_id for each in made):
            continue  # it stands for an earlier group too
        order = [first, *(run for run in group.runs if run != first)][:TRIES]
        made.append(_stand_for(shop, group, order))
    return made


def _stand_for(shop: Workshop, group: Group, runs: Sequence[str]) -> Stored:
    """Store the first of a group's runs that can be proven; else the first, as a candidate."""
    drafts: list[Draft] = []
    for run_id in runs:
        draft = draft_of(shop, group, run_id)
        if draft.state is State.ADMITTED:
            return case_store.put(shop.store, draft)
        drafts.append(draft)
    return case_store.put(shop.store, drafts[0])


def draft_of(shop: Workshop, group: Group, run_id: str) -> Draft:
    """Make a case of one run, recorded and proven as far as that goes."""
    wanted = shop.wanted
    with shop.store.reading() as txn:
        run = failing.read(txn, run_id)
    case = _case(shop, group, run)
    draft = Draft(
        wanted.agent, wanted.environment, case, shop.bad.id, shop.good.id, group.signature, run_id,
        wanted.incident_id,
    )  # fmt: skip
    if run.unkept:
        return replace(draft, reason=f"the input of {run_id} can't be replayed: {run.unkept}")
    if not case.checks:
        return replace(draft, reason="nothing that the store has tells right from wrong; add a check")
    return prove(shop, replace(draft, case=record(shop, case)))


def _case(shop: Workshop, group: Group, run: Failing) -> Case:
    wanted, rules = shop.wanted, shop.wanted.redact
    checks, expected = failing.checks_of(run, wanted.culprits)
    told = {
        "agent": wanted.agent,
        "environment": wanted.environment,
        "incident": wanted.incident_id,
        "run": run.run_id,
        "signature": redact(group.signature, rules),
        "bad": shop.bad.id,
        "good": shop.good.id,
        "replay": wanted.replay,
        "task_type": run.task_type,
    }
    return Case(
        name=name_of(group.signature, run.run_id),
        inputs=redact(run.given, rules),
        checks=checks,
        expected=redact(expected, rules),
        fixtures=Fixtures(run.recorded, rules).redacted(),
        told={name: value for name, value in told.items() if value is not None},
    )


def name_of(signature: str, run_id: str) -> str:
    """Return a readable name, the same for the same run."""
    words = re.sub(r"[^a-z0-9]+", "-", signature.lower()).strip("-")[:48].strip("-")
    return f"{words or 'case'}-{run_id[-6:].lower()}"


def record(shop: Workshop, case: Case) -> Case:
    """Replay on both bundles with reads for real; return the case with every answer as a fixture."""
    known = list(case.fixtures.entries)
    for bundle in (shop.good, shop.bad) * RECORDINGS:
        fixtures = replace(case.fixtures, entries=tuple(known))
        played = shop.replay.play(bundle, case.inputs, fixtures, shop.recording)
        known += Fixtures(played.recorded.entries, case.fixtures.rules).redacted().entries
    return replace(case, fixtures=replace(case.fixtures, entries=tuple(known)))


def prove(shop: Workshop, draft: Draft) -> Draft:
    """Prove a case; return it admitted, or as a candidate with the reason."""
    proven = proving.prove(draft.case, shop.replay, (shop.bad, shop.good), shop.means, shop.wanted.rules)
    told = {**draft.case.told, "proof": proven.to_json()}
    case = replace(draft.case, told=told)
    if proven.gate is None:
        return replace(draft, case=case, state=State.CANDIDATE, reason=proven.reason, proof=proven.to_json())
    case = replace(case, attempts=proven.gate.attempts, needed=proven.gate.needed)
    return replace(draft, case=case, state=State.ADMITTED, reason="", proof=proven.to_json())


__all__ = ["Group", "Wanted", "Workshop", "draft_of", "make", "name_of", "open_workshop", "prove", "record"]
