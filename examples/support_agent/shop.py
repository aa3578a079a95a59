"""A shop on a clock of its own: the agent's store, its bundles, the CRM and the traffic, in one process.

Everything is real but the socket and the time: the store is a file, the CRM's own service answers without
HTTP, and hours pass as fast as they are computed.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.policy import Policy
from examples.support_agent import agent, http
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.service import Service
from examples.support_agent.operators import Late
from examples.support_agent.tickets import Ticket
from examples.support_agent.traffic import Traffic
from lastgood import Bundle, Part, Run, control, points, recorder, registry, releasing
from lastgood.assigning import Request, assign
from lastgood.bundle_file import read_bundle_file
from lastgood.clock import ManualClock
from lastgood.running import Pending
from lastgood.snapshot import Serving
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction
from lastgood.store.engine import upgrade
from tasks import driving, preflight, referee

HERE = Path(__file__).parent
BUNDLES = HERE / "bundles"
#: the bundles that come with the agent
NAMES = ("good", "malformed", "confidently_wrong", "cheap", "garbage", "overspend", "better", "repaired")
SECOND, MINUTE = 1_000_000, 60_000_000
#: microseconds between two tickets: 240 an hour
EVERY_US = 15 * SECOND
ENVIRONMENT = "production"


def bundle(name: str) -> Bundle:
    """One of the bundles that come with the agent; `NAME again` is that one with two words swapped."""
    name, _, again = name.partition(" ")
    if again:
        good = bundle(name)
        text = good.prompt.text.replace("brief and\nfriendly", "friendly and\nbrief")
        return Bundle([Part.of_files("prompt", "3", {"prompt.md": text.encode()}), *(
            part for part in good.parts if part.kind != "prompt"
        )])  # fmt: skip
    return read_bundle_file(BUNDLES / f"{name}.yaml").bundle


class Unsynced(Store):
    """A store that waits for no disk: what is lost with the machine is computed anew."""

    def transaction(self, *, durable: bool = False, **given: Any) -> Any:
        """A transaction as the store makes it, without the wait."""
        del durable
        return super().transaction(**given)


@dataclass(slots=True)
class Shop:
    """One agent with its store, its CRM and its traffic."""

    store: Store
    clock: ManualClock
    books: Books
    traffic: Traffic
    serving: Serving = field(init=False)

    def __post_init__(self) -> None:
        self.serving = Serving(self.store, agent.AGENT, ENVIRONMENT)
        self.traffic.start = self._start
        self.traffic.tell = self._tell
        self.traffic.now_s = lambda: self.clock.now_us() / SECOND

    def _start(self, ticket: Ticket, risk: str) -> Pending:
        tools = agent.tools_of(ticket.task_type)
        wanted = Request(ticket.id, ticket.task_type, risk, None, tools)
        return Pending(lambda: Run(self.store, assign(self.serving, wanted), tools=tools))

    def _tell(self, run_id: str, late: Late) -> None:
        recorder.record_late(self.store, run_id, dict(late.fields), key=late.key)

    def close(self) -> None:
        """Close the store and the CRM."""
        self.store.close()
        self.books.close()

    def serve(self, tickets: int, *, over_http: bool = False) -> None:
        """Serve so many tickets, one every 15 seconds; over HTTP where SUPPORT_CRM_URL names the CRM."""
        with nullcontext() if over_http else http.through(http.InProcess(Service(self.books))):
            for _ in range(tickets):
                self.clock.advance(EVERY_US)
                self.traffic.one()

    def release(self, candidate: str, policy: Policy) -> str:
        """Start the release of one of the bundles; returns its id."""
        found, _ = registry.register(self.store, agent.AGENT, bundle(candidate), author="ana")
        with self.store.transaction() as txn:
            _keep(txn, policy)
        wanted = preflight.Wanted(agent.AGENT, found.bundle.id, policy.name, ENVIRONMENT, "ben")
        return releasing.start(self.store, preflight.check(self.store, wanted))

    def drive(
        self,
        release_id: str,
        policy: Policy,
        *,
        most_tickets: int,
        over_http: bool = False,
        said: Callable[[str], None] = lambda _: None,
    ) -> bool:
        """Drive a release while tickets come in; whether it ended before so many tickets.

        `said` is told each stage as it begins.
        """
        driver, shown = driving.begin(self.store, release_id, "the shop"), ""
        pace, last = policy.look_every // EVERY_US, self.traffic.served + most_tickets
        while driving.read(self.store, release_id)[0]["ended_us"] is None:
            referee.work_quietly(self.store, release_id, seconds=60)
            what = driving.due(self.store, driver)
            if what.label != shown:
                said(what.label)
            shown = what.label
            driving.act(self.store, driver, what)
            if what.waits and self.traffic.served >= last:
                return False
            if what.waits:
                self.serve(pace, over_http=over_http)
        return True


def _keep(txn: Transaction, policy: Policy) -> None:
    if txn.one(sql.POLICY, digest=policy.digest) is not None:
        return
    values = {"digest": policy.digest, "name": policy.name, "body": policy.to_json(), "author": "ana"}
    txn.insert("policy", {**values, "created_us": txn.now_us})


def opened(folder: Path, *, seed: int, baseline: str = "good", clock: ManualClock | None = None) -> Shop:
    """A shop in a folder; one of the bundles is the baseline of a new store, and no ticket is served yet."""
    path = folder / "lastgood.db"
    if not path.exists():
        upgrade(f"sqlite:///{path}")
    clock = clock or ManualClock()
    store = Unsynced(f"sqlite:///{path}", clock)
    with store.reading() as txn:
        known = points.find(txn, agent.AGENT, ENVIRONMENT)
    if known is None:
        found, _ = registry.register(store, agent.AGENT, bundle(baseline), author="ana")
        control.adopt(store, agent.AGENT, ENVIRONMENT, found.bundle.id, actor="ana", reason="it serves today")
    return Shop(store, clock, Books(now_us=clock.now_us), Traffic(seed))


__all__ = ["BUNDLES", "EVERY_US", "NAMES", "Shop", "bundle", "opened"]
