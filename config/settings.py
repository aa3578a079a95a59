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
VARIABLES = {"look_every": "LASTGOOD_LOOK_EVERY"}


class Settings(BaseModel):
    """How often the schedule looks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: microseconds
    look_every: Annotated[Duration, between("1 s", "1 h")] = Field(
        default="1 min",
        validate_default=True,
        title="Look every",
        description="Interval of the scheduled evaluation.",
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
