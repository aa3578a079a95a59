"""Planted bugs of releases."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from planting import bug, swap, text

from evaluators import stages
from lastgood import (
    incidents,
    moves,
    points,
    releasing,
    restoring,
    standing,
)
from lastgood.errors import LiveRelease
from lastgood.moves import ControlPoint, Lease

# -- releases

swap(
    "stale epoch accepted",
    6,
    points,
    "move",
    lambda f: lambda txn, was, now, entry, _expect=None: f(txn, was, now, entry),
)
swap("only the epoch is compared", 6, points, "move",
     lambda f: lambda txn, was, now, entry, expect=None: f(txn, was, now, entry, expect and replace(expect, driver_term=was.driver_term)))  # fmt: skip
swap("lease renewed by a dead driver", 6, releasing, "renew",
     lambda f: lambda store, rid, **k: f(store, rid, **{**k, "expect": _now(store)}))  # fmt: skip
swap(
    "a lapsed lease is renewed without a new share",
    5,
    Lease,
    "left_us",
    lambda f: lambda self, **k: max(1, f(self, **k)),
)
swap("a stage that was entered can't be retried", 15, releasing, "_done", lambda _f: lambda *_a: False)
swap("a taken over driver's retry passes", 6, releasing, "_done",
     lambda f: lambda txn, rid, stage, p, expect: f(txn, rid, stage, p, replace(expect, driver_term=p.driver_term)))  # fmt: skip
swap(
    "an ended release is reverted again",
    12,
    releasing,
    "_live",
    lambda _f: lambda txn, rid, _m: _any(txn, rid),
)
swap(
    "takeover keeps the term",
    6,
    moves,
    "take_over",
    lambda f: lambda p, **k: replace(f(p, **k), driver_term=p.driver_term),
)
swap("quarantine ignored", 12, standing, "refuse_quarantined", lambda _f: lambda *_a, **_k: None)
text("a cool-down is for good", 12, "QUARANTINE", "until_us > :now_us", "until_us > 0 AND :now_us > 0")
swap(
    "evidence only cools down",
    12,
    standing,
    "keep_out",
    lambda f: lambda *a, **k: f(*a, **{**k, "cooling": True}),
)
swap(
    "rollback to a quarantined bundle",
    12,
    restoring,
    "newest_other",
    lambda _f: lambda *given: _newest(*given),  # noqa: PLW0108  it is defined below
)
text(
    "rollback to a bundle that was rolled back from",
    12,
    "GOOD_BUNDLES",
    "AND served.withdrawn_us IS NULL",
    "",
)
swap("rollback keeps nobody out", 12, restoring.standing, "keep_out",
     lambda f: lambda txn, p, b, said, **k: None if "rolled back" in said else f(txn, p, b, said, **k))  # fmt: skip
swap(
    "vouched shown as proven",
    4,
    releasing,
    "promote",
    lambda f: lambda s, rid, **k: f(s, rid, **{**k, "proven": True}),
)
swap("promote without evidence", 4, stages, "_gate_opens", lambda _f: lambda s, _v, _r: s.share_bp > 0)
swap("no data promotes", 11, stages, "_gate_opens",
     lambda f: lambda s, v, r: f(s, replace(v, valid=True, gates=(True,)) if not v.valid else v, r))  # fmt: skip
swap(
    "too few runs promote",
    4,
    stages,
    "_gate_opens",
    lambda f: lambda s, v, r: f(replace(s, step_runs=1_000), v, r),
)
swap("harm waits for a lapse", 14, stages, "next_transition",
     lambda f: lambda s, v, r: f(s, None if s.lease_left_us <= 0 else v, r))  # fmt: skip
swap(
    "invalid evidence reopens",
    11,
    stages,
    "_going_on",
    lambda f: lambda s, v, r: f(s, replace(v, valid=True), r),
)

# -- incidents

swap("incident not opened by a revert by hand", 16, releasing.incidents, "open_in",
     lambda f: lambda txn, o: None if o.by == "hand" else f(txn, o))  # fmt: skip
swap("incident not opened by a trigger", 16, releasing.incidents, "open_in",
     lambda f: lambda txn, o: None if o.by in {"trigger", "alarm"} else f(txn, o))  # fmt: skip
swap("an incident of the wrong bundle", 16, releasing.incidents, "open_in",
     lambda f: lambda txn, o: f(txn, replace(o, bad=o.good or o.bad)))  # fmt: skip
swap("an incident is closed by nothing", 16, incidents, "close",
     lambda f: lambda s, name, *, actor, reason="": f(s, name, actor=actor, reason=reason or "-"))  # fmt: skip
swap("the revert commits before its incident", 15, releasing, "_open_incident",
     lambda f: lambda txn, *given: _committed_first(f, txn, *given))  # fmt: skip


def _now(store: Any) -> Any:
    with store.reading() as txn:
        row = txn.one("SELECT epoch, driver_term FROM control_point")
        return points.Expect(row["epoch"], row["driver_term"])


def _any(txn: Any, release_id: str) -> Any:
    row = releasing.read(txn, release_id)
    return row, points.read(txn, row["agent"], row["environment"])


def _newest(txn: Any, point: ControlPoint) -> str:
    rows = txn.all("SELECT bundle_id FROM served ORDER BY epoch DESC")
    found = next((row["bundle_id"] for row in rows if row["bundle_id"] != point.baseline), None)
    if found is None:
        raise restoring.InvalidMove
    return str(found)


@bug("two live releases", 2)
def _two() -> Iterator[None]:
    """The second takes the first one's place; the index that forbids it is gone."""

    def start(store: Any, wanted: Any) -> str:
        try:
            return str(real(store, wanted))
        except LiveRelease:
            with store.transaction() as txn:
                txn.run("DROP INDEX IF EXISTS one_live_release")
                for index in txn.all(
                    "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'release' AND sql LIKE '%UNIQUE%'"
                ):
                    txn.run(f"DROP INDEX {index['name']}")
                releasing._insert(txn, releasing.new_id("rel_", txn.now_us), wanted.candidate, wanted)
            return ""

    real = releasing.start
    with patch.object(releasing, "start", start):
        yield


def _committed_first(f: Any, txn: Any, *given: Any) -> None:
    """A crash after this leaves a revert without its incident."""
    txn._link._link.commit()
    txn._link._link._connection.execute("BEGIN IMMEDIATE")
    f(txn, *given)
