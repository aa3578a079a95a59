"""The approvals that a policy wants of people."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config.durations import Duration, between
from config.sections import Section
from evaluators.rules import Gate


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ApprovalSpec(Section):
    """What a person approves first, who may, and until when."""

    before: Annotated[
        tuple[Annotated[Gate, Field(strict=False)], ...],
        BeforeValidator(_listed),
        Field(strict=False, max_length=3),
    ] = Field(
        default=(),
        title="Before",
        description="start (the first share), step (each further one), promote; empty: the evidence decides, "
        "and a person only where `on_undecided: ask` asks one.",
    )
    level: Literal["claimed", "verified"] = Field(
        default="claimed",
        title="Level",
        description="claimed: the name that is given counts; verified: it takes a one-time code too "
        "(`lastgood approve-code`).",
    )
    not_author: bool = Field(
        default=False,
        title="Not the author",
        description="Neither who wrote the candidate nor who started its release may approve it.",
    )
    expires: Annotated[Duration, between("1 min", "30 d")] = Field(
        default="24 h",
        validate_default=True,
        title="Expires",
        description="Time to decide; after it the release is reverted.",
    )


__all__ = ["ApprovalSpec"]
