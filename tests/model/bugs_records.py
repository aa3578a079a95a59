"""Planted bugs of the ledger, of reports and of triggers."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from bench import Bench
from planting import bug, swap

from lastgood import (
    control,
    identity,
    judging,
    ledger,
    points,
    recorder,
    tallies,
)
from lastgood.moves import ControlPoint
from lastgood.store import statements as sql

# -- the ledger

swap(
    "ledger row skipped",
    9,
    ledger,
    "append",
    lambda f: lambda txn, p, e: None if e.action in {"renew", "clear"} else f(txn, p, e),
)
swap("hash chain broken", 9, ledger, "append", lambda f: lambda txn, p, e: f(_Blank(txn), p, e))
swap(
    "the hash leaves the reason out", 9, ledger, "_HASHED", lambda was: tuple(n for n in was if n != "reason")
)
swap("the hash leaves the actor out", 9, ledger, "_HASHED", lambda was: tuple(n for n in was if n != "actor"))
swap("seal not checked", 9, ControlPoint, "seal", lambda _f: property(lambda _self: _Any()))
swap(
    "a move outside its transaction",
    15,
    points,
    "_update",
    lambda f: lambda txn, *a, **k: _committed(f, txn, *a, **k),
)
swap(
    "the ledger is written after the commit",
    15,
    points.ledger,
    "append",
    lambda f: lambda txn, p, e: _afterwards(f, txn, p, e),
)


class _Any(str):
    """Equal to every seal."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    __hash__ = str.__hash__


@dataclass
class _Blank:
    """A transaction whose ledger always ends in a row without a hash."""

    txn: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.txn, name)

    def one(self, statement: str, **values: Any) -> Any:
        row = self.txn.one(statement, **values)
        return {**dict(row), "hash": ""} if row is not None and statement == sql.LEDGER_TAIL else row


def _committed(f: Any, txn: Any, *given: Any, **named: Any) -> None:
    """The point is committed by itself; what follows is another transaction."""
    f(txn, *given, **named)
    txn._link._link.commit()
    txn._link._link._connection.execute("BEGIN IMMEDIATE")


def _afterwards(f: Any, txn: Any, point: Any, entry: Any) -> None:
    link = txn._link

    def later(committed: bool) -> None:
        if committed and not Bench.dying:
            link._link._connection.execute("BEGIN IMMEDIATE")
            f(txn, point, entry)
            link._link._connection.execute("COMMIT")

    txn.when_ended(later)


@bug("a bundle's seal is not checked", 3)
def _unsealed() -> Iterator[None]:
    from lastgood import registry

    with patch.object(registry, "_seal", lambda *_a: _Any()):
        yield


# -- reports and triggers

swap(
    "duplicate counted twice",
    9,
    recorder,
    "_vet",
    lambda f: lambda txn, reports, keys: _vet_twice(f, txn, reports, keys),
)
swap("a late report counts twice", 9, recorder, "record_late",
     lambda f: lambda *a, **k: f(*a, **{**k, "key": None}))  # fmt: skip
swap("token not checked", 13, identity, "refusal", lambda _f: lambda *_a: None)
swap(
    "a crossed token passes",
    13,
    identity,
    "refusal",
    lambda f: lambda *a: None if (w := f(*a)) == identity.Wrong.CROSSED else w,
)
swap(
    "an expired token passes",
    13,
    identity,
    "refusal",
    lambda f: lambda *a: None if (w := f(*a)) == identity.Wrong.EXPIRED else w,
)
swap("refusals are not counted", 13, identity, "count", lambda _f: lambda *_a: None)
swap(
    "sums not in the transaction",
    15,
    tallies.Tallies,
    "write",
    lambda f: lambda self, txn: _tallied_later(f, self, txn),
)
swap("late reports leave the sums", 9, recorder, "_revise",
     lambda f: lambda txn, origin, *a, **k: f(txn, _no_cell(origin), *a, **k))  # fmt: skip
swap(
    "the candidate's sums count for the baseline",
    9,
    tallies.Tallies,
    "cells",
    lambda f: lambda self: _one_arm(f(self)),
)
swap("lost run not counted", 5, judging, "_newly_lost", lambda _f: lambda *_a: [])
swap("trigger fired in the wrong arm", 14, judging.Court, "charge",
     lambda f: lambda self, o, now: f(self, replace(o, arm="candidate" if o.arm == "baseline" else "baseline"), now))  # fmt: skip
swap(
    "trigger not fired while an approval is awaited",
    14,
    judging,
    "fire",
    lambda f: lambda txn, c, ch, *a: _unless_asking(f, txn, c, ch, *a),
)
swap(
    "an event waits for a look",
    14,
    judging,
    "fire",
    lambda f: lambda txn, c, ch, culprit, *a: None if culprit == "data_leak" else f(txn, c, ch, culprit, *a),
)
swap("no watch after a promotion", 14, judging, "_restored", lambda _f: lambda *_a: False)
swap(
    "an alarm rings every time",
    9,
    judging,
    "_alarm",
    lambda f: lambda txn, p, c, culprit, said: f(_Forgetful(txn), p, c, culprit, said),
)
swap(
    "a batch judges its first run alone",
    14,
    judging,
    "judge",
    lambda f: lambda txn, court, ended: f(txn, court, ended[:1]),
)
swap("readmit leaves no trace", 9, control, "readmit", lambda f: lambda s, *a, **k: _untraced(s, *a))


def _vet_twice(f: Any, txn: Any, reports: Any, keys: Any) -> Any:
    found = f(txn, reports, keys)
    for run_id in found.duplicates:
        run = txn.one(sql.RUN, id=run_id)
        if run["release_id"] is not None:
            tally = tallies.Tallies()
            tally.add(recorder.Origin.of(run).cell, next(r.outcome for r in reports if r.run_id == run_id))
            tally.write(txn)
    return found


def _tallied_later(f: Any, self: Any, txn: Any) -> None:
    link = txn._link

    def later(committed: bool) -> None:
        if committed and not Bench.dying:
            link._link._connection.execute("BEGIN IMMEDIATE")
            f(self, txn)
            link._link._connection.execute("COMMIT")

    txn.when_ended(later)


def _one_arm(cells: Any) -> Any:
    found: dict[Any, list[int]] = {}
    for cell, sums in cells.items():
        key = (*cell[:3], "baseline")
        found[key] = [a + b for a, b in zip(found.get(key, [0] * len(sums)), sums, strict=True)]
    return found


def _no_cell(origin: Any) -> Any:
    other = dataclasses.replace(origin)
    object.__setattr__(other, "cell", None)
    return other


def _unless_asking(f: Any, txn: Any, court: Any, charge: Any, *given: Any) -> None:
    row = txn.one(sql.RELEASE, id=charge.release_id)
    if row["state"] != "asking":
        f(txn, court, charge, *given)


def _untraced(store: Any, agent: str, environment: str, bundle: str) -> None:
    with store.transaction() as txn:
        if txn.run(sql.READMIT, agent=agent, environment=environment, bundle_id=bundle) == 0:
            raise control.NotFound


@dataclass
class _Forgetful:
    """A transaction in which no stage was ever entered, and none is entered twice."""

    txn: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.txn, name)

    def one(self, statement: str, **values: Any) -> Any:
        return None if statement == sql.STAGE else self.txn.one(statement, **values)

    def insert(self, table: str, values: Any) -> None:
        if (
            table != "stage"
            or self.txn.one(sql.STAGE, release_id=values["release_id"], key=values["key"]) is None
        ):
            self.txn.insert(table, values)
