"""Moves of a control point over HTTP: rollback, kill, stop and what ends them, each one transaction."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from lastgood import control, registry, vouching
from lastgood.errors import InvalidInput
from lastgood.moves import ControlPoint
from lastgood.roles import Act
from lastgood.service.bodies import Body, Reason, Said
from lastgood.service.desk import Visit, allowed
from lastgood.vouching import Vouched

router = APIRouter(prefix="/v1/agents/{agent}", tags=["control"])
Reverting = Annotated[Visit, Depends(allowed(Act.REVERT))]
Resuming = Annotated[Visit, Depends(allowed(Act.RESUME))]
Promoting = Annotated[Visit, Depends(allowed(Act.PROMOTE))]


class Why(Body):
    """A reason for the ledger."""

    reason: Reason = ""


class Needed(Body):
    """A reason that has to be given."""

    reason: Said


class To(Body):
    """Where to go back to."""

    reason: Reason = ""
    to: str | None = Field(
        None, max_length=100, description="A bundle that served as good; default: the newest."
    )
    vouch: bool = Field(
        False,
        description="You answer for a bundle that never served here as good: takes `to`, a reason, and a "
        "token that may promote.",
    )


class Promoted(Needed):
    """What somebody answers for."""

    candidate: Annotated[str, Field(min_length=8, max_length=100, pattern="^(b-)?[0-9a-fA-F]+$")] = Field(
        description="The live candidate's id as it was seen, 8 letters at least: another one is not promoted."
    )
    code: Annotated[str, Field(max_length=40)] = Field(
        "", description="A one-time code of `lastgood approve-code`, where the policy wants one."
    )


class Readmitted(Needed):
    """A bundle that was reviewed."""

    bundle: Annotated[str, Field(min_length=1, max_length=100)]


class Served(BaseModel):
    """Who serves now."""

    agent: str
    environment: str
    baseline: str
    standing: str
    candidate: str | None
    release: str | None
    share_bp: int
    epoch: int
    killed: bool

    @classmethod
    def of(cls, point: ControlPoint) -> "Served":
        """Read it from a control point."""
        return cls(
            agent=point.agent,
            environment=point.environment,
            baseline=point.baseline,
            standing=point.standing,
            candidate=point.candidate,
            release=point.release_id,
            share_bp=point.share_bp,
            epoch=point.epoch,
            killed=point.killed,
        )


def _who(visit: Visit, reason: str, default: str) -> dict[str, str]:
    return {"actor": visit.actor, "reason": reason or default}


@router.post("/rollback", summary="Put the last known good back")
def rollback(visit: Reverting, body: To) -> Served:
    """Revert the live release, else go back to the newest other last known good."""
    target = None
    if body.vouch:
        visit.desk.door.admit(visit.principal, Act.PROMOTE, visit.agent, visit.environment)
        if not (body.to and body.reason):
            raise InvalidInput("vouch goes with to and a reason: it is recorded who answers for which bundle")
    if body.to:
        with visit.store.reading() as txn:
            target = registry.resolve(txn, body.to)
    point = control.rollback(
        visit.store,
        visit.agent,
        visit.environment,
        actor=visit.actor,
        reason=body.reason or "rolled back over HTTP",
        to=target,
        vouched=body.vouch,
    )
    return Served.of(point)


@router.post("/promote", summary="Promote the live candidate as vouched for")
def promote(visit: Promoting, body: Promoted) -> Served:
    """Make the live candidate the last known good by a person's word; it stands as vouched, never as proven.

    409 where the policy wants an approval first, a one-time code, or somebody else; evidence promotes by
    itself.
    """
    vouched = Vouched(visit.principal.name, body.reason, body.candidate, body.code, by=visit.actor)
    return Served.of(vouching.promote(visit.store, visit.agent, visit.environment, vouched))


@router.post("/kill", summary="Start no candidate run any more")
def kill(visit: Reverting, body: Why) -> Served:
    """Turn the kill switch on."""
    who = _who(visit, body.reason, "killed over HTTP")
    return Served.of(control.kill(visit.store, visit.agent, visit.environment, **who))


@router.post("/clear", summary="End a kill")
def clear(visit: Resuming, body: Why) -> Served:
    """Turn the kill switch off."""
    who = _who(visit, body.reason, "cleared over HTTP")
    return Served.of(control.clear(visit.store, visit.agent, visit.environment, **who))


@router.post("/stop", summary="Deny every external action", status_code=204)
def stop(visit: Reverting, body: Why) -> None:
    """Deny the external actions of both arms."""
    control.stop(visit.store, visit.agent, visit.environment, **_who(visit, body.reason, "stopped over HTTP"))


@router.post("/allow", summary="Allow external actions again", status_code=204)
def allow(visit: Resuming, body: Why) -> None:
    """End a stop."""
    control.unstop(
        visit.store, visit.agent, visit.environment, **_who(visit, body.reason, "allowed over HTTP")
    )


@router.post("/readmit", summary="Lift a bundle's quarantine", status_code=204)
def readmit(visit: Promoting, body: Readmitted) -> None:
    """Let a quarantined bundle be a candidate again; the reason says what was reviewed."""
    with visit.store.reading() as txn:
        bundle_id = registry.resolve(txn, body.bundle)
    control.readmit(
        visit.store, visit.agent, visit.environment, bundle_id, actor=visit.actor, reason=body.reason
    )
