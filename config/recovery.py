"""The section of a policy on recovery: what undoing the actions of a bad window may do."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.durations import Duration, between
from config.metrics import Misplaced
from config.sections import Section, Word


class RecoverySpec(Section):
    """What undoing the actions of a bad window may do, and how fast."""

    after: Annotated[
        tuple[Literal["evidence", "trigger", "hand", "lapse", "undecided", "baseline"], ...],
        Field(strict=False),
    ] = Field(
        default=("evidence", "trigger", "hand"),
        title="After",
        description="Reverts after which recovery starts by itself; after the others a person starts it.",
    )
    approve: Annotated[tuple[Word, ...], Field(strict=False, max_length=50)] = Field(
        default=(),
        title="Approve",
        description="Kinds of actions that are undone only once a person has said so.",
    )
    memory: Annotated[tuple[Word, ...], Field(strict=False, max_length=50)] = Field(
        default=("memory", "memory_write"),
        title="Memory",
        description="Kinds of actions that write memory: their targets are the keys that are quarantined.",
    )
    rate_per_minute: int = Field(
        default=600, ge=1, le=1_000_000, title="Rate per minute", description="Compensations begun a minute."
    )
    attempts: int = Field(
        default=5,
        ge=1,
        le=1_000,
        title="Attempts",
        description="Calls of one compensation before it is listed.",
    )
    backoff: Annotated[Duration, between("0 s", "1 h")] = Field(
        default="1 s",
        validate_default=True,
        title="Backoff",
        description="Pause before the second call; doubled with each further one.",
    )
    backoff_most: Annotated[Duration, between("0 s", "1 d")] = Field(
        default="5 min", validate_default=True, title="Longest backoff", description="No pause is longer."
    )
    timeout: Annotated[Duration, between("0.1 s", "10 min")] = Field(
        default="30 s",
        validate_default=True,
        title="Timeout",
        description="Time after which a call counts as failed, and is made again with the same key.",
    )
    in_doubt_after: Annotated[Duration, between("1 s", "1 d")] = Field(
        default="10 min",
        validate_default=True,
        title="In doubt after",
        description="Time after which an action that never settled is taken for one that may have happened.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.backoff_most < self.backoff:
            raise Misplaced("is shorter than backoff", "backoff_most")
        return self


__all__ = ["RecoverySpec"]
