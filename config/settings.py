"""Settings of the pipeline, read from environment variables.

Where the store is and which environment is served is the agent side's own (`lastgood.agent`).
"""

import os
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.durations import Duration, between
from lastgood.errors import InvalidInput

#: the variable of every setting
VARIABLES = {
    "look_every": "LASTGOOD_LOOK_EVERY",
    "drive_for": "LASTGOOD_DRIVE_FOR",
    "lost_after": "LASTGOOD_RUN_LOST_AFTER",
    "sweep_every": "LASTGOOD_SWEEP_EVERY",
    "keep_looks": "LASTGOOD_KEEP_LOOK_RUNS",
    "keep_runs": "LASTGOOD_KEEP_PREFECT_RUNS",
}


class Settings(BaseModel):
    """How often the schedule looks, how long a flow drives, and how long Prefect's own runs are kept."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: microseconds, as all of these
    look_every: Annotated[Duration, between("1 s", "1 h")] = Field(
        default="1 min",
        validate_default=True,
        title="Look every",
        description="Interval of the scheduled evaluation.",
    )
    drive_for: Annotated[Duration, between("1 s", "365 d")] = Field(
        default="1 h",
        validate_default=True,
        title="Drive for",
        description="Time after which a release flow hands its release to the scheduled evaluation, so that "
        "a long release holds no process.",
    )
    lost_after: Annotated[Duration, between("10 s", "1 h")] = Field(
        default="90 s",
        validate_default=True,
        title="Run lost after",
        description="Silence after which Prefect's run of a flow is marked as crashed: three heartbeats.",
    )
    sweep_every: Annotated[Duration, between("10 s", "7 d")] = Field(
        default="1 h",
        validate_default=True,
        title="Sweep every",
        description="Interval at which old runs of Prefect are deleted.",
    )
    keep_looks: Annotated[Duration, between("1 s", "90 d")] = Field(
        default="6 h",
        validate_default=True,
        title="Keep runs of the scheduled evaluation",
        description="Prefect's runs of it that went well; there is one a minute.",
    )
    keep_runs: Annotated[Duration, between("1 s", "3650 d")] = Field(
        default="30 d",
        validate_default=True,
        title="Keep runs of Prefect",
        description="Every other run of ours in Prefect. Releases and the ledger stand in the store.",
    )

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Self:
        """Read the settings; a variable that is unset or empty means the default.

        `variables` stands in for `os.environ`. Raises InvalidInput, which names the variable.
        """
        given = os.environ if variables is None else variables
        try:
            return cls.model_validate({name: given[key] for name, key in VARIABLES.items() if given.get(key)})
        except ValidationError as error:
            detail = error.errors(include_url=False, include_input=False)[0]
            problem = detail.get("ctx", {}).get("error", detail["msg"])
            raise InvalidInput(f"{VARIABLES[str(detail['loc'][0])]} {problem}") from None


__all__ = ["VARIABLES", "Settings"]
