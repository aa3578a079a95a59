"""Ages: how long a step has lasted, by a clock that nobody can set where it began on this boot."""

from lastgood.moves import ControlPoint
from lastgood.store.connection import Row, Store

#: the move that began a step: its row carries the step's own time
_BEGAN = """
SELECT point FROM ledger
WHERE agent = :agent AND environment = :environment AND release_id = :id
  AND action = 'share' AND at_us = :since_us
ORDER BY seq DESC LIMIT 1
"""


def step_age_us(store: Store, release: Row) -> int:
    """Return the microseconds that a release's step has lasted.

    By the boot clock, which no jump of the wall clock moves, on the boot that the step began on; else by the
    wall clock.
    """
    key = {name: release[name] for name in ("agent", "environment", "id")}
    with store.reading() as txn:
        row = txn.one(_BEGAN, **key, since_us=release["step_since_us"])
    if row is not None:
        began = ControlPoint.from_json(row["point"])
        if (boot_us := began_boot_us(began, release["step_since_us"], store.clock.boot_id)) is not None:
            return store.clock.boot_us() - boot_us
    return store.clock.now_us() - int(release["step_since_us"])


def began_boot_us(point: ControlPoint, at_us: int, boot_id: str) -> int | None:
    """Return what the boot clock showed when `point` was moved at `at_us`; None where that was another boot.

    A move that sets a share writes its lease's end on both clocks.
    """
    lease = point.lease
    if not lease.boot_id or lease.boot_id != boot_id:
        return None
    return lease.boot_until_us - (lease.until_us - at_us)
