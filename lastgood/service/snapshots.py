"""Snapshots for agents elsewhere: a control point, and the parts of a bundle as they hash to its id."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from lastgood import points
from lastgood.roles import Act
from lastgood.service.desk import Caller, DeskOf, Visit, allowed

router = APIRouter(prefix="/v1", tags=["snapshots"])
Evaluating = Annotated[Visit, Depends(allowed(Act.EVALUATE))]


class Snapshot(BaseModel):
    """Who serves an agent, for a router in another process."""

    baseline: str
    standing: str
    candidate: str | None
    release: str | None
    share_bp: int
    epoch: int
    killed: bool
    terms: dict[str, Any] = Field(description="What agents need of the policy.")
    lease_left_us: int = Field(description="Microseconds from the answer; then the baseline serves.")


class PartBody(BaseModel):
    """A part with what hashes to its digest."""

    kind: str
    version: str
    digest: str
    body: str = Field(description="Canonical JSON.")


@router.get("/agents/{agent}/snapshot", summary="What a router elsewhere routes by")
def snapshot(visit: Evaluating) -> Snapshot:
    """Return the control point as it is now."""
    clock = visit.store.clock
    with visit.store.reading() as txn:
        point = points.read(txn, visit.agent, visit.environment)
        left_us = point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=clock.boot_us())
    return Snapshot(
        baseline=point.baseline,
        standing=point.standing,
        candidate=point.candidate,
        release=point.release_id,
        share_bp=point.share_bp,
        epoch=point.epoch,
        killed=point.killed,
        terms=json.loads(point.terms.to_json()),
        lease_left_us=max(0, left_us),
    )


@router.get("/bundles/{bundle}/parts", summary="The parts of a bundle, to be checked against its id")
def parts(desk: DeskOf, principal: Caller, bundle: str) -> list[PartBody]:
    """Return each part byte for byte; they never change."""
    return [
        PartBody(kind=part.kind, version=part.version, digest=part.digest, body=part.body.decode())
        for part in desk.bundle(principal, bundle).bundle.parts
    ]
