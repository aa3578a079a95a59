"""Incidents: what a revert, a trigger or a person opens, and how each is closed.

A revert's incident is written in the revert's own transaction: no crash loses one. It is closed by a
regression case or by a recorded reason, never by itself.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from lastgood import points
from lastgood.errors import InvalidInput, InvalidMove, NotFound
from lastgood.ids import new_id
from lastgood.store import aftermath
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

#: who opened it, where that is no revert's own `by`
ALARM, PERSON = "alarm", "person"
#: newest incidents that a list shows
MOST = 100


class Recovery(StrEnum):
    """How far the damage in the data is undone."""

    DUE = "due"  #: nobody has begun, or something came after the end
    RUNNING = "running"  #: a process is at it
    WAITING = "waiting"  #: what is left waits: for a person's approval, a later try, an action under way
    DONE = "done"  #: everything is undone
    RESIDUE = "residue"  #: what can be undone is; the rest is listed

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self in {Recovery.DONE, Recovery.RESIDUE}


@dataclass(frozen=True, slots=True)
class Opening:
    """What an incident is opened with."""

    agent: str
    environment: str
    #: id of the bundle that did the damage
    bad: str
    #: id of the one that serves instead, or did last; None where there is none
    good: str | None
    #: microseconds UTC: the bad bundle's runs from here on are the incident's
    from_us: int
    #: `evidence`, `trigger`, `hand`, `lapse`, `undecided`, `baseline`, `alarm`, `person`
    by: str
    reason: str
    actor: str
    release_id: str | None = None
    #: guardrails or triggers at fault, worst first
    culprits: tuple[str, ...] = ()
    #: microseconds UTC; None: now
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as it stands."""

    id: str
    agent: str
    environment: str
    release_id: str | None
    bad: str
    good: str | None
    #: the window, microseconds UTC, both included
    from_us: int
    to_us: int
    by: str
    culprits: tuple[str, ...]
    reason: str
    opened_by: str
    opened_us: int
    open: bool
    recovery: Recovery
    #: `due`, then what the watch says
    watch: str
    #: ids of the regression cases that stand for it
    cases: tuple[str, ...]
    close_reason: str | None
    closed_by: str | None
    closed_us: int | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Read it from its row."""
        return cls(
            id=row["id"],
            agent=row["agent"],
            environment=row["environment"],
            release_id=row["release_id"],
            bad=row["bad_bundle"],
            good=row["good_bundle"],
            from_us=row["from_us"],
            to_us=row["to_us"],
            by=row["by"],
            culprits=tuple(json.loads(row["culprits"])),
            reason=row["reason"],
            opened_by=row["opened_by"],
            opened_us=row["opened_us"],
            open=row["state"] == "open",
            recovery=Recovery(row["recovery"]),
            watch=row["watch"],
            cases=tuple(json.loads(row["cases"])),
            close_reason=row["close_reason"],
            closed_by=row["closed_by"],
            closed_us=row["closed_us"],
        )

    @property
    def window(self) -> dict[str, str | int]:
        """The parameters that the statements of its runs take."""
        return {
            "agent": self.agent,
            "environment": self.environment,
            "bad_bundle": self.bad,
            "from_us": self.from_us,
            "to_us": self.to_us,
        }


def open_in(txn: Transaction, opening: Opening) -> str:
    """Open an incident in a transaction that is under way: one row; return its id."""
    incident_id = new_id("inc_", txn.now_us)
    txn.insert(
        "incident",
        {
            "id": incident_id,
            "agent": opening.agent,
            "environment": opening.environment,
            "release_id": opening.release_id,
            "bad_bundle": opening.bad,
            "good_bundle": opening.good,
            "from_us": opening.from_us,
            "to_us": txn.now_us if opening.to_us is None else opening.to_us,
            "by": opening.by,
            "culprits": json.dumps(opening.culprits),
            "reason": opening.reason,
            "opened_by": opening.actor,
            "opened_us": txn.now_us,
            "state": "open",
            "recovery": Recovery.DUE,
            "recovery_worker": "",
            "recovery_until_us": 0,
            "watch": "due",
            "cases": "[]",
        },
    )
    return incident_id


def read(txn: Transaction, incident_id: str) -> Incident:
    """Return an incident; raises `NotFound`."""
    row = txn.one(aftermath.INCIDENT, id=incident_id)
    if row is None:
        msg = f"no incident {incident_id!r}; see `lastgood incident list`"
        raise NotFound(msg)
    return Incident.of(row)


def listed(
    txn: Transaction, agent: str | None = None, environment: str | None = None, *, most: int = MOST
) -> list[Incident]:
    """Return the newest incidents, of one agent in one environment or of all."""
    if agent is None:
        rows = txn.all(aftermath.INCIDENTS, most=most)
    else:
        rows = txn.all(aftermath.INCIDENTS_OF_AGENT, agent=agent, environment=environment, most=most)
    return [Incident.of(row) for row in rows]


def unproven(txn: Transaction, agent: str, environment: str) -> list[Incident]:
    """Return the open incidents of an agent that no regression case stands for, oldest first."""
    rows = txn.all(aftermath.OPEN_INCIDENTS, agent=agent, environment=environment)
    return [found for found in map(Incident.of, rows) if not found.cases]


def add_case_in(txn: Transaction, incident_id: str, case_id: str) -> Incident:
    """Let a regression case stand for an incident; once each. Raises `InvalidInput` for a case of no name."""
    if not case_id.strip():
        msg = f"the case of {incident_id} has no id; give the id under which it is kept"
        raise InvalidInput(msg)
    found = read(txn, incident_id)
    cases = dict.fromkeys((*found.cases, case_id))
    txn.run(aftermath.ADD_CASE, id=incident_id, cases=json.dumps(list(cases)))
    return read(txn, incident_id)


def reopen_in(txn: Transaction, run: Row) -> bool:
    """Let the recovery of a run's incident begin anew: the run acted after that had ended."""
    return bool(
        txn.run(
            aftermath.REOPEN,
            agent=run["agent"],
            environment=run["environment"],
            bad_bundle=run["bundle_id"],
            assigned_us=run["assigned_us"],
        )
    )


def close_in(txn: Transaction, incident_id: str, *, actor: str, reason: str = "") -> Incident:
    """Close an incident that a regression case stands for, or with the reason why none can.

    Raises `InvalidInput` where there is neither, `InvalidMove` for one that is closed, `NotFound`.
    """
    found = read(txn, incident_id)
    if not found.open:
        said = f": {found.close_reason}" if found.close_reason else ""
        msg = f"{incident_id} was closed by {found.closed_by} already{said}"
        raise InvalidMove(msg)
    if not found.cases and not reason.strip():
        msg = (
            f"{incident_id} has no regression case: prove one, or say why none can stand for it with "
            f"`lastgood incident close {incident_id} --reason ...`"
        )
        raise InvalidInput(msg)
    txn.run(
        aftermath.CLOSE_INCIDENT,
        id=incident_id,
        cases=json.dumps(found.cases),
        close_reason=reason.strip() or None,
        closed_by=actor,
        closed_us=txn.now_us,
    )
    return read(txn, incident_id)


def close(store: Store, incident_id: str, *, actor: str, reason: str = "") -> Incident:
    """Close an incident in a transaction of its own; as `close_in`."""
    with store.transaction(durable=True, at=store.place_of(aftermath.INCIDENT, id=incident_id)) as txn:
        return close_in(txn, incident_id, actor=actor, reason=reason)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An incident that a person opens."""

    agent: str
    environment: str
    actor: str
    reason: str
    #: id of the bundle at fault; None: the live candidate, else the present baseline
    bundle_id: str | None = None


def open_by_hand(store: Store, wanted: Wanted) -> Incident:
    """Open an incident because a person says so; nothing is served differently.

    Raises `InvalidInput` without a reason or for a bundle that never served here, `NotFound`.
    """
    if not wanted.reason.strip():
        msg = f"an incident of {wanted.agent} needs a reason: say with --reason what happened"
        raise InvalidInput(msg)
    with store.transaction(durable=True, at=(wanted.agent, wanted.environment)) as txn:
        return read(txn, open_in(txn, _opening(txn, wanted)))


def _opening(txn: Transaction, wanted: Wanted) -> Opening:
    point = points.read(txn, wanted.agent, wanted.environment)
    bad = wanted.bundle_id or point.candidate or point.baseline
    key = {"agent": wanted.agent, "environment": wanted.environment, "bundle_id": bad}
    release, served = (
        txn.one(aftermath.NEWEST_RELEASE_OF_BUNDLE, **key),
        txn.one(sql.SERVED_OF_BUNDLE, **key),
    )
    if release is None and served is None:
        msg = (
            f"b-{bad[:8]} never served {point.name}: name a bundle that did with --bundle, "
            "see `lastgood bundle list`"
        )
        raise InvalidInput(msg)
    from_us, release_id = since(release, served)
    withdrawn = served["withdrawn_us"] if served is not None else None
    ended = release["ended_us"] if release is not None and release["state"] == "reverted" else None
    return Opening(
        wanted.agent,
        wanted.environment,
        bad,
        _other(point.baseline, bad, release),
        from_us,
        PERSON,
        wanted.reason.strip(),
        wanted.actor,
        release_id,
        to_us=withdrawn or ended,
    )


def _other(baseline: str, bad: str, release: Row | None) -> str | None:
    """The bundle that serves instead of the bad one, or that it replaced."""
    if baseline != bad:
        return baseline
    return str(release["baseline"]) if release is not None else None


def since(release: Row | None, served: Row | None) -> tuple[int, str | None]:
    """When a bundle began to serve, microseconds UTC, and the release under which it did, if any.

    `release` is its newest one, `served` its newest row as the last known good: of these the newer counts,
    and one that became the last known good by a release began with that.
    """
    if release is not None and (served is None or release["started_us"] > served["since_us"]):
        return release["started_us"], release["id"]
    assert served is not None  # noqa: S101  the callers have one of both
    if release is not None and served["release_id"] == release["id"]:
        return release["started_us"], release["id"]
    return served["since_us"], served["release_id"]


__all__ = [
    "ALARM",
    "MOST",
    "PERSON",
    "Incident",
    "Opening",
    "Recovery",
    "Wanted",
    "add_case_in",
    "close",
    "close_in",
    "listed",
    "open_by_hand",
    "open_in",
    "read",
    "reopen_in",
    "since",
    "unproven",
]
