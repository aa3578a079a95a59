"""Restoring: an earlier last known good bundle serves again, in a transaction that is under way."""

from lastgood import moves, points, registry, releasing, standing
from lastgood.errors import CorruptRow, InvalidMove
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.store import statements as sql
from lastgood.store.connection import Transaction


def newest_other(txn: Transaction, point: ControlPoint) -> str:
    """Return the bundle that served here as good most lately, other than the present baseline.

    Good is proven by evidence or vouched for by a person, and neither kept out, rolled back from nor
    damaged. Raises `InvalidMove` where there is none.
    """
    good = txn.all(sql.GOOD_BUNDLES, agent=point.agent, environment=point.environment, now_us=txn.now_us)
    for row in good:
        if row["bundle_id"] != point.baseline and _is_sound(txn, row["bundle_id"]):
            return str(row["bundle_id"])
    msg = (
        f"{point.name} has no other last known good bundle to roll back to; "
        f"name one with `lastgood rollback {point.agent} --to BUNDLE`"
    )
    raise InvalidMove(msg)


def _is_sound(txn: Transaction, bundle_id: str) -> bool:
    try:
        registry.read(txn, bundle_id)
    except CorruptRow:
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
) -> ControlPoint:
    """Serve `bundle_id` as the baseline again; the bundle that is left is kept out.

    It stands as it did when it served last, or as vouched for. `quarantines` keeps the left one out until it
    is re-admitted, else it cools down. `fence` is what the runs of the left one may still do, by default what
    the terms say. Raises `Quarantined` for a bundle that may not serve, `InvalidMove` for the present one.
    """
    standing.refuse_quarantined(txn, point.agent, point.environment, bundle_id, cooling=False)
    stands = "vouched" if vouched else _stood(txn, point, bundle_id)
    restored = moves.restore(point, bundle_id=bundle_id, standing=stands)
    key = {"agent": point.agent, "environment": point.environment, "bundle_id": point.baseline}
    txn.run(sql.WITHDRAW, **key, now_us=txn.now_us)
    txn.run(sql.FENCE_SERVED, **key, now_us=txn.now_us, fence=fence or releasing.fence_of(point))
    said = f"rolled back by {entry.actor}: {entry.reason}"
    standing.keep_out(txn, point, point.baseline, said, cooling=not quarantines)
    point = points.move(txn, point, restored, entry)
    standing.record_served(txn, point, None)
    return point


def _stood(txn: Transaction, point: ControlPoint, bundle_id: str) -> str:
    row = txn.one(sql.SERVED_OF_BUNDLE, agent=point.agent, environment=point.environment, bundle_id=bundle_id)
    return str(row["standing"]) if row else "vouched"
