"""The aftermath: what is due after reverts, read from our own tables.

Whoever lives starts it: the flow that reverted, the scheduled look, a command. Each flow that is named here
may be started as often as one likes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lastgood.errors import LastgoodError
from lastgood.incidents import Incident
from lastgood.store import aftermath
from lastgood.store.connection import Row, Store, Transaction
from tasks.recovery_plan import settings_of

#: microseconds after which work that is still due is started again, should its flow have died at once
AGAIN_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Due:
    """A flow to start."""

    flow: str
    parameters: Mapping[str, str]
    #: what tells this work from other work of the same flow
    tells: str


def due(store: Store) -> list[Due]:
    """Return the flows that are due now, of the oldest incident first."""
    with store.reading() as txn:
        rows = txn.all(aftermath.DUE_RECOVERIES, now_us=txn.now_us)
        return [
            Due("recover_data", {"incident": row["id"]}, _told(row, txn.now_us))
            for row in rows
            if _by_itself(txn, row)
        ]


def _told(row: Row, now_us: int) -> str:
    """A late action, or a time that was waited for, makes it other work; so do ten minutes of staying due."""
    return f"{row['id']} {row['planned']} {row['recovery_until_us']} {now_us // AGAIN_US}"


def _by_itself(txn: Transaction, row: Row) -> bool:
    """Whether its recovery starts by itself: the policy says so, or a person started it before."""
    incident = Incident.of(row)
    if row["planned"] or row["begun"]:
        return True
    try:
        return incident.by in settings_of(txn, incident).after
    except LastgoodError:
        return True  # a policy that can't be read holds up no other incident: the flow says what is wrong


__all__ = ["AGAIN_US", "Due", "due"]
