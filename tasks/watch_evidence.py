"""The evidence of a watch: the runs around a switch, read from our tables as they are known now."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluators.watched import FLAGS, SPEND, Group, Kind
from lastgood import registry
from lastgood.retention import last_before
from lastgood.store import watching as sql
from lastgood.store.connection import Row, Transaction
from tasks import pinned

#: newest runs that say what was usual, and that are read of any other group
_BEFORE, _MOST = 5_000, 20_000
_COLUMNS = ["group", "stratum", "block", "at_us", "models", *FLAGS, SPEND]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose runs, where."""

    agent: str
    environment: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a watch reads, and by what a silent run is lost."""

    place: Place
    kind: Kind
    release_id: str | None
    left_bundle: str
    good_bundle: str
    #: microseconds UTC: since when runs say what was usual; the window; the switch; now
    before_us: int
    from_us: int
    at_us: int
    now_us: int
    lost_after_us: int
    #: names of events that are not tolerated
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Runs of one bundle between two times, as one group."""

    group: Group
    bundle_id: str
    since_us: int
    until_us: int
    most: int = _MOST
    #: whether only runs of the release are meant
    of_release: bool = False


def runs(txn: Transaction, asked: Asked) -> pd.DataFrame:
    """One run a row in the order of assignment, with the columns that a watch is judged by."""
    found = [record for part in _parts(asked) for record in _records(txn, asked, part)]
    frame = pd.DataFrame(found, columns=["seq", *_COLUMNS])
    for name in ("block", *FLAGS, SPEND):
        frame[name] = frame[name].astype(np.float64)
    if not (frame["validation"] == 0.0).any():
        frame["validation"] = np.nan  # no run was ever reported valid: the agent does not report it
    return frame.sort_values("seq", kind="stable").drop(columns="seq").reset_index(drop=True)


def calls(txn: Transaction, asked: Asked) -> pd.DataFrame:
    """One settled call of a tool a row: `group`, `tool`, `failed`."""
    rows: list[tuple[str, str, float]] = []
    for part in _parts(asked):
        for row in txn.all(sql.CALLS, **_bounds(txn, asked, part)):
            rows += [(part.group, row["tool"], float(row["state"] == "failed"))] * int(row["n"])
    return pd.DataFrame(rows, columns=["group", "tool", "failed"]).astype({"failed": np.float64})


def pinned_models(txn: Transaction, bundle_id: str, runs: pd.DataFrame) -> frozenset[str]:
    """Models that a bundle's model part names: those of them that answered these runs, all where none did."""
    named = frozenset(pinned.models(registry.read(txn, bundle_id).bundle))
    return named.intersection(name for names in runs["models"] for name in names) or named


def _parts(asked: Asked) -> tuple[_Part, ...]:
    at_us = asked.at_us + 1  # what began in the moment of the switch began before it
    after = _Part(Group.AFTER, asked.good_bundle, at_us, asked.now_us + 1)
    if asked.kind is Kind.PROMOTE:
        return (
            _Part(Group.BEFORE, asked.left_bundle, asked.before_us, at_us, _BEFORE),
            _Part(Group.BESIDE, asked.good_bundle, asked.from_us, at_us, of_release=True),
            after,
        )
    return (
        _Part(Group.BEFORE, asked.good_bundle, asked.before_us, asked.from_us, _BEFORE),
        _Part(Group.BAD, asked.left_bundle, asked.from_us, at_us),
        _Part(Group.BESIDE, asked.good_bundle, asked.from_us, at_us),
        after,
    )


def _bounds(txn: Transaction, asked: Asked, part: _Part) -> dict[str, Any]:
    return {
        "bundle_id": part.bundle_id,
        "agent": asked.place.agent,
        "environment": asked.place.environment,
        "after": last_before(txn, part.since_us),
        "last": last_before(txn, part.until_us),
    }


def _records(txn: Transaction, asked: Asked, part: _Part) -> list[dict[str, Any]]:
    bounds = _bounds(txn, asked, part)
    late: dict[str, list[dict[str, Any]]] = {}
    for row in txn.all(sql.LATE, **bounds):
        late.setdefault(row["run_id"], []).append(json.loads(row["fields"]))
    wrong = {row["run_id"] for row in txn.all(sql.EVENTS, **bounds) if row["name"] in asked.events}
    found = []
    for row in txn.all(sql.RUNS, **bounds, most=part.most):
        if part.of_release and row["release_id"] != asked.release_id:
            continue
        record = _record(row, late.get(row["run_id"], []), asked, event=row["run_id"] in wrong)
        if record is not None:
            found.append({"group": part.group, **record})
    return found


def _record(row: Row, late: list[dict[str, Any]], asked: Asked, *, event: bool) -> dict[str, Any] | None:
    """What is known of a run; None while it may still report."""
    known: dict[str, Any] = dict(row)
    for fields in late:
        known |= {name: value for name, value in fields.items() if name in known}
    silent = known["received_us"] is None
    if silent and asked.now_us < known["assigned_us"] + asked.lost_after_us:
        return None
    compared = known["block"] is not None and known["release_id"] == asked.release_id
    record = {
        "seq": known["seq"], "stratum": known["task_type"], "at_us": known["assigned_us"],
        "block": known["block"] if compared else None,
        "models": () if silent else tuple({call["model"] for call in json.loads(known["usage"] or "[]")}),
        "events": float(event), SPEND: known["cost_usd"], **dict.fromkeys(FLAGS[:5]),
    }  # fmt: skip
    if silent:
        return record | {"errors": 1.0, "completion": 1.0, "validation": 1.0}
    if known["status"] == "disconnected":  # the client's doing: nothing is said of the agent
        return record
    infra = bool(known["infra_failure"])
    return record | {
        "errors": float(known["status"] == "failed" or infra),
        "completion": float(known["completed"] is None or not known["completed"]),
        "validation": float(known["validated"] is None or not known["validated"]),
        "escalation": float(bool(known["escalated"])),
        "incidents": float(bool(known["incidents"])),
    }


__all__ = ["Asked", "Place", "calls", "pinned_models", "runs"]
