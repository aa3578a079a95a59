"""A hand in the store: what is edited behind lastgood's back is found, and nothing is served by it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bench import AGENT, PLACE
from watching import LEDGER_SINCE

from lastgood import control, ledger, registry, releasing
from lastgood.assigning import Request, assign
from lastgood.errors import CorruptRow
from lastgood.snapshot import Serving

#: what a hand may set on the control point: column and a value that it does not have
_EDITS = (
    ("share_bp", 9_999),
    ("epoch", 1_000),
    ("standing", "proved"),
    ("driver_term", 999),
    ("terms", "{}"),
)
_LEDGER = (("actor", "mallory"), ("reason", "nothing happened"), ("action", "nothing"), ("epoch", 77))


@contextmanager
def _hand(world: Any) -> Iterator[Any]:
    """A connection that no trigger of the schema stops; what was dropped is made again."""
    if world.observer.path is None:
        import psycopg

        with psycopg.connect(world.url, autocommit=True) as held:
            held.execute("SET session_replication_role = replica")
            yield lambda statement, *values: held.execute(statement.replace("?", "%s"), values)
        return
    held = sqlite3.connect(world.observer.path, isolation_level=None)
    try:
        rules = held.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in rules:
            held.execute(f"DROP TRIGGER {name}")
        yield lambda statement, *values: held.execute(statement, values)
        for _, made in rules:
            held.execute(made)
    finally:
        held.close()


def tamper_point(world: Any, number: int) -> None:
    """The control point is edited: nobody is assigned by it, and a rollback restores it from the ledger."""
    column, value = _EDITS[number % len(_EDITS)]
    if any(store.cut for store in world.stores):
        return
    with _hand(world) as run:
        run(f"UPDATE control_point SET {column} = ? WHERE agent = ?", value, AGENT)
    for serving in world.serving:
        with pytest.raises(CorruptRow):
            assign(serving, Request("u1", "faq", None, None))
    with pytest.raises(CorruptRow):
        assert Serving(world.observer, AGENT, PLACE).router
    if world.ref.release is not None:
        with pytest.raises(CorruptRow):
            releasing.take_over(world.observer, world.ref.release, driver="x", reason="")
    world.ref.ledger += 1  # the restoring
    if world.ref.release is not None:
        world.ref.revert(quarantines=False)
    control.rollback(world.observer, AGENT, PLACE, actor="ann", reason="tampered")
    world.reached["the control point was tampered with"] += 1
    world.steps += 1
    world.watch.everything()


def tamper_ledger(world: Any, number: int) -> None:
    """A ledger row is edited: the check names it; put back, the chain holds again."""
    column, value = _LEDGER[number % len(_LEDGER)]
    seq = 1 + number % world.ref.ledger
    with _hand(world) as run:
        was = run(f"SELECT {column} FROM ledger WHERE seq = ?", seq).fetchone()[0]
        run(f"UPDATE ledger SET {column} = ? WHERE seq = ?", value, seq)
    with pytest.raises(CorruptRow, match=f"row {seq}:"):
        ledger.verify(world.observer, AGENT, PLACE)
    with _hand(world) as run:
        run(f"UPDATE ledger SET {column} = ? WHERE seq = ?", was, seq)
    ledger.verify(world.observer, AGENT, PLACE)
    world.reached["the ledger was tampered with"] += 1
    world.steps += 1


def tamper_bundle(world: Any, number: int) -> None:
    """What stands beside a bundle is edited: it is not read."""
    bundle = world.bundles[number % len(world.bundles)]
    with _hand(world) as run:
        run("UPDATE bundle SET author = 'mallory' WHERE id = ?", bundle)
    with world.observer.reading() as txn, pytest.raises(CorruptRow):
        registry.read(txn, bundle)
    with _hand(world) as run:
        run("UPDATE bundle SET author = 'ann' WHERE id = ?", bundle)
    world.reached["a bundle was tampered with"] += 1
    world.steps += 1


__all__ = ["LEDGER_SINCE", "tamper_bundle", "tamper_ledger", "tamper_point"]
