"""Triggers over figures from outside: asked between two looks, kept with the release, reverted on at once.

Nothing of it stands in front of a look or a revert: a reading that hangs or fails is an absence. What was
found last is a row of the release, which the next look reads: an absent figure holds every step forward, if
the policy does not set it aside, and never is a pass.
"""

import json
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from config.policy import Policy
from config.triggers import OutsideSpec
from evaluators.outside import Found, Limit, Stand, stand
from evaluators.rules import Mode
from lastgood import points, releasing
from lastgood.errors import LastgoodError, Refused
from lastgood.moves import ControlPoint
from lastgood.releasing import Ending
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import signals
from tasks.comparison import Frozen

log = logging.getLogger("lastgood")
_PREFIX = "outside:"
#: releases whose figures are being read in this process
_reading: set[str] = set()
_guard = threading.Lock()
os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)
#: looks after which a reading that was not renewed is none any more
_LOOKS = 5
#: microseconds that are read at least: a point of a slow series lies in them
_SPAN_US = 600_000_000
#: points of a series that lie in the time it has to last, at least
_POINTS = 4


@dataclass(frozen=True, slots=True)
class Told:
    """A figure from outside as it was found last."""

    name: str
    spec: OutsideSpec
    found: Found
    #: microseconds UTC of the reading; None before the first
    at_us: int | None

    @property
    def beyond(self) -> bool:
        """Whether it has been beyond its limit for long enough."""
        return self.found.stand is Stand.BEYOND

    @property
    def holds(self) -> str:
        """Why no step forward is made; empty where one may be."""
        if self.found.stand is Stand.ABSENT:
            why = f"{self.name} can't be known: {self.found.said}"
            return why if self.spec.when_absent == "hold" else ""
        return f"{self.name} is bad: {self.found.said}" if self.found.stand is not Stand.FINE else ""


def work_quietly(store: Store, release_id: str, *, seconds: float) -> None:
    """Read what the policy names, keep it, and revert where it says so; waits `seconds` for it at most.

    What takes longer goes on beside the caller, one reading of a release at a time, and reverts by itself.
    """
    try:
        with store.reading() as txn:
            row = releasing.read(txn, release_id)
            point = points.read(txn, row["agent"], row["environment"])
        specs = Frozen.of(row).policy.declared_triggers.outside
    except LastgoodError as error:
        log.warning("what is outside of %s was not read: %s", release_id, error)
        return
    with _guard:
        if not specs or row["ended_us"] is not None or release_id in _reading:
            return
        _reading.add(release_id)
    given = (store, row, point, specs)
    thread = threading.Thread(target=_work, args=given, name="lastgood-outside", daemon=True)
    thread.start()
    thread.join(seconds)


def _work(store: Store, row: Row, point: ControlPoint, specs: Mapping[str, OutsideSpec]) -> None:
    try:
        _judge(store, row, specs, read(specs, names_of(row, point), store.clock.now_us()))
    except LastgoodError as error:
        log.warning("what is outside of %s was not read: %s", row["id"], error)
    except Exception:
        log.exception("what is outside of %s was not read", row["id"])
    finally:
        store.close()  # this thread's connection
        with _guard:
            _reading.discard(row["id"])


def names_of(row: Row, point: ControlPoint) -> dict[str, str]:
    """What a query may name of a release."""
    return {
        "agent": row["agent"],
        "environment": row["environment"],
        "release": row["id"],
        "candidate": row["candidate"],
        "baseline": point.baseline,
    }


def read(specs: Mapping[str, OutsideSpec], names: Mapping[str, str], now_us: int) -> dict[str, Found]:
    """Ask every source, all at once; raises nothing of theirs."""
    if not specs:
        return {}
    with ThreadPoolExecutor(max_workers=len(specs), thread_name_prefix="lastgood-outside") as pool:
        asked = {name: pool.submit(_read, name, spec, names, now_us) for name, spec in specs.items()}
        return {name: answer.result() for name, answer in asked.items()}


def refuse_unknown(policy: Policy, names: Mapping[str, str], now_us: int) -> None:
    """Refuse a release that would be held from its first look on; raises `Refused`.

    What names the release or its candidate begins with it, and is not asked for before.
    """
    specs = {
        name: spec
        for name, spec in policy.declared_triggers.outside.items()
        if spec.when_absent == "hold" and not _is_of_release(spec)
    }
    for name, found in read(specs, names, now_us).items():
        if found.stand is Stand.ABSENT:
            raise Refused(
                f"the policy {policy.name} watches {name} outside, and nothing is known of it: {found.said}. "
                f"Mend that, or write when_absent: set_aside in triggers.outside.{name}"
            )


def _is_of_release(spec: OutsideSpec) -> bool:
    given = spec.model_dump(mode="json", exclude_none=True, by_alias=True)
    text = " ".join(str(given[key]) for key in (*_NAMING, "sql") if key in given)
    return any(f"{{{name}}}" in text or f":{name}" in text for name in ("candidate", "release"))


def _read(name: str, spec: OutsideSpec, names: Mapping[str, str], now_us: int) -> Found:
    given = spec.model_dump(mode="json", exclude_none=True, by_alias=True)
    given |= {key: _filled(given[key], names) for key in _NAMING if key in given}
    if "prometheus" in given and spec.lasts:
        given.setdefault("step", f"{max(1, spec.lasts // _POINTS // 1_000_000)} s")
    source = signals.source(name, given, names)
    series = source.read(now_us - max(_SPAN_US, 2 * spec.lasts, spec.stale_after), now_us)
    return stand(series, Limit(spec.limit, spec.lasts, max(spec.stale_after, spec.lasts)))


#: what may name the release
_NAMING = ("query", "name", "json")


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _judge(store: Store, row: Row, specs: Mapping[str, OutsideSpec], found: Mapping[str, Found]) -> None:
    """Keep what was found, and revert the release by it, in one transaction."""
    with store.transaction(durable=True, at=(row["agent"], row["environment"])) as txn:
        for name, each in found.items():
            state = {"at_us": txn.now_us, "stand": each.stand, "value": each.value, "said": each.said}
            key = {"release_id": row["id"], "name": _PREFIX + name}
            txn.run(sql.SET_TRIGGER_STATE, **key, state=json.dumps(state))
        bad = [name for name, each in found.items() if _reverts(specs[name], each)]
        point = points.read(txn, row["agent"], row["environment"])
        if bad and point.release_id == row["id"] and _served(point, row) and _acts(row):
            said = "; ".join(f"{name}: {found[name].said}" for name in bad)
            releasing.revert_in(txn, point, Ending("trigger", said, by="trigger", culprits=tuple(bad)))


def _reverts(spec: OutsideSpec, found: Found) -> bool:
    return spec.then == "revert" and found.stand is Stand.BEYOND


def _served(point: ControlPoint, row: Row) -> bool:
    """Whether the candidate has served: what is bad before that is not its doing."""
    return point.share_bp > 0 or row["step"] > 0


def _acts(row: Row) -> bool:
    return Frozen.of(row).rules.mode is Mode.ACT


def told(txn: Transaction, row: Row) -> tuple[Told, ...]:
    """Return every figure of a release as it was found last; one that was not read for long is absent."""
    frozen = Frozen.of(row)
    every_us = _LOOKS * frozen.rules.look_interval_us
    return tuple(
        _told(txn, row["id"], name, spec, every_us)
        for name, spec in sorted(frozen.policy.declared_triggers.outside.items())
    )


def _told(txn: Transaction, release_id: str, name: str, spec: OutsideSpec, every_us: int) -> Told:
    kept = txn.one(sql.TRIGGER_STATE, release_id=release_id, name=_PREFIX + name)
    if kept is None:
        return Told(name, spec, Found(Stand.ABSENT, None, "it was not read yet"), None)
    state: dict[str, Any] = json.loads(kept["state"])
    at_us = int(state["at_us"])
    if txn.now_us - at_us > every_us + spec.stale_after:
        minutes = (txn.now_us - at_us) / 60_000_000
        return Told(name, spec, Found(Stand.ABSENT, None, f"it was read last {minutes:.0f} min ago"), at_us)
    return Told(name, spec, Found(Stand(state["stand"]), state["value"], state["said"]), at_us)


__all__ = ["Told", "names_of", "read", "refuse_unknown", "told", "work_quietly"]
