"""An agent's profile: strict models over YAML, stored as canonical JSON.

`Profile.load` reads what people write; `to_json` writes what `lastgood.profile` reads back.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from config.complaints import complain
from config.document import What, read_yaml
from config.metrics import Misplaced
from config.routes import Name, RouteSpec
from config.sections import Section, Word
from config.signals import Call, SignalSpec
from lastgood.errors import InvalidProfile
from lastgood.profile import digest_of

PROFILE = What("profile", "a profile", "agent: support", InvalidProfile)


class UndoSpec(Section):
    """What undoes one kind of action, and what it does where nobody knows whether that took effect."""

    call: Call = Field(title="Call", description="What is called with the action and an idempotency key.")
    in_doubt: Literal["undo", "list"] = Field(
        default="list",
        title="In doubt",
        description="undo: it does nothing where the action never took effect, so it is called in doubt too; "
        "list: such an action is listed for a person.",
    )


class Profile(Section):
    """What a team says once about an agent."""

    agent: Name = Field(title="Agent", description="The agent's name.")
    owner: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="", title="Owner", description="Who answers for the agent: a person or a team."
    )
    routes: Annotated[tuple[RouteSpec, ...], Field(strict=False, max_length=20)] = Field(
        default=(), title="Routes", description="Where people are told."
    )
    replay: Call | None = Field(
        default=None, title="Replay", description="What replays a run of the agent from its inputs."
    )
    undo: dict[Word, Call | UndoSpec] = Field(
        default={}, max_length=50, title="Undo", description="What undoes each kind of action."
    )
    signals: dict[Word, SignalSpec] = Field(
        default={},
        max_length=50,
        title="Signals",
        description="What the watch asks beside the runs, by name.",
    )

    @model_validator(mode="after")
    def _names_its_routes_once(self) -> Self:
        names = [spec.route(place).name for place, spec in enumerate(self.routes)]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise Misplaced(
                    f"the name {name} is another route's too; give one of them another", "routes", place
                )
        return self

    @classmethod
    def load(cls, source: Path | str) -> Self:
        """Read a profile from a file, or from YAML text (a `str` that is no single `*.yaml` name).

        Raises InvalidProfile, which names `file:line` and the key of everything that can't be used.
        """
        document = read_yaml(source, PROFILE)
        try:
            return cls.model_validate(document.value)
        except ValidationError as error:
            raise complain(error, document, cls, PROFILE) from error

    def to_json(self) -> str:
        """Canonical JSON, as `lastgood.profile` reads it: sorted keys, no spaces."""
        routes = [spec.route(place) for place, spec in enumerate(self.routes)]
        data = {
            "agent": self.agent,
            "owner": self.owner,
            "routes": [
                {
                    "name": route.name,
                    "to": route.to,
                    "levels": route.levels,
                    "kinds": route.kinds,
                    "environments": route.environments,
                    "retry_for_us": route.retry_for_us,
                    "settings": dict(route.settings),
                }
                for route in routes
            ],
            "replay": self.replay or "",
            "undo": {
                kind: spec if isinstance(spec, str) else spec.model_dump(mode="json")
                for kind, spec in self.undo.items()
            },
            "signals": {
                name: spec.model_dump(mode="json", exclude_none=True, by_alias=True)
                for name, spec in self.signals.items()
            },
        }
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Sha256 of the canonical JSON, 64 hex digits."""
        return digest_of(self.to_json())


__all__ = ["PROFILE", "Call", "Profile", "SignalSpec", "UndoSpec"]
