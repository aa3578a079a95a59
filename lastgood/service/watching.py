"""The service's own health and figures, for whoever runs it."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from lastgood.errors import Forbidden
from lastgood.roles import ALLOWED, Act
from lastgood.service.desk import Caller, DeskOf

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Whether the service can do its work."""

    status: str


def _may_read(principal: Caller) -> None:
    if Act.READ not in ALLOWED[principal.role]:
        raise Forbidden(f"{principal.name} is {principal.role}: figures take a token that may read")


@router.get("/health", summary="Whether the store answers")
def health(desk: DeskOf) -> Health:
    """Answer 200 while the store can be used, 503 while it can't; needs no token and tells nothing else."""
    desk.store.check_schema()
    return Health(status="ok")


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def metrics(desk: DeskOf, _reads: Annotated[None, Depends(_may_read)]) -> Response:
    """Return the service's figures in Prometheus' text format."""
    return Response(generate_latest(desk.figures.registry), media_type=CONTENT_TYPE_LATEST)
