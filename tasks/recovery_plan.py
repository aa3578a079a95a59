"""What a recovery has to do: the dry run, and the same taken into the books.

A window's runs are gone through in pages, each a short transaction, so that a revert never waits for one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from config.policy import Policy
from config.recovery import RecoverySpec
from lastgood import incidents, isolation, profile
from lastgood.incidents import ALARM, PERSON, Incident
from lastgood.store import aftermath
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import compensating
from tasks.compensating import Handlers, Plan

#: runs that are taken into the books in one transaction
_PAGE = 200
#: microseconds after which somebody looks again whether an action under way has settled
_LOOK_US = 10_000_000


@dataclass(frozen=True, slots=True)
class Pending:
    """What a recovery would do, or has left to do."""

    #: in the order in which they would be undone
    plans: tuple[Plan, ...] = ()
    #: actions that are under way: they may settle yet
    under_way: int = 0
    #: runs whose outputs are to be held back
    outputs: int = 0
    #: memory entries to be held back: key, and the run that wrote it
    memories: tuple[tuple[str, str], ...] = ()
    #: runs that wait to be resumed, and reservations that nobody settled
    suspended: int = 0
    reservations: int = 0


@dataclass(slots=True)
class Taken:
    """What was taken into the books."""

    outputs: int = 0
    memories: int = 0
    planned: int = 0
    #: microseconds UTC at which an action under way is looked at again; 0 where none is
    look_us: int = 0


def settings_of(txn: Transaction, incident: Incident) -> RecoverySpec:
    """Return what the frozen policy of the incident's release says of recovery; the defaults without one."""
    row = txn.one(sql.RELEASE, id=incident.release_id) if incident.release_id is not None else None
    if row is None or row["policy"] in {"", "{}"}:
        return RecoverySpec()
    return Policy.from_json(row["policy"], digest=row["policy_digest"]).recovery


@dataclass(frozen=True, slots=True)
class Window:
    """The runs of an incident, and what policy and profile say of their actions."""

    store: Store
    incident: Incident
    spec: RecoverySpec
    handlers: Handlers = field(repr=False)

    @classmethod
    def of(cls, store: Store, incident_id: str) -> "Window":
        """Read an incident with its policy and profile; raises `NotFound`, `CorruptRow`."""
        with store.reading() as txn:
            incident = incidents.read(txn, incident_id)
            spec, undo = settings_of(txn, incident), profile.read(txn, incident.agent).undo
        return cls(store, incident, spec, Handlers(undo))

    @property
    def place(self) -> tuple[str, str]:
        """The control point that everything belongs to."""
        return self.incident.agent, self.incident.environment

    @property
    def left(self) -> bool:
        """Whether the bundle was left: what waits on one that serves still goes on."""
        return self.incident.by not in {ALARM, PERSON}

    def pending(self) -> Pending:
        """Return what is to be done, with nothing written: the dry run."""
        plans: list[Plan] = []
        memories: list[tuple[str, str]] = []
        under_way = outputs = 0
        with self.store.reading() as txn:
            for after, last, runs in self._pages(txn):
                rows = compensating.unplanned(txn, self.incident, after=after, last=last)
                found = [compensating.planned(row, self.handlers, self.spec, txn.now_us) for row in rows]
                plans += [plan for plan in found if plan is not None]
                under_way, outputs = under_way + found.count(None), outputs + runs
                memories += self._memories(rows)
            suspended, held = self._waiting(txn)
        plans.sort(key=lambda plan: (plan.reserved_us, plan.action_id), reverse=True)
        return Pending(tuple(plans), under_way, outputs, tuple(dict.fromkeys(memories)), suspended, held)

    def _pages(self, txn: Transaction) -> Iterator[tuple[int, int, int]]:
        """The window's runs by their places, page by page: (after, last, how many)."""
        after = 0
        while rows := txn.all(aftermath.WINDOW_PAGE, **self.incident.window, after=after, most=_PAGE):
            last = rows[-1]["seq"]
            yield after, last, len(rows)
            after = last

    def _memories(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        written = (row for row in rows if row["kind"] in self.spec.memory and row["target"])
        return [(row["target"], row["run_id"]) for row in written]

    def _waiting(self, txn: Transaction) -> tuple[int, int]:
        """How many runs wait to be resumed, and how many reservations nobody settled."""
        if not self.left:
            return 0, 0
        suspended = txn.all(aftermath.SUSPENDED, **self.incident.window, most=isolation.MOST)
        held = txn.all(aftermath.RESERVATIONS_OF_RELEASE, release_id=self.incident.release_id or "")
        return len(suspended), len(held)

    def take(self) -> Taken:
        """Quarantine outputs and memory entries, and take every action into the books; once each."""
        taken, after = Taken(), 0
        while True:
            with self.store.transaction(durable=True, at=self.place) as txn:
                page = txn.all(aftermath.WINDOW_PAGE, **self.incident.window, after=after, most=_PAGE)
                if not page:
                    return taken
                last = page[-1]["seq"]
                self._take_page(txn, taken, after, last)
                after = last

    def _take_page(self, txn: Transaction, taken: Taken, after: int, last: int) -> None:
        taken.outputs += isolation.outputs_in(txn, self.incident, after=after, last=last)
        rows = compensating.unplanned(txn, self.incident, after=after, last=last)
        taken.memories += isolation.memories_in(txn, self.incident, self._memories(rows))
        plans = []
        for row in rows:
            plan = compensating.planned(row, self.handlers, self.spec, txn.now_us)
            if plan is not None:
                plans.append(plan)
                continue
            due_us = min(row["reserved_us"] + self.spec.in_doubt_after, txn.now_us + _LOOK_US)
            taken.look_us = min(taken.look_us or due_us, due_us)
        taken.planned += compensating.write(txn, self.incident, plans)


__all__ = ["Pending", "Taken", "Window", "settings_of"]
