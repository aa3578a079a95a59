"""Batches: runs entered, and effects reserved and settled, many in one request, as JSON lines.

Each line is worked on as its single request would be, in order and in a transaction of its own, and answered
by its place; one that can't be used does not hold up the others.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, ValidationError

from lastgood.errors import InvalidInput, LastgoodError, StoreError
from lastgood.roles import Act
from lastgood.service import intake, problems
from lastgood.service.bodies import Sent
from lastgood.service.desk import Visit, allowed
from lastgood.service.intake import ReserveBody, RunBody, SettleBody
from lastgood.service.problems import TooMuch, TooOften

router = APIRouter(prefix="/v1/agents/{agent}", tags=["intake"])
Recording = Annotated[Visit, Depends(allowed(Act.RECORD))]
#: lines of a batch: each is a commit of its own
MOST_LINES = 500


class Line(BaseModel):
    """What became of a line: its single request's answer, or its error."""

    line: int = Field(description="From 1.")
    status: int = Field(description="What the single request would have been answered with.")
    answer: Any = Field(description="Its body; null where it has none.")


class Lines(BaseModel):
    """What became of each line, in order; a 200 or 204 has been committed."""

    lines: list[Line]


class SettleLine(SettleBody):
    """A settlement with the action that it is about."""

    action: Annotated[str, Field(min_length=1, max_length=500)]


@router.post("/runs/batch", summary="Enter many runs, as JSON lines")
def enter(visit: Recording, sent: Sent) -> Lines:
    """Commit the assignment of each run: a line is what `runs` takes. 500 lines at most."""
    return _each(visit, sent, lambda line: intake.enter(visit, RunBody.model_validate_json(line)))


@router.post("/actions/batch", summary="Reserve and settle many effects, as JSON lines")
def act(visit: Recording, sent: Sent) -> Lines:
    """Pass the gate, or settle, line by line: what `actions` takes, or `actions/{action}` with `action`.

    A line that is refused says so by itself: its effect must not happen. 500 lines at most.
    """
    return _each(visit, sent, lambda line: _acted(visit, line))


def _acted(visit: Visit, line: bytes) -> BaseModel | None:
    if b'"state"' in line and (found := _settlement(line)) is not None:
        body = SettleBody(**found.model_dump(exclude={"action"}))
        intake.settle(visit, found.action, body)
        return None
    return intake.reserve(visit, ReserveBody.model_validate_json(line))


def _settlement(line: bytes) -> SettleLine | None:
    """A line as a settlement; None where it is a reservation, whose undo may hold any word."""
    try:
        return SettleLine.model_validate_json(line)
    except ValidationError as error:
        if any(each["loc"] == ("action",) and each["type"] == "missing" for each in error.errors()):
            return None
        raise


def _each(visit: Visit, sent: bytes, work: Callable[[bytes], BaseModel | None]) -> Lines:
    pieces = [(number, piece) for number, piece in enumerate(sent.split(b"\n"), start=1) if piece.strip()]
    if len(pieces) > MOST_LINES:
        raise TooMuch(f"a batch of {len(pieces):,} lines; send at most {MOST_LINES:,} at once")
    if not pieces:
        raise InvalidInput("the batch is empty: send one JSON object a line")
    return Lines(lines=[_line(visit, number, piece, work) for number, piece in pieces])


def _line(visit: Visit, number: int, piece: bytes, work: Callable[[bytes], BaseModel | None]) -> Line:
    try:
        if number > 1 and (wait_s := visit.desk.pace.take(visit.principal.token_id)):
            raise TooOften(f"{visit.principal.name} sends too much: again in {wait_s:.1f} s")
        answer = work(piece)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return Line(line=number, status=400, answer={"error": "InvalidInput", "message": told[:2_000]})
    except StoreError:
        if number == 1:
            raise  # nothing was written
        said = {"error": "StoreUnavailable", "message": "the store can't be used now; send it again"}
        return Line(line=number, status=503, answer=said)
    except LastgoodError as error:
        return Line(line=number, status=problems.status_of(error), answer=problems.body_of(error))
    if answer is None:
        return Line(line=number, status=204, answer=None)
    return Line(line=number, status=200, answer=answer.model_dump())


__all__ = ["MOST_LINES", "router"]
