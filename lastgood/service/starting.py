"""Starting a release over HTTP: the pipeline's preflight decides, where the service runs in a checkout."""

from contextlib import suppress
from importlib.metadata import entry_points
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from lastgood.roles import Act
from lastgood.service.desk import Visit, allowed
from lastgood.service.problems import NotHere

router = APIRouter(prefix="/v1/agents/{agent}", tags=["releases"])
Starting = Annotated[Visit, Depends(allowed(Act.START))]
#: what the pipeline's folders give to the service
GROUP = "lastgood.service"


class StartBody(BaseModel):
    """What to release."""

    model_config = ConfigDict(extra="forbid", strict=True)
    candidate: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="A bundle: its name, b-..., or the beginning of its id."
    )
    policy: Annotated[str, Field(min_length=1, max_length=100)] = "default"
    note: Annotated[str, Field(max_length=1_000)] = ""


class Started(BaseModel):
    """The release that was recorded; the scheduled evaluation drives it."""

    release: str


@router.post("/releases", summary="Start a release", status_code=201)
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


def _pipeline(name: str) -> Any:
    found = entry_points(group=GROUP, name=name)
    try:
        return next(iter(found)).load()
    except (StopIteration, ModuleNotFoundError) as error:
        msg = "releases are started where the pipeline is: run `lastgood serve` in a checkout of lastgood"
        raise NotHere(msg) from error


def warm() -> None:
    """Load the pipeline, where there is one, before the first release asks for it: that takes seconds."""
    with suppress(NotHere):
        _pipeline("start")
