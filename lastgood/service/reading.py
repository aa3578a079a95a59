"""What the service tells: who serves, how releases stand, runs, bundles, the ledger."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from lastgood import audit, ledger, points, recorder
from lastgood.errors import NotFound
from lastgood.evaluation import content
from lastgood.moves import ControlPoint
from lastgood.roles import Act
from lastgood.service.desk import Caller, Desk, DeskOf, Visit, allowed
from lastgood.service.moving import Served
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction

router = APIRouter(prefix="/v1", tags=["reading"])
Reading = Annotated[Visit, Depends(allowed(Act.READ))]
Auditing = Annotated[Visit, Depends(allowed(Act.AUDIT))]
#: rows of one page of the ledger
MOST_ROWS = 1_000


class Release(BaseModel):
    """A release, live or ended."""

    id: str
    baseline: str
    candidate: str
    policy: str
    state: str
    step: int
    started_by: str
    started_us: int
    ended_us: int | None
    reason: str
    culprits: list[str]

    @classmethod
    def of(cls, row: Row) -> "Release":
        """Read it from its row."""
        return cls(
            id=row["id"],
            baseline=row["baseline"],
            candidate=row["candidate"],
            policy=row["policy_name"],
            state=row["state"],
            step=row["step"],
            started_by=row["started_by"],
            started_us=row["started_us"],
            ended_us=row["ended_us"],
            reason=row["reason"],
            culprits=json.loads(row["culprits"]),
        )


class Status(BaseModel):
    """Who serves an agent, since when and why."""

    served: Served
    lease_left_s: float = Field(description="0: lapsed, the baseline serves.")
    stopped: str | None = Field(description="Why external actions are denied, if they are.")
    release: Release | None
    refusals: dict[str, int] = Field(description="What was refused at the door, by reason.")


class Move(BaseModel):
    """A row of the ledger."""

    seq: int
    at_us: int
    actor: str
    action: str
    reason: str
    epoch: int
    release: str | None
    point: dict[str, Any]
    previous: str
    hash: str


class Chain(BaseModel):
    """A page of a ledger and the head of the whole, to be kept elsewhere: a cut tail is found against it."""

    rows: list[Move]
    last_seq: int
    head: str


@router.get("/agents", summary="Every agent of the token")
def agents(desk: DeskOf, principal: Caller) -> list[Served]:
    """List the control points in the token's scope."""
    with desk.store.reading() as txn:
        rows = txn.all(sql.POINTS)
    return [
        Served.of(points.from_row(row))
        for row in rows
        if principal.may(Act.READ, row["agent"], row["environment"])
    ]


@router.get("/agents/{agent}", summary="Who serves an agent")
def status(visit: Reading) -> Status:
    """Tell who serves, the live release, the lease, and what was refused."""
    key = {"agent": visit.agent, "environment": visit.environment}
    with visit.store.reading() as txn:
        point = points.read(txn, **key)
        row = txn.one(sql.RELEASE, id=point.release_id) if point.release_id else None
        stopped = txn.one(sql.STOP, **key)
        refused = txn.all(sql.REFUSALS, **key)
        left_us = _left_us(visit.desk, txn, point)
    return Status(
        served=Served.of(point),
        lease_left_s=max(0.0, left_us / 1e6),
        stopped=None if stopped is None else f"{stopped['actor']}: {stopped['reason']}",
        release=Release.of(row) if row else None,
        refusals={each["reason"]: each["n"] for each in refused},
    )


def _left_us(desk: Desk, txn: Transaction, point: ControlPoint) -> int:
    clock = desk.store.clock
    return point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=clock.boot_us())


@router.get("/agents/{agent}/releases", summary="The newest releases")
def releases(visit: Reading, most: Annotated[int, Query(ge=1, le=200)] = 20) -> list[Release]:
    """List releases, newest first."""
    with visit.store.reading() as txn:
        rows = txn.all(sql.RELEASES, agent=visit.agent, environment=visit.environment, most=most)
    return [Release.of(row) for row in rows]


@router.get("/agents/{agent}/runs/{run}", summary="Which bundle served a run")
def run(visit: Reading, run: str) -> dict[str, Any]:
    """Tell which exact bundle served a run, and how it ended."""
    with visit.store.reading() as txn:
        row = recorder.run_row(txn, run)
        outcome = txn.one(sql.OUTCOME, run_id=run)
    if (row["agent"], row["environment"]) != (visit.agent, visit.environment):
        raise NotFound(f"no run {run!r} of {visit.agent} in {visit.environment}")
    return {"run": dict(row), "outcome": None if outcome is None else dict(outcome)}


@router.get("/bundles/{bundle}", summary="The parts of a bundle")
def bundle(desk: DeskOf, principal: Caller, bundle: str) -> Response:
    """Return a bundle with the content of its parts; it never changes, so keep it."""
    record = desk.bundle(principal, bundle)
    text = content(record.bundle, record.name)
    forever = {"Cache-Control": "private, max-age=31536000, immutable", "ETag": f'"{record.bundle.id}"'}
    return Response(text, media_type="application/json", headers=forever)


@router.get("/agents/{agent}/ledger", summary="The record of every change of control")
def rows(
    visit: Auditing, after: Annotated[int, Query(ge=0)] = 0, most: Annotated[int, Query(ge=1, le=1_000)] = 200
) -> Chain:
    """Return rows after a place, with the verified head of the chain; a broken one answers 503, and where."""
    last, head = ledger.verify(visit.store, visit.agent, visit.environment)
    key = {"agent": visit.agent, "environment": visit.environment}
    with visit.store.reading() as txn:
        found = txn.all(sql.LEDGER_PAGE, **key, after=after, most=most)
    return Chain(rows=[_move(row) for row in found], last_seq=last, head=head)


@router.get("/agents/{agent}/audit", summary="The whole ledger, to be kept", response_class=Response)
def exported(visit: Auditing) -> Response:
    """Return what `lastgood audit export` does: JSON lines, each row with what it rests on, and the head."""
    lines = audit.export(visit.store, visit.agent, visit.environment)
    text = "".join(f"{line}\n" for line in lines)
    return Response(text, media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


def _move(row: Row) -> Move:
    fields = ("seq", "at_us", "actor", "action", "reason", "epoch", "previous", "hash")
    return Move(
        release=row["release_id"], point=json.loads(row["point"]), **{name: row[name] for name in fields}
    )
