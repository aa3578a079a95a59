"""The report of a recovery: what was undone, what waits, and what is left over with whom it touched."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lastgood import incidents
from lastgood.incidents import Incident
from lastgood.plural import counted
from lastgood.shown import laid_out, when
from lastgood.store import aftermath
from lastgood.store.connection import Store
from tasks.recovery_plan import Pending, settings_of

#: rows of left-over actions that a report shows; the table holds all
_ROWS = 200


@dataclass(frozen=True, slots=True)
class LeftOver:
    """One action that can't be undone."""

    action_id: str
    run_id: str
    #: whom it touched: the unit of its run, and what it acted on
    unit: str
    target: str
    kind: str
    #: `irreversible`, `no_handler`, `in_doubt`, `refused`, `exhausted`
    cause: str
    why: str
    #: when it began, microseconds UTC
    at_us: int


@dataclass(frozen=True, slots=True)
class Report:
    """How a recovery stands."""

    incident: Incident
    #: compensations by state: `planned`, `calling`, `done`, `residue`
    states: Counter[str]
    #: actions that wait for a person's leave, by kind
    asked: Counter[str]
    #: what was quarantined, by kind and state
    held: Counter[tuple[str, str]]
    #: newest first
    residue: tuple[LeftOver, ...]

    @property
    def headline(self) -> str:
        """One line."""
        waits = self.states["planned"] + self.states["calling"]
        parts = [f"{self.states['done']} undone"]
        parts += [f"{waits} to be undone"] * bool(waits)
        parts += [f"{len(self.residue)} left over"] * bool(self.residue)
        return f"recovery of {self.incident.id} is {self.incident.recovery}: {', '.join(parts)}"

    @property
    def key(self) -> str:
        """The stable key of its artifacts."""
        return f"recovery-{self.incident.id.replace('_', '-').lower()}"

    @property
    def table(self) -> list[dict[str, str]]:
        """Every left-over action, for machines."""
        return [
            {
                "action": left.action_id,
                "run": left.run_id,
                "unit": left.unit,
                "target": left.target,
                "kind": left.kind,
                "cause": left.cause,
                "why": left.why,
                "at": when(left.at_us),
            }
            for left in self.residue
        ]

    @property
    def markdown(self) -> str:
        """For Prefect's page."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"## {_plain(self.headline)}"
        yield ""
        for (kind, state), n in sorted(self.held.items()):
            yield f"- {n} {kind} {state}"
        for kind, n in sorted(self.asked.items()):
            yield f"- {n} {kind} to be approved: `lastgood recover {self.incident.id} --approve {kind}`"
        if not self.residue:
            return
        yield ""
        yield "| kind | target | unit | why | run |"
        yield "|---|---|---|---|---|"
        for left in self.residue[:_ROWS]:
            cells = (left.kind, left.target, left.unit, f"{left.cause}: {left.why}", left.run_id)
            yield f"| {' | '.join(map(_plain, cells))} |"
        if len(self.residue) > _ROWS:
            yield f"\n{len(self.residue) - _ROWS} more in the table."


def _plain(text: str) -> str:
    """Text of a run is data: nothing of it is markup."""
    for sign in "\\`*_~[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def build(store: Store, incident_id: str) -> Report:
    """Read how a recovery stands; raises `NotFound`."""
    with store.reading() as txn:
        incident = incidents.read(txn, incident_id)
        rows = txn.all(aftermath.COMPENSATIONS, incident_id=incident_id)
        given = {row["kind"] for row in txn.all(aftermath.APPROVALS, incident_id=incident_id)}
        asked = set(settings_of(txn, incident).approve) - given
        items = txn.all(aftermath.ITEM_COUNTS, incident_id=incident_id)
    open_ = [row["kind"] for row in rows if row["state"] in {"planned", "calling"}]
    return Report(
        incident,
        Counter(row["state"] for row in rows),
        Counter(kind for kind in open_ if kind in asked),
        Counter({(row["kind"], row["state"]): row["n"] for row in items}),
        tuple(
            LeftOver(
                row["action_id"],
                row["run_id"],
                row["unit"],
                row["target"],
                row["kind"],
                row["cause"],
                row["last_error"],
                row["reserved_us"],
            )
            for row in rows
            if row["state"] == "residue"
        ),
    )


def held(outputs: int, memories: int) -> str:
    """What is held back, in words: `2 outputs and 1 memory entry`."""
    return f"{counted(outputs, 'output')} and {counted(memories, 'memory entry', 'memory entries')}"


def said_before(pending: Pending, asked: Sequence[str] = ()) -> Iterator[str]:
    """What a recovery would do, line by line, before anything is done."""
    yield f"{held(pending.outputs, len(pending.memories))} to quarantine"
    if pending.suspended or pending.reservations:
        runs = counted(pending.suspended, "waiting run")
        yield f"{runs} and {counted(pending.reservations, 'reservation')} to cancel"
    if pending.under_way:
        yield f"{counted(pending.under_way, 'action')} under way: looked at again once settled"
    undone = Counter((plan.kind, plan.handler) for plan in pending.plans if not plan.cause)
    for (kind, handler), n in sorted(undone.items()):
        leave = ", once a person approves" if kind in asked else ""
        yield f"{n} {kind} to undo by {handler}{leave}"
    left = Counter((plan.kind, str(plan.cause), plan.why) for plan in pending.plans if plan.cause)
    for (kind, cause, why), n in sorted(left.items()):
        yield f"{n} {kind} can't be undone ({cause}): {why}"
    if not pending.plans:
        yield "no action to undo"


def said_residue(residue: Sequence[LeftOver]) -> Iterator[str]:
    """Left-over actions with whom they touched, in columns."""
    header = ("kind", "target", "unit", "cause", "action", "why")
    rows = [(x.kind, x.target, x.unit, x.cause, x.action_id, " ".join(x.why.split())) for x in residue]
    yield from laid_out([header, *rows])


__all__ = ["LeftOver", "Report", "build", "held", "said_before", "said_residue"]
