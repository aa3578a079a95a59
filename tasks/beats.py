"""Beats: signs of life of what runs by a schedule, so that nobody hands work to one that is not at work."""

from lastgood.store import upkeep
from lastgood.store.connection import Store

#: the scheduled evaluation, and the driver that it is of what it drives
SCHEDULE = "evaluate_canaries"


def beat(store: Store, name: str = SCHEDULE) -> None:
    """Leave a sign of life."""
    with store.transaction() as txn:
        txn.run(upkeep.SET_BEAT, name=name, at_us=txn.now_us)


def last_us(store: Store, name: str = SCHEDULE) -> int | None:
    """When the last sign of life was, microseconds UTC; None where there never was one."""
    with store.reading() as txn:
        row = txn.one(upkeep.BEAT, name=name)
    return None if row is None else int(row["at_us"])


def silent_us(store: Store, name: str = SCHEDULE) -> int | None:
    """Microseconds since the last sign of life; None where there never was one."""
    at_us = last_us(store, name)
    return None if at_us is None else max(0, store.clock.now_us() - at_us)


__all__ = ["SCHEDULE", "beat", "last_us", "silent_us"]
