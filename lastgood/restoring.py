"""Restoring: an earlier last known good bundle serves again, in a transaction that is under way."""

from lastgood import incidents, moves, points, registry, releasing, standing
from lastgood.errors import CorruptRow, InvalidMove, NotFound
from lastgood.incidents import Opening
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction


def newest_other(txn: Transaction, point: ControlPoint) -> str:
    """Return the bundle that served here as good most lately, other than the present baseline.

    Good is proven by evidence or vouched for by a person, and neither kept out, rolled back from,
    damaged nor deleted. Raises `InvalidMove` where there is none.
    """
    good = txn.all(sql.GOOD_BUNDLES, agent=point.agent, environment=point.environment, now_us=txn.now_us)
    for row in good:
        if row["bundle_id"] != point.baseline and _is_sound(txn, row["bundle_id"]):
            return str(row["bundle_id"])
    msg = (
        f"{point.name} has no other last known good bundle to roll back to: b-{point.baseline[:8]} goes on "
        f"serving; name another with `lastgood rollback {point.in_command} --to BUNDLE`"
    )
    raise InvalidMove(msg)


def _is_sound(txn: Transaction, bundle_id: str) -> bool:
    try:
        registry.read(txn, bundle_id)
    except (CorruptRow, NotFound):
        return False
    return True


def restore(
    txn: Transaction,
    point: ControlPoint,
    bundle_id: str,
    entry: Entry,
    *,
    vouched: bool = False,
    quarantines: bool = False,
    fence: str | None = None,
    culprits: tuple[str, ...] = (),
) -> ControlPoint:
    """Serve `bundle_id` as the baseline again; the bundle that is left is kept out, and has an incident.

    It stands as it did when it served last, or as vouched for. `quarantines` keeps the left one out until it
    is re-admitted, else it cools down. `fence` is what the runs of the left one may still do, by default what
    the terms say; `culprits` are the triggers at fault. Raises `Quarantined` for a bundle that may not serve,
    `InvalidMove` for the present one.
    """
    standing.refuse_quarantined(txn, point.agent, point.environment, bundle_id, cooling=False)
    stands = "vouched" if vouched else _stood(txn, point, bundle_id)
    restored = moves.restore(point, bundle_id=bundle_id, standing=stands)
    key = {"agent": point.agent, "environment": point.environment, "bundle_id": point.baseline}
    _open_incident(txn, point, bundle_id, entry, culprits)
    txn.run(sql.WITHDRAW, **key, now_us=txn.now_us)
    txn.run(sql.FENCE_SERVED, **key, now_us=txn.now_us, fence=fence or releasing.fence_of(point))
    said = f"rolled back by {entry.actor}: {entry.reason}"
    standing.keep_out(txn, point, point.baseline, said, cooling=not quarantines)
    point = points.move(txn, point, restored, entry)
    standing.record_served(txn, point, None)
    return point


def _open_incident(
    txn: Transaction, point: ControlPoint, good: str, entry: Entry, culprits: tuple[str, ...]
) -> None:
    by = "trigger" if culprits else "hand"
    incidents.open_in(txn, opening(txn, point, good, entry, by=by, culprits=culprits))


def opening(
    txn: Transaction,
    point: ControlPoint,
    good: str | None,
    entry: Entry,
    *,
    by: str,
    culprits: tuple[str, ...],
) -> Opening:
    """Return what an incident of the present baseline is opened with; `good` is what should serve instead."""
    key = {"agent": point.agent, "environment": point.environment, "bundle_id": point.baseline}
    served = txn.one(sql.SERVED_OF_BUNDLE, **key)
    release_id = served["release_id"] if served is not None else None
    release = txn.one(sql.RELEASE, id=release_id) if release_id is not None else None
    since_us = served["since_us"] if served is not None else 0  # a hand took its row: all of its runs
    return Opening(
        point.agent,
        point.environment,
        bad=point.baseline,
        good=good,
        from_us=since_us if release is None else release["started_us"],
        by=by,
        reason=entry.reason,
        actor=entry.actor,
        release_id=release_id,
        culprits=culprits,
    )


def _stood(txn: Transaction, point: ControlPoint, bundle_id: str) -> str:
    row = txn.one(sql.SERVED_OF_BUNDLE, agent=point.agent, environment=point.environment, bundle_id=bundle_id)
    return str(row["standing"]) if row else "vouched"
