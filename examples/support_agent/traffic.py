"""Traffic: tickets come in, the agent serves them, and what operators and customers say follows later."""

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import lastgood
from examples.support_agent import agent, http
from examples.support_agent.operators import Late, later
from examples.support_agent.tickets import Case, Ticket, case
from lastgood import Run
from lastgood.errors import LastgoodError
from lastgood.running import Pending

#: loads a ticket and its order into the CRM
Load = Callable[[Case], None]


def load(found: Case) -> None:
    """Let the CRM know of a ticket and its order, as a shop and a mailbox do."""
    client = http.client()
    ticket = {"id": found.ticket.id, "customer": found.ticket.customer}
    rows: Mapping[str, list[dict[str, Any]]] = {
        "tickets": [ticket],
        "orders": [found.order] if found.order else [],
    }
    for table, new in rows.items():
        if new:
            key = f"load:{table}:{new[0]['id']}"
            client.post(
                f"/load/{table}", json={"rows": new}, headers={"Idempotency-Key": key}
            ).raise_for_status()


def tell(run_id: str, late: Late) -> None:
    """Report what became known of a run."""
    fields: dict[str, Any] = dict(late.fields)
    lastgood.report(run_id, key=late.key, **fields)


@dataclass(slots=True)
class Traffic:
    """A stream of tickets, one after the other; late words are passed on when their time has come."""

    seed: int
    start: Callable[[Ticket, str], Pending] = agent.begin
    tell: Callable[[str, Late], None] = tell
    load: Load = load
    #: seconds, of whatever clock the stream lives on
    now_s: Callable[[], float] = time.monotonic
    #: how much sooner than in life operators and customers say something
    hurry: float = 1.0
    #: number of the next ticket
    number: int = 0
    served: int = 0
    _late: list[tuple[float, int, str, Late]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def one(self) -> Run | None:
        """Serve the next ticket; None where a revert or a ceiling ended its run."""
        found = case(f"T-{self.seed}-{self.number}")
        self.number += 1
        self.load(found)
        self.pass_on()
        run = self._served(found)
        if run is not None and run.recorded:
            for late in later(found, run.output):
                due_s = self.now_s() + late.after_s / self.hurry
                heapq.heappush(self._late, (due_s, next(self._order), run.id, late))
        return run

    def _served(self, found: Case) -> Run | None:
        self.served += 1
        try:
            return agent.serve(found.ticket, found.risk, start=self.start)
        except LastgoodError:  # the run recorded it
            return None

    def pass_on(self, *, everything: bool = False) -> None:
        """Report what is due by now, or everything that is still to come."""
        while self._late and (everything or self._late[0][0] <= self.now_s()):
            _, _, run_id, late = heapq.heappop(self._late)
            self.tell(run_id, late)


__all__ = ["Load", "Traffic", "load", "tell"]
