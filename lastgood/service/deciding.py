"""What waits for a person, over HTTP: the open question about a release, and incidents."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from lastgood import approving, incidents
from lastgood.approving import Answer
from lastgood.errors import InvalidInput, NotFound
from lastgood.incidents import Incident
from lastgood.roles import Act
from lastgood.service.bodies import Body, Cleaned, Reason
from lastgood.service.desk import Visit, allowed
from lastgood.store.connection import Row

router = APIRouter(prefix="/v1/agents/{agent}", tags=["deciding"])
Reading = Annotated[Visit, Depends(allowed(Act.READ))]
Approving = Annotated[Visit, Depends(allowed(Act.APPROVE))]
Resuming = Annotated[Visit, Depends(allowed(Act.RESUME))]
#: letters of the evidence's digest that a yes has to name at least
LEAST = 12


class Asked(BaseModel):
    """What a person is asked."""

    release: str
    what: str = Field(description="`start`, `step`, `promote` or `undecided`.")
    candidate: str
    evidence: str = Field(description="Digest of what there was to see; a yes names it.")
    look: int
    level: str = Field(description="`verified`: a yes needs a one-time code too.")
    not_author: bool = Field(description="Whether who wrote or started it may not say yes.")
    expires_us: int

    @classmethod
    def of(cls, row: Row) -> "Asked":
        """Read it from its row."""
        return cls(
            release=row["release_id"],
            what=row["what"],
            candidate=row["candidate"],
            evidence=row["evidence"],
            look=row["look"],
            level=row["level"],
            not_author=bool(row["not_author"]),
            expires_us=row["expires_us"],
        )


class Decision(Body):
    """One answer. Who gives it is the name of the token."""

    decision: Literal["promote", "revert", "wait"]
    reason: Annotated[str, Field(min_length=1, max_length=2_000), Cleaned]
    evidence: Annotated[str, Field(max_length=64, pattern="^[0-9a-fA-F]*$")] = Field(
        "", description=f"The digest that was seen, {LEAST} letters of it at least; a yes needs it."
    )
    code: Annotated[str, Field(max_length=40)] = Field(
        "", description="A one-time code of `lastgood approve-code`, where the policy wants one."
    )


@router.get("/approval", summary="What a person is asked")
def asked(visit: Reading) -> Asked:
    """Tell what a person is asked about the live release; 404 where nobody is asked."""
    with visit.store.reading() as txn:
        row = approving.open_question(txn, visit.agent, visit.environment)
    if row is None:
        raise NotFound(f"nobody is asked about {visit.agent} in {visit.environment} now")
    return Asked.of(row)


@router.post("/approval", summary="Decide what a release waits for")
def decide(visit: Approving, body: Decision) -> Asked:
    """Record one answer; return the question as it was asked.

    A no reverts in this request, a yes is carried out by the next look.
    """
    if body.decision == "promote" and len(body.evidence) < LEAST:
        raise InvalidInput(
            f"a yes is about evidence that was seen: give {LEAST} letters of its digest at least "
            f"(GET /v1/agents/{visit.agent}/approval)"
        )
    answer = Answer(
        body.decision, visit.principal.name, body.reason, body.evidence, body.code, by=visit.actor
    )
    return Asked.of(approving.decide(visit.store, visit.agent, visit.environment, answer))


class IncidentBody(BaseModel):
    """An incident as it stands."""

    id: str
    open: bool
    by: str
    reason: str
    culprits: list[str]
    release: str | None
    bad: str
    good: str | None
    from_us: int
    to_us: int
    opened_by: str
    opened_us: int
    recovery: str
    watch: str
    cases: list[str]
    close_reason: str | None

    @classmethod
    def of(cls, found: Incident) -> "IncidentBody":
        """Read it from an incident."""
        same = ("id", "open", "by", "reason", "bad", "good", "from_us", "to_us", "opened_by", "opened_us")
        return cls(
            **{name: getattr(found, name) for name in same},
            culprits=list(found.culprits),
            release=found.release_id,
            recovery=str(found.recovery),
            watch=found.watch,
            cases=list(found.cases),
            close_reason=found.close_reason,
        )


class Closing(Body):
    """Why an incident is closed; empty where a regression case stands for it."""

    reason: Reason = ""


@router.get("/incidents", summary="The newest incidents")
def listed(visit: Reading, *, only_open: Annotated[bool, Query()] = False) -> list[IncidentBody]:
    """List incidents, newest first."""
    with visit.store.reading() as txn:
        found = incidents.listed(txn, visit.agent, visit.environment)
    return [IncidentBody.of(each) for each in found if each.open or not only_open]


@router.post("/incidents/{incident}/close", summary="Close an incident")
def close(visit: Resuming, incident: str, body: Closing) -> IncidentBody:
    """Close an incident: a regression case stands for it, or the reason says why none can."""
    with visit.store.reading() as txn:
        found = incidents.read(txn, incident)
    if (found.agent, found.environment) != (visit.agent, visit.environment):
        raise NotFound(f"no incident {incident!r} of {visit.agent} in {visit.environment}")
    closed = incidents.close(visit.store, incident, actor=visit.actor, reason=body.reason)
    return IncidentBody.of(closed)
