"""Regression cases in the store: candidates until proven, and reviewed before they leave it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lastgood import cases, incidents
from lastgood.cases import Case
from lastgood.errors import Conflict, CorruptRow, InvalidMove, NotFound
from lastgood.ids import new_id
from lastgood.store import aftermath, casing
from lastgood.store.connection import Row, Store, Transaction


class State(StrEnum):
    """Whether a case is proven."""

    CANDIDATE = "candidate"  #: not proven; the gate does not run it
    ADMITTED = "admitted"  #: it failed on the bad bundle and passed on the good one


class Review(StrEnum):
    """What a person said of a case."""

    PENDING = "pending"  #: nobody has read it; it stays in the store
    ACCEPTED = "accepted"  #: it may be exported
    REJECTED = "rejected"  #: it is neither exported nor run


@dataclass(frozen=True, slots=True)
class Draft:
    """A case that is about to be stored."""

    agent: str
    environment: str
    case: Case
    #: ids of the bundles that it fails and passes on
    bad: str
    good: str
    signature: str
    run_id: str | None = None
    incident_id: str | None = None
    state: State = State.CANDIDATE
    #: why it is a candidate still
    reason: str = ""
    #: counts of pairs and log e-values
    proof: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A case as it stands in the store."""

    id: str
    draft: Draft
    digest: str
    review: Review
    reviewer: str
    review_note: str
    #: microseconds UTC
    created_us: int
    reviewed_us: int | None

    @property
    def case(self) -> Case:
        """The case itself."""
        return self.draft.case

    @property
    def runs(self) -> bool:
        """Whether the gate runs it."""
        return self.draft.state is State.ADMITTED and self.review is not Review.REJECTED


def put(store: Store, draft: Draft) -> Stored:
    """Store a case under its name; what stood there is replaced, and a changed one is reviewed anew.

    A proven one stands for its incident from then on; one that names none stays the case of the incident that
    it was made for. Both bundles have to be registered.
    """
    body = cases.to_json(draft.case)
    values = {
        "body": body, "digest": _digest(body), "state": draft.state, "reason": draft.reason,
        "proof": json.dumps(dict(draft.proof), sort_keys=True),
        "incident_id": draft.incident_id, "run_id": draft.run_id, "signature": draft.signature,
        "bad": draft.bad, "good": draft.good,
    }  # fmt: skip
    unread = {"review": Review.PENDING, "reviewer": "", "review_note": "", "reviewed_us": None}
    key = {"agent": draft.agent, "environment": draft.environment, "name": draft.case.name}
    with store.transaction(durable=True, at=(draft.agent, draft.environment)) as txn:
        found = txn.one(casing.CASE_BY_NAME, **key)
        if found is None:
            found_id = new_id("cas_", txn.now_us)
            row = {"id": found_id, **key, **values, **unread, "created_us": txn.now_us}
            txn.insert("regression_case", row)
        else:
            found_id = found["id"]
            same = found["digest"] == values["digest"]
            review = {name: found[name] for name in unread} if same else unread
            txn.run(casing.SET_CASE, id=found_id, **values, **review)
        _stand_for(txn, draft, found_id)
        return read(txn, found_id)


def _stand_for(txn: Transaction, draft: Draft, case_id: str) -> None:
    """Let a proven case stand for its incident, where the store has that."""
    incident = draft.incident_id
    known = incident is not None and txn.one(aftermath.INCIDENT, id=incident) is not None
    if draft.state is State.ADMITTED and incident is not None and known:
        incidents.add_case_in(txn, incident, case_id)


def read(txn: Transaction, reference: str) -> Stored:
    """Return a case by its id or name; raises `NotFound`, `CorruptRow`."""
    row = txn.one(casing.CASE, id=reference)
    if row is not None:
        return _stored(row)
    named = txn.all(casing.CASES_BY_NAME, name=reference)
    if len(named) > 1:
        raise NotFound(
            f"several agents have a case {reference!r}; give its id, as `lastgood cases list` shows it"
        )
    if not named:
        raise NotFound(f"no case {reference!r}; see `lastgood cases list`")
    return _stored(named[0])


def listed(
    txn: Transaction, *, agent: str = "", environment: str = "", incident_id: str = "", state: str = ""
) -> list[Stored]:
    """Return cases, oldest first; an empty text asks for any. Raises `CorruptRow`."""
    rows = txn.all(casing.CASES, agent=agent, environment=environment, incident_id=incident_id, state=state)
    return [_stored(row) for row in rows]


def review(store: Store, stored: Stored, verdict: Review, *, by: str, note: str = "") -> Stored:
    """Record what a person said of a case as it was shown.

    Raises `InvalidMove` for a candidate that is accepted, `Conflict` where the case changed meanwhile.
    """
    draft = stored.draft
    if verdict is Review.ACCEPTED and draft.state is State.CANDIDATE:
        raise InvalidMove(
            f"the case {draft.case.name} is not proven ({draft.reason}), so it would gate nothing; correct "
            f"it with `lastgood cases edit {draft.case.name} FILE`, or reject it"
        )
    with store.transaction(durable=True, at=(draft.agent, draft.environment)) as txn:
        changed = txn.run(
            casing.REVIEW_CASE, id=stored.id, digest=stored.digest, review=verdict, reviewer=by,
            review_note=note, now_us=txn.now_us,
        )  # fmt: skip
        if not changed:
            raise Conflict(f"the case {draft.case.name} was changed since you read it; show it again")
        return read(txn, stored.id)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _stored(row: Row) -> Stored:
    what = f"the stored case {row['name']}"
    if _digest(row["body"]) != row["digest"]:
        raise CorruptRow(
            f"{what} does not match its digest: it was changed behind lastgood's back; make it anew"
        )
    draft = Draft(
        agent=row["agent"], environment=row["environment"], case=cases.from_json(row["body"], what),
        bad=row["bad"], good=row["good"], signature=row["signature"], run_id=row["run_id"],
        incident_id=row["incident_id"], state=State(row["state"]), reason=row["reason"],
        proof=json.loads(row["proof"]),
    )  # fmt: skip
    return Stored(
        row["id"], draft, row["digest"], Review(row["review"]), row["reviewer"], row["review_note"],
        row["created_us"], row["reviewed_us"],
    )  # fmt: skip


__all__ = ["Draft", "Review", "State", "Stored", "listed", "put", "read", "review"]
