"""Settings of this installation, read from environment variables."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.durations import Duration, between
from lastgood.errors import InvalidInput

#: the variable of every setting
VARIABLES = {
    "database": "LASTGOOD_DATABASE",
    "environment": "LASTGOOD_ENVIRONMENT",
    "look_every": "LASTGOOD_LOOK_EVERY",
}
_ENVIRONMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Settings(BaseModel):
    """Where the store is, which environment is served, and how often the schedule looks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # The store itself says which URLs it takes. repr=False: a URL may carry a password.
    database: str = Field(
        default="sqlite:///lastgood.db",
        repr=False,
        title="Database",
        description="URL of the store, such as sqlite:///PATH.",
    )
    environment: str = Field(
        default="production", title="Environment", description="staging, production, ..."
    )
    #: microseconds
    look_every: Annotated[Duration, between("1 s", "1 h")] = Field(
        default="1 min",
        validate_default=True,
        title="Look every",
        description="Interval of the scheduled evaluation.",
    )

    @field_validator("environment")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if _ENVIRONMENT.fullmatch(name) is None:
            raise ValueError(
                "should be a name of lower-case letters, digits, '.', '_' and '-', such as staging"
            )
        return name

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
