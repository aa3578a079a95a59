"""Starting a release over HTTP: the pipeline's preflight decides, where the service runs in a checkout."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from lastgood import pipeline
from lastgood.roles import EVERY, Act
from lastgood.service.bodies import Body, Cleaned, Reason
from lastgood.service.desk import Caller, DeskOf, Visit, allowed
from lastgood.service.problems import NotHere

router = APIRouter(prefix="/v1", tags=["releases"])
Starting = Annotated[Visit, Depends(allowed(Act.START))]
#: what the pipeline's folders give to the service
GROUP = "lastgood.service"


class StartBody(Body):
    """What to release."""

    candidate: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="A bundle: its name, b-..., or the beginning of its id."
    )
    policy: Annotated[str, Field(min_length=1, max_length=100)] = "default"
    note: Reason = ""


class Started(BaseModel):
    """The release that was recorded; the scheduled evaluation drives it."""

    release: str


@router.post("/agents/{agent}/releases", summary="Start a release", status_code=201)
def start(visit: Starting, body: StartBody) -> Started:
    """Check everything that can refuse a release, then record it; nothing is served differently yet."""
    begin = _pipeline("start")
    release = begin(
        visit.store,
        agent=visit.agent,
        environment=visit.environment,
        candidate=body.candidate,
        policy=body.policy,
        actor=visit.actor,
        note=body.note,
    )
    return Started(release=release)


class WaiverBody(Body):
    """A known trade: one guardrail may get worse in one slice. Who accepts it is the name of the token."""

    guardrail: Annotated[str, Field(min_length=1, max_length=64)]
    slice: Annotated[str, Field(min_length=1, max_length=64)]
    reason: Annotated[str, Field(min_length=1, max_length=500), Cleaned]


class Waived(BaseModel):
    """The version of the policy that has it; live releases keep theirs."""

    policy: str
    digest: str


@router.post("/policies/{policy}/waivers", summary="Accept a known trade beforehand", status_code=201)
def waive(desk: DeskOf, principal: Caller, policy: str, body: WaiverBody) -> Waived:
    """Store a version of a policy in which a guardrail may get worse in one slice.

    A policy is every agent's, so it takes a token that may approve and reaches all of them.
    """
    desk.door.admit(principal, Act.APPROVE, EVERY, EVERY)
    name, digest = _pipeline("waive")(
        desk.store,
        policy=policy,
        guardrail=body.guardrail,
        stratum=body.slice,
        reason=body.reason,
        approver=principal.name,
        actor=principal.actor,
    )
    return Waived(policy=name, digest=digest)


def _pipeline(name: str) -> Any:
    point = pipeline.given(GROUP).get(name)
    try:
        if point is None or not pipeline.is_here(point):
            raise ModuleNotFoundError(name)
        return point.load()
    except ModuleNotFoundError as error:
        msg = "releases are started where the pipeline is: run `lastgood serve` in a checkout of lastgood"
        raise NotHere(msg) from error


def warm() -> None:
    """Load the pipeline, where there is one, before the first release asks for it: that takes seconds."""
    with suppress(NotHere):
        _pipeline("start")
