"""Drift: the watch of the bundles that serve, brought up to date; what changed is recorded, and told once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from evaluators.drifting import FIRST, Change, Seen, Watch
from lastgood import notices, points, registry
from lastgood.errors import LastgoodError
from lastgood.ids import new_id
from lastgood.moves import ControlPoint
from lastgood.notice import Level, Notice
from lastgood.store import statements as sql
from lastgood.store import upkeep
from lastgood.store.connection import Row, Store, Transaction
from tasks import pinned

#: runs that one evaluation looks at; more wait for the next
MOST = 5_000
#: runs of a bundle that its first watch begins with: those that say what is usual, and as many again
_BEGINS = 2 * FIRST


@dataclass(frozen=True, slots=True)
class Changed:
    """Something changed underneath the bundle that serves at a place, or it can't be watched."""

    agent: str
    environment: str
    #: a sentence for people
    said: str


def watch(store: Store) -> list[Changed]:
    """Bring the watch of every serving bundle up to date; return what changed.

    A place whose bundle can't be read is said to be so: the others are watched all the same.
    """
    with store.reading() as txn:
        places = [(row["agent"], row["environment"]) for row in txn.all(sql.POINTS)]
    return [change for place in places for change in _watched(store, *place)]


def _watched(store: Store, agent: str, environment: str) -> list[Changed]:
    try:
        with store.reading() as txn:
            point = points.read(txn, agent, environment)
            held, rows = _new_runs(txn, point)
            if not rows:
                return []
            models = pinned.models(registry.read(txn, point.baseline).bundle)
    except LastgoodError as error:
        return [Changed(agent, environment, f"{agent} in {environment} can't be watched: {error}")]
    before = Watch.from_json(json.loads(held["state"])) if held else Watch()
    after, changes = before.after(_seen(rows), models)
    if not _keep(store, point, held, after, rows[-1]["seq"], changes):
        return []  # another evaluation was first
    return [Changed(agent, environment, f"{point.name}: {change.detail}") for change in changes]


def _key(point: ControlPoint) -> dict[str, str]:
    return {"agent": point.agent, "environment": point.environment, "bundle_id": point.baseline}


def _new_runs(txn: Transaction, point: ControlPoint) -> tuple[Row | None, list[Row]]:
    """Runs of the baseline since the last time, whose outcome can't be missing any more."""
    held = txn.one(upkeep.DRIFT_WATCH, **_key(point))
    if held is not None:
        after = held["after_seq"]
    else:
        first = txn.one(upkeep.FIRST_WATCHED, **_key(point), most=_BEGINS)
        after = first["seq"] if first else 0
    before_us = txn.now_us - point.terms.lost_after_us
    rows = txn.all(upkeep.SETTLED_RUNS, **_key(point), after=after, before_us=before_us, most=MOST)
    return held, rows


def _seen(rows: list[Row]) -> Iterator[Seen]:
    for row in rows:
        lost = row["received_us"] is None
        bad = {"completion": lost or not row["completed"]}
        if not lost and not row["infra_failure"]:
            bad |= {"validation": not row["validated"]} if row["validated"] is not None else {}
            bad |= {"escalation": bool(row["escalated"])} if row["escalated"] is not None else {}
        if not lost and row["completed"] is None and row["status"] == "ended":
            del bad["completion"]
        yield Seen(row["id"], bad, _models(row["usage"]))


def _models(usage: str | None) -> tuple[str, ...]:
    if not usage or usage == "[]":
        return ()
    return tuple(dict.fromkeys(str(call["model"]) for call in json.loads(usage) if call.get("model")))


def _keep(
    store: Store, point: ControlPoint, held: Row | None, after: Watch, seq: int, changes: list[Change]
) -> bool:
    """Store the watch with what changed, in one transaction; False where another evaluation was first."""
    with store.transaction(at=(point.agent, point.environment)) as txn:
        now = txn.one(upkeep.DRIFT_WATCH, **_key(point))
        if (now["after_seq"] if now else None) != (held["after_seq"] if held else None):
            return False
        state = json.dumps(after.to_json(), sort_keys=True, separators=(",", ":"))
        txn.run(upkeep.SET_DRIFT_WATCH, **_key(point), after_seq=seq, state=state)
        for change in changes:
            _record(txn, point, change)
    return True


def _record(txn: Transaction, point: ControlPoint, change: Change) -> None:
    values = {
        "id": new_id("dri_", txn.now_us),
        **_key(point),
        "kind": change.kind,
        "name": change.name,
        "run_id": change.run_id,
        "detail": change.detail,
        "at_us": txn.now_us,
    }
    txn.insert("drift", values)
    key = f"drift:{point.agent}:{point.environment}:{point.baseline}:{values['id']}"
    title = f"b-{point.baseline[:8]}: {change.detail}"
    text = f"seen at run {change.run_id}. Nobody released it: see the provider, the tools and the data"
    notices.put(txn, Notice(point.agent, point.environment, "drift", key, title, text, Level.INFORM))


__all__ = ["Changed", "watch"]
