"""What a person says of a recovery: leave to undo a kind of action, and that something was seen to."""

from lastgood import incidents
from lastgood.errors import InvalidInput
from lastgood.store import aftermath
from lastgood.store.connection import Store
from tasks import compensating
from tasks.recovery_plan import Window


def approve(store: Store, incident_id: str, kind: str, *, actor: str, reason: str = "") -> int:
    """Record a person's leave to undo one kind of action; returns how many wait for it now.

    Raises `InvalidInput` for a kind of which the incident has none to undo.
    """
    with store.reading() as txn:
        incident = incidents.read(txn, incident_id)
    with store.transaction(durable=True, at=(incident.agent, incident.environment)) as txn:
        pending = txn.all(aftermath.PENDING, incident_id=incident_id)
        waiting = sum(row["kind"] == kind for row in pending)
        kinds = sorted({row["kind"] for row in pending})
        if not waiting:
            have = ", ".join(kinds) or "nothing waits there: `lastgood recover` plans first"
            msg = f"{incident_id} has no {kind!r} to undo ({have})"
            raise InvalidInput(msg)
        values = {"actor": actor, "reason": reason, "actions": waiting, "at_us": txn.now_us}
        txn.run(aftermath.APPROVE, incident_id=incident_id, kind=kind, **values)
        txn.run(aftermath.REDUE, id=incident_id)
    return int(waiting)


def retry(store: Store, incident_id: str) -> int:
    """Plan anew what was left over for a reason that a person may have seen to; returns how many.

    The keys stay: what took effect all the same takes none again.
    """
    window, count = Window.of(store, incident_id), 0
    with store.transaction(durable=True, at=window.place) as txn:
        for row in txn.all(aftermath.COMPENSATIONS, incident_id=incident_id):
            if row["state"] != "residue" or row["cause"] not in compensating.CURABLE:
                continue
            handler, _, _ = window.handlers.find(row, compensating.declared_of(row["undo"]))
            if handler is None or (row["doubt"] and not handler.safe_in_doubt):
                continue
            key = {"action_id": row["action_id"], "generation": row["generation"]}
            count += txn.run(aftermath.TRY_AGAIN, **key, handler=handler.call, next_try_us=txn.now_us)
        txn.run(aftermath.REDUE, id=incident_id)
    return count


__all__ = ["approve", "retry"]
