"""Runs by their id alone, for agents elsewhere: whose one is, suspending and going on, what is held back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from lastgood import isolation, recorder, suspending
from lastgood.outcome import MOST_PARTS, Outcome
from lastgood.records import Ref
from lastgood.roles import ALLOWED, Act
from lastgood.service import intake
from lastgood.service.bodies import Body, Text
from lastgood.service.desk import Caller, DeskOf, Visit, visited
from lastgood.store import aftermath
from lastgood.store.connection import Row
from lastgood.suspending import Held, reopened

router = APIRouter(prefix="/v1", tags=["intake"])


class Whose(BaseModel):
    """Where a run belongs."""

    agent: str
    environment: str


class ContentBody(Body):
    """What a run had when it was suspended."""

    fields: dict[str, Any] = Field(
        default_factory=dict, description="Outcomes and metrics so far, as in `outcomes`."
    )
    usage: Annotated[list[dict[str, Any]], Field(max_length=10_000)] = Field(default_factory=list)
    parts_read: Annotated[int, Field(ge=0, le=MOST_PARTS)] | None = None
    worked_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    input: Any = None
    output: Any = None

    @property
    def held(self) -> Held:
        """The same as the store keeps it; raises `InvalidInput`."""
        outcome = Outcome(usage=self.usage, parts_read=self.parts_read)
        outcome.take(self.fields)
        return Held(outcome, self.worked_s, _content(self.input), _content(self.output))

    @classmethod
    def of(cls, held: Held) -> "ContentBody":
        """Read it from what the store kept."""
        outcome, given, made = held.outcome, _said(held.input), _said(held.output)
        return cls(
            fields=outcome.said,
            usage=outcome.usage,
            parts_read=outcome.parts_read,
            worked_s=held.worked_s,
            input=given,
            output=made,
        )


class SuspendBody(ContentBody):
    """The same, with the run's token."""

    token: Text


class ResumeBody(Body):
    """What shows that a run is yours."""

    token: Text


class Resumed(BaseModel):
    """The run as it was assigned, and what it had."""

    agent: str
    environment: str
    bundle: str = Field(description="Full id; `GET /v1/bundles/{bundle}/parts` has the parts.")
    arm: str
    epoch: int
    eligible: bool
    why: str
    release: str | None
    share_bp: int
    risk: str
    assigned_us: int
    held: ContentBody | None = Field(description="Null where it was never suspended.")

    @classmethod
    def of(cls, row: Row, held: Held | None) -> "Resumed":
        """Read it from a run's row."""
        same = ("agent", "environment", "arm", "epoch", "share_bp", "risk", "assigned_us")
        return cls(
            **{name: row[name] for name in same},
            bundle=row["bundle_id"],
            eligible=bool(row["eligible"]),
            why=row["reason"],
            release=row["release_id"],
            held=None if held is None else ContentBody.of(held),
        )


class Quarantined(BaseModel):
    """Whether something is held back."""

    quarantined: bool


def _content(value: Any) -> Any:
    return Ref(value["ref"]) if isinstance(value, dict) and set(value) == {"ref"} else value


def _said(value: Any) -> Any:
    return {"ref": value.where} if isinstance(value, Ref) else value


def _of_run(desk: DeskOf, principal: Caller, run: str) -> Visit:
    if Act.RECORD not in ALLOWED[principal.role]:  # before the run is looked up: its place is not theirs
        desk.door.admit(principal, Act.RECORD, "", "")
    with desk.store.reading() as txn:
        row = recorder.run_row(txn, run)
    return visited(desk, principal, Act.RECORD, row["agent"], row["environment"])


OfRun = Annotated[Visit, Depends(_of_run)]


@router.get("/runs/{run}", summary="Whose a run is")
def whose(visit: OfRun) -> Whose:
    """Tell to which agent and environment a run belongs, so that what comes later finds its way."""
    return Whose(agent=visit.agent, environment=visit.environment)


@router.post("/runs/{run}/suspend", summary="Leave a run open for another process", status_code=204)
def suspend(visit: OfRun, run: str, body: SuspendBody) -> None:
    """Keep what a run reported so far; `resume` gives it to whoever goes on with the run."""
    intake.check_own(visit, run, body.token)
    with visit.store.reading() as txn:
        reopened(txn, visit.store, run, body.token)
    suspending.suspend(visit.store, run, body.held)


@router.post("/runs/{run}/resume", summary="Go on with a run that was left open")
def resume(visit: OfRun, run: str, body: ResumeBody) -> Resumed:
    """Return a run's assignment and what it had; 409 says that it has ended."""
    intake.check_own(visit, run, body.token)  # a wrong token is counted
    with visit.store.reading() as txn:
        row, held = reopened(txn, visit.store, run, body.token)
    return Resumed.of(row, held)


@router.get("/quarantined", summary="Whether an output or a memory entry is held back")
def quarantined(
    desk: DeskOf,
    principal: Caller,
    key: Annotated[str, Query(min_length=1, max_length=2_000)],
    agent: Annotated[str | None, Query(min_length=1, max_length=100)] = None,
    environment: str | None = None,
) -> Quarantined:
    """Tell it of a run's id or a memory entry's key: of one agent, or of all that the token reaches."""
    if agent is not None:
        place = environment or desk.environment
        visited(desk, principal, Act.EVALUATE, agent, place)
        with desk.store.reading() as txn:
            return Quarantined(quarantined=isolation.is_quarantined(txn, key, (agent, place)))
    if Act.EVALUATE not in ALLOWED[principal.role]:
        desk.door.admit(principal, Act.EVALUATE, "", "")
    with desk.store.reading() as txn:
        rows = txn.all(aftermath.ITEMS_OF_KEY, key=key)
    mine = (row for row in rows if principal.may(Act.EVALUATE, row["agent"], row["environment"]))
    return Quarantined(quarantined=any(row["state"] != isolation.Held.CLEARED for row in mine))
