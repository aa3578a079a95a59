"""The preflight of a policy: what must be true before a release starts, regression cases among it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from config.durations import Duration, between
from config.sections import Section

REQUIRED = "required"


def _short(raw: Any) -> Any:
    """`cases: required`, or `cases: FOLDER`, for the map with that alone."""
    if not isinstance(raw, str):
        return raw
    return {"required": True} if raw == REQUIRED else {"folder": raw}


class CasesSpec(Section):
    """Which regression cases a candidate has to pass, and what their replay may use."""

    folder: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="",
        title="Folder",
        description="Case files that are run beside the proven cases of the store.",
    )
    required: bool = Field(
        default=False, title="Required", description="Refuse a candidate where there is no case at all."
    )
    live: Annotated[tuple[str, ...], Field(strict=False, max_length=20)] = Field(
        default=(), title="Live", description="Hosts that replays call for real, such as a model vendor's."
    )
    usd: Annotated[float, Field(ge=0, le=10_000)] = Field(
        default=1.0, title="Spend", description="US dollars that real model calls of one suite may cost."
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, title="Workers", description="Processes that replay at the same time (pytest-xdist)."
    )
    spread: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        title="Spread",
        description="Flow runs over which Prefect's workers share the suite of a release that Prefect runs.",
    )
    timeout: Annotated[Duration, between("1 s", "1 h")] = Field(
        default="60 s", validate_default=True, title="Timeout", description="Time of one replay."
    )
    time: Annotated[Duration, between("10 s", "24 h")] = Field(
        default="30 min", validate_default=True, title="Time", description="Time of the whole suite."
    )


class PreflightSpec(Section):
    """What must be true before a release starts."""

    recent: Annotated[Duration, between("1 s", "90 d")] = Field(
        default="24 h", validate_default=True, title="Recent", description="How far back runs are looked at."
    )
    min_eligible_runs: int = Field(
        default=1,
        ge=0,
        le=1_000_000,
        title="Least eligible runs",
        description="Of these, runs that would be eligible.",
    )
    cases: Annotated[CasesSpec, BeforeValidator(_short)] = Field(
        default=CasesSpec(),
        title="Cases",
        description="Regression cases that the candidate has to pass; `required`, or a folder, for short.",
    )
    open_incidents: Literal["refuse", "allow"] = Field(
        default="refuse",
        title="Open incidents",
        description="Whether an agent with an open incident without a regression case may be released.",
    )


__all__ = ["CasesSpec", "PreflightSpec"]
