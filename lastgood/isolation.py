"""Isolation: outputs and memory entries of a bad window are held back until a person has looked at them.

An agent, or whatever reads what an agent made, asks `lastgood.is_quarantined(run_id)` or of a memory entry's
key. Recovery puts them in; a person clears what is right, or records that it was taken back.
"""

from collections.abc import Iterable
from enum import StrEnum

from lastgood.errors import InvalidInput, NotFound
from lastgood.incidents import Incident
from lastgood.store import aftermath
from lastgood.store.connection import Row, Store, Transaction
from lastgood.store.link import Place

OUTPUT, MEMORY = "output", "memory"
_COLUMNS = (
    *("incident_id", "kind", "key", "agent", "environment", "run_id", "state"),
    *("since_us", "changed_us", "actor", "reason"),
)
#: items that a list shows, and that an export holds
SHOWN, MOST = 1_000, 1_000_000


class Held(StrEnum):
    """What became of an output or a memory entry."""

    PENDING = "pending_review"  #: nobody has looked at it yet: it is not to be used
    CLEARED = "cleared"  #: a person says that it is right
    RECALLED = "recalled"  #: it was taken back from where it went, and stays out of use


def outputs_in(txn: Transaction, incident: Incident, *, after: int, last: int) -> int:
    """Hold back the outputs of the window's runs with `after` < seq <= `last`; return how many are new."""
    return txn.run(
        aftermath.QUARANTINE_OUTPUTS,
        **incident.window,
        incident_id=incident.id,
        now_us=txn.now_us,
        after=after,
        last=last,
    )


def memories_in(txn: Transaction, incident: Incident, entries: Iterable[tuple[str, str]]) -> int:
    """Hold back memory entries, each by its key and the run that wrote it first; return how many are new."""
    first: dict[str, str] = {}
    for key, run_id in entries:
        first.setdefault(key, run_id)
    beside = (incident.agent, incident.environment)
    rows = [
        (incident.id, MEMORY, key, *beside, run_id, str(Held.PENDING), txn.now_us, txn.now_us, "", "")
        for key, run_id in first.items()
    ]
    return txn.insert_new("quarantine_item", _COLUMNS, rows)


def is_quarantined(txn: Transaction, key: str, place: Place | None = None) -> bool:
    """Whether an output, by its run's id, or a memory entry, by its key, is not to be used.

    `place` is the agent and environment that are asked about; None: any.
    """
    if place is None:
        return txn.one(aftermath.HELD, key=key) is not None
    found = txn.one(aftermath.HELD_OF_AGENT, key=key, agent=place[0], environment=place[1])
    return found is not None


def move(store: Store, key: str, state: Held, *, actor: str, reason: str) -> int:
    """Clear or recall an item, wherever it is held; return how many rows changed.

    Raises `InvalidInput` without a reason, `NotFound` for a key that nothing holds.
    """
    if not reason.strip():
        msg = f"{key} is held back: say with --reason what was looked at"
        raise InvalidInput(msg)
    with store.transaction(durable=True) as txn:
        if not txn.all(aftermath.ITEMS_OF_KEY, key=key):
            msg = f"nothing is quarantined under {key!r}; see `lastgood quarantine list`"
            raise NotFound(msg)
        values = {"state": str(state), "changed_us": txn.now_us, "actor": actor, "reason": reason.strip()}
        return txn.run(aftermath.MOVE_ITEM, key=key, **values)


def listed(
    txn: Transaction, incident_id: str | None = None, *, state: Held | None = None, most: int = SHOWN
) -> list[Row]:
    """Return what is held, of one incident or of all: the columns of the table, unit, task type, output."""
    wanted = "" if state is None else str(state)
    if incident_id is None:
        return txn.all(aftermath.ITEMS, state=wanted, most=most)
    return txn.all(aftermath.ITEMS_OF_INCIDENT, incident_id=incident_id, state=wanted, most=most)


__all__ = [
    "MEMORY",
    "MOST",
    "OUTPUT",
    "SHOWN",
    "Held",
    "is_quarantined",
    "listed",
    "memories_in",
    "move",
    "outputs_in",
]
