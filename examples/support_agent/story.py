"""The story of one bad release of the support agent, from its canary to the repaired bundle's promotion.

Real are the store, the stages, the CRM behind HTTP, the handlers that undo, the replays; the clock is the
shop's own and runs as fast as tickets are served, so that an hour of watching takes seconds.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from config.policy import Policy
from config.profile import Profile
from evaluators.watched import Answer
from examples.support_agent import agent, http, shop
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.server import Crm, serving
from examples.support_agent.tickets import case
from examples.support_agent.trials import drawn
from lastgood import incident_view, incidents, profile
from lastgood.case_store import State, Stored
from lastgood.errors import LastgoodError
from lastgood.incidents import Incident
from lastgood.plural import counted
from tasks import case_making, pictures, recovery, recovery_report, watch_report, watching

Say = Callable[[str], None]
#: tickets of the baseline's history, and most of a release
HISTORY, MOST = 700, 6_000
_OUTBOX_S = 120


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story plays."""

    shop: shop.Shop
    crm: Crm
    policy: Policy
    #: where reports are written
    place: Path
    say: Say

    def stage(self, label: str) -> None:
        """Say which stage a release is at."""
        self.say(f"      {label}")

    def rows(self, query: str, **values: object) -> list[dict[str, object]]:
        """Rows of the store."""
        with self.shop.store.reading() as txn:
            return [dict(row) for row in txn.all(query, **values)]


@contextmanager
def stage(place: Path, say: Say) -> Iterator[Stage]:
    """A shop with its CRM behind HTTP, the agent's profile set and the good bundle serving."""
    made = shop.opened(place, seed=11)
    made.books.close()
    made.books = Books(str(place / "crm.db"), now_us=made.clock.now_us, deliver_after_s=_OUTBOX_S)
    told = Profile.load(shop.HERE / "agent.yaml")
    with made.store.transaction() as txn:
        profile.store_body(txn, told.agent, told.to_json(), actor="ana")
    with serving(made.books) as crm, named(crm):
        yield Stage(made, crm, Policy.load(shop.HERE / "demo_policy.yaml"), place, say)
    made.store.close()


@contextmanager
def named(crm: Crm) -> Iterator[None]:
    """Let SUPPORT_CRM_URL name a CRM for as long as the block lasts."""
    before = os.environ.get(http.URL)
    os.environ[http.URL] = crm.url
    try:
        yield
    finally:
        os.environ.pop(http.URL)
        if before is not None:
            os.environ[http.URL] = before


def tell(place: Path, say: Say) -> None:
    """Tell the whole story; raises where something does not go as it has to."""
    with drawn("the story"), stage(place, say) as on:
        on.shop.serve(HISTORY)
        on.shop.clock.advance(3 * shop.MINUTE)
        say(f"    the good bundle has served {HISTORY} tickets: its history")
        incident = bad_release(on)
        put_back(on, incident)
        watched(on, incident)
        proven(on, incident)
        refused(on)
        repaired(on)


def bad_release(on: Stage) -> Incident:
    """Release the bundle with the malformed wrapper; the incident that its revert opened."""
    on.say("    release 1: its tool wrapper was moved to fields that the CRM does not have")
    release_id = on.shop.release("malformed", on.policy)
    on.shop.drive(release_id, on.policy, most_tickets=MOST, over_http=True, said=on.stage)
    report(on, release_id, "malformed", "reverted")
    with on.shop.store.reading() as txn:
        (incident,) = incidents.listed(txn, agent.AGENT, shop.ENVIRONMENT)
        seen = incident_view.view(txn, incident)
    on.say(
        f"    {incident.id}: {seen.failing} failing runs; changed: {', '.join(p.kind for p in seen.changed)}"
    )
    return incident


def report(on: Stage, release_id: str, name: str, ended: str) -> None:
    """Write a release's report, and say how it ended."""
    made = pictures.write(on.shop.store, release_id, on.place / f"report-{name}.md")
    on.say(f"    {made.headline}")
    (row,) = on.rows("SELECT state FROM release WHERE id = :id", id=release_id)
    if row["state"] != ended:
        raise SystemExit(f"expected {ended}, found {row['state']}")


def put_back(on: Stage, incident: Incident) -> None:
    """Undo what the bad bundle did in the CRM."""
    done = recovery.recover(on.shop.store, incident.id)
    made = recovery_report.build(on.shop.store, incident.id)
    held = recovery_report.held(done.outputs, done.memories)
    on.say(f"    {held} quarantined; {made.headline}")
    for left in made.residue:
        on.say(f"      left over: {left.kind} to {left.target}: {left.why}")
    bad = {str(row["unit"]) for row in on.rows(_TOUCHED, bundle=incident.bad)}
    wrong = [row["id"] for row in on.crm.books.shown()["tickets"] if row["id"] in bad and row["address"]]
    on.say(f"    the CRM: {len(bad)} tickets touched, {len(wrong)} with a wrong address left")
    if wrong:
        raise SystemExit(f"the CRM is not as before: {wrong}")


_TOUCHED = (
    "SELECT DISTINCT run.unit FROM run JOIN action ON action.run_id = run.id WHERE run.bundle_id = :bundle"
)


def watched(on: Stage, incident: Incident) -> None:
    """Watch whether the revert helped: 30 minutes of the shop's clock, and as many tickets as it takes."""
    watch_id = watching.begin(on.shop.store, incident.id)
    on.shop.serve(on.policy.watch.time // shop.EVERY_US + 40)
    found = watching.look(on.shop.store, watch_id)
    made = watch_report.write(found, on.place / "report-watch.md")
    on.say(f"    watch: {made.headline}")
    if found.verdict.answer is not Answer.FIXED:
        raise SystemExit("expected fixed")


def proven(on: Stage, incident: Incident) -> None:
    """Turn the failing runs into regression cases, recorded against a sandbox and proven on both bundles."""
    with serving(Books()) as sandbox, named(sandbox):
        for row in on.rows(_TOUCHED, bundle=incident.bad):
            on.shop.traffic.load(case(str(row["unit"])))
        wanted = case_making.wanted_of_incident(on.shop.store, incident.id)
        hosts = frozenset({sandbox.url.removeprefix("http://")})
        made = case_making.make(on.shop.store, replace(wanted, sandbox=hosts))
    for each in made:
        on.say(f"    case {each.draft.case.name}: {_proof(each)}")
    if not any(each.draft.state is State.ADMITTED for each in made):
        raise SystemExit("no case was proven")
    closed = incidents.close(on.shop.store, incident.id, actor="ana")
    on.say(f"    {closed.id} is closed: {counted(len(closed.cases), 'case stands', 'cases stand')} for it")


def _proof(stored: Stored) -> str:
    draft = stored.draft
    if draft.state is not State.ADMITTED:
        return f"candidate; {draft.reason}"
    proof = draft.proof
    failed, passed, pairs = proof["bad_failed"], proof["good_passed"], proof["pairs"]
    return f"failed {failed} of {pairs} times on the bad bundle, passed {passed} of {pairs} on the good one"


def refused(on: Stage) -> None:
    """The same bundle is refused, and so is one that fails the same way under another name."""
    for name, about in (
        ("malformed", "the same bundle"),
        ("malformed again", "another try with the same fault"),
    ):
        try:
            on.shop.release(name, on.policy)
        except LastgoodError as error:
            on.say(f"    {about} is refused: {str(error).splitlines()[0]}")
        else:
            raise SystemExit(f"{name} was not refused")


def repaired(on: Stage) -> None:
    """Release the repaired bundle."""
    on.say("    release 2: the wrapper is repaired")
    release_id = on.shop.release("repaired", on.policy)
    on.shop.drive(release_id, on.policy, most_tickets=MOST, said=on.stage)
    report(on, release_id, "repaired", "promoted")


__all__ = ["Stage", "stage", "tell"]
