"""From an incident to regression cases: choose runs, derive checks, record, prove, store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from evaluators.paired import Rules
from lastgood import case_store, cases, incident_view, incidents, points, profile, recorder, registry
from lastgood.bundle import Bundle
from lastgood.case_store import Draft, State, Stored
from lastgood.cases import Case
from lastgood.errors import InvalidInput
from lastgood.fixtures import Fixture, Fixtures
from lastgood.records import redact, scrubber
from lastgood.rehearsal import Access, Purse
from lastgood.replaying import Means, Replay, load
from lastgood.store.connection import Store
from lastgood.tool import manifest_of
from lastgood.tool_schema import misfit
from tasks import failing, proving
from tasks.failing import Failing

#: runs of a group that are tried before it is left without a proven case, and that are read to find those
TRIES, READ = 3, 200
#: replays on each bundle from which answers are recorded: an agent that varies asks differently
RECORDINGS = 2
#: bytes of one case, its recorded answers among them
MAX_BYTES = 1_500_000


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that failed the same way."""

    #: how, in words
    signature: str
    #: ids, oldest first
    runs: tuple[str, ...]
    #: whether all that is known to be wrong is that they were lost: what one told later, if any did, is not
    lost: bool = False


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
        order = [first, *(run for run in group.runs if run != first)][:READ]
        made.append(_stand_for(shop, group, order))
    return made


def _stand_for(shop: Workshop, group: Group, runs: Sequence[str]) -> Stored:
    """Store the first of a group's runs that can be proven; else the first that was tried, as a candidate.

    A run that can't be replayed costs none of the tries: another one of its group may have what it lacks.
    """
    tried: list[Draft] = []
    untried: list[Draft] = []
    for run_id in runs:
        draft = _draft_of(shop, group, run_id)
        if draft.reason:
            untried.append(draft)
            continue
        draft = _proven(shop, draft)
        if draft.state is State.ADMITTED:
            return case_store.put(shop.store, draft)
        tried.append(draft)
        if len(tried) == TRIES:
            break
    return case_store.put(shop.store, [*tried, *untried][0])


def _draft_of(shop: Workshop, group: Group, run_id: str) -> Draft:
    """Make a case of one run, not tried yet; its reason says why it can't be, where it can't."""
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
    return draft


def _proven(shop: Workshop, draft: Draft) -> Draft:
    """Record a case and prove it, as far as that goes."""
    recorded = replace(draft, case=_sharpened(shop, record(shop, draft.case)))
    size = len(cases.to_json(recorded.case).encode())
    if size > MAX_BYTES:
        return replace(
            draft,
            reason=f"its recorded answers make {size:,} bytes, {MAX_BYTES:,} are kept; narrow the reads",
        )
    return prove(shop, recorded)


def _case(shop: Workshop, group: Group, run: Failing) -> Case:
    wanted, rules = shop.wanted, shop.wanted.redact
    failed = replace(run, outcome=None) if group.lost else run
    checks, expected = failing.checks_of(failed, wanted.culprits)
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
        fixtures=Fixtures(_known(shop, run), rules).redacted(),
        told={name: value for name, value in told.items() if value is not None},
    )


def _sharpened(shop: Workshop, case: Case) -> Case:
    """Leave out the checks that the last known good fails too, as long as others are left."""
    played = shop.replay.play(shop.good, case.inputs, case.fixtures, shop.means)
    kept = tuple(check for check in case.checks if case.why_not(check, played) is None)
    return replace(case, checks=kept) if kept else case


def _known(shop: Workshop, run: Failing) -> tuple[Fixture, ...]:
    """Answers of effects that the store has, where recording may send nothing.

    They came through the bad bundle's own tools: one that the good bundle's manifest does not take is none.
    """
    if shop.wanted.sandbox:
        return ()
    declared = manifest_of(shop.good.tools).tools
    return tuple(
        answer
        for answer in run.recorded
        if (tool := declared.get(answer.tool)) is not None
        and (tool.output is None or misfit(tool.output, answer.result) is None)
    )


def name_of(signature: str, run_id: str) -> str:
    """Return a readable name, the same for the same run."""
    words = re.sub(r"[^a-z0-9]+", "-", signature.lower()).strip("-")[:48].strip("-")
    return f"{words or 'case'}-{run_id[-6:].lower()}"


def record(shop: Workshop, case: Case, also: Sequence[Bundle] = ()) -> Case:
    """Replay on the bundles with reads for real; return the case with every new answer as a fixture."""
    known = list(case.fixtures.entries)
    for bundle in (shop.good, shop.bad, *also) * RECORDINGS:
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


def wanted_of_runs(
    store: Store, agent: str, environment: str, runs: Sequence[str], *, bad: str = "", good: str = ""
) -> Wanted:
    """Return the wish for cases of single runs: the bundle that they ran on, and who serves now.

    Raises `NotFound` for an unknown run, `InvalidInput` for one of another agent or bundle.
    """
    with store.reading() as txn:
        rows = [recorder.run_row(txn, run_id) for run_id in runs]
        strange = next((row for row in rows if row["agent"] != agent), None)
        if strange is not None:
            raise InvalidInput(f"the run {strange['id']} is one of {strange['agent']}, not of {agent}")
        wrong = registry.resolve(txn, bad) if bad else str(rows[0]["bundle_id"])
        other = next((row for row in rows if row["bundle_id"] != wrong), None)
        if other is not None:
            raise InvalidInput(
                f"the run {other['id']} was on b-{other['bundle_id'][:8]}, not on b-{wrong[:8]}: make the "
                "cases of each bundle apart"
            )
        point = points.read(txn, agent, environment)
        replay = profile.read(txn, agent).replay
        groups = [Group(_in_words(failing.read(txn, row["id"])), (row["id"],)) for row in rows]
    return Wanted(agent, environment, wrong, good or point.baseline, tuple(groups), replay=replay)


def wanted_of_named(
    store: Store, what: str, environment: str, runs: Sequence[str], *, bad: str = "", good: str = ""
) -> Wanted:
    """Return the wish for cases of single runs of an agent, or of an incident whose runs are named.

    As `wanted_of_runs`; raises `InvalidInput` where no run is named.
    """
    if not runs:
        raise InvalidInput(f"no run of {what} is named: give failing runs with --run, or an incident's id")
    if not what.startswith("inc_"):
        return wanted_of_runs(store, what, environment, runs, bad=bad, good=good)
    with store.reading() as txn:
        incident = incidents.read(txn, what)
    found = wanted_of_runs(
        store,
        incident.agent,
        incident.environment,
        runs,
        bad=bad or incident.bad,
        good=good or incident.good or "",
    )
    return replace(found, incident_id=incident.id, culprits=incident.culprits)


def wanted_of_incident(store: Store, incident_id: str, *, bad: str = "", good: str = "") -> Wanted:
    """Return the wish for cases of an incident: its bundles, culprits and groups of failing runs.

    `bad` and `good` name other bundles than the incident's.

    Raises `NotFound`, and `InvalidInput` for one without a last known good or without a failing run.
    """
    with store.reading() as txn:
        incident = incidents.read(txn, incident_id)
        seen = incident_view.view(txn, incident)
        replay = profile.read(txn, incident.agent).replay
    if not (good or incident.good):
        raise InvalidInput(
            f"{incident_id} has no last known good bundle to pass its cases on; name one with --good, or "
            f"`lastgood incident close {incident_id} --reason ...`"
        )
    if not seen.groups:
        raise InvalidInput(
            f"none of the {seen.runs} runs in the window of {incident_id} failed, so there is nothing to "
            f"make a case of: name runs with --run, or `lastgood incident close {incident_id} --reason ...`"
        )
    groups = tuple(
        Group(str(group.signature), group.runs, lost=group.signature.merely_lost) for group in seen.groups
    )
    return Wanted(
        incident.agent, incident.environment, bad or incident.bad, good or incident.good or "", groups,
        incident.id, incident.culprits, replay,
    )  # fmt: skip


def allowed(wanted: Wanted, live: frozenset[str], sandbox: frozenset[str], usd: float) -> Wanted:
    """Return the wish with what its replays may reach and spend."""
    return replace(wanted, live=live, sandbox=sandbox, usd=usd)


def _in_words(run: Failing) -> str:
    """How a run failed, for its name and for people."""
    names = [type(check).__name__ for check in failing.checks_of(run)[0]]
    error = run.outcome.error if run.outcome is not None else "lost"
    return " ".join(filter(None, [error, *names, run.task_type if run.task_type != "default" else ""]))


def wanted_of(store: Store, stored: Stored) -> Wanted:
    """Return the wish to prove a stored case again."""
    draft = stored.draft
    with store.reading() as txn:
        declared = profile.read(txn, draft.agent).replay
    replay = declared or str(draft.case.told.get("replay") or "")
    group = Group(draft.signature, (draft.run_id or "",))
    return Wanted(
        draft.agent, draft.environment, draft.bad, draft.good, (group,), draft.incident_id, replay=replay,
        redact=draft.case.fixtures.rules,
    )  # fmt: skip


def prove_again(store: Store, stored: Stored, case: Case, wanted: Wanted) -> Stored:
    """Prove a case, edited or not, and store it."""
    shop = open_workshop(store, wanted)
    fresh = replace(case, attempts=1, needed=1)
    return case_store.put(store, prove(shop, replace(stored.draft, case=fresh)))


def record_again(
    store: Store, stored: Stored, wanted: Wanted, also: Sequence[str] = (), *, fresh: bool = False
) -> Stored:
    """Record what a case has no answers to yet, on further bundles too, prove it and store it.

    `fresh` forgets the answers that it has.
    """
    shop = open_workshop(store, wanted)
    bundles = [registry.load(store, reference).bundle for reference in also]
    case = stored.case
    if fresh:
        case = replace(case, fixtures=replace(case.fixtures, entries=()))
    return prove_again(store, stored, record(shop, case, bundles), wanted)


__all__ = [
    "Group", "Wanted", "Workshop", "make", "name_of", "open_workshop", "prove", "prove_again",
    "record", "record_again", "wanted_of", "wanted_of_incident", "wanted_of_runs",
]  # fmt: skip
