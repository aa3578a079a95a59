"""The readiness section of a policy: how far a canary may go by the number of questions answered with yes."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from config.quantities import format_share, parse_share
from config.sections import Section
from evaluators.readiness import Bounds


def _parse(value: object) -> int | None:
    return 0 if value == "refuse" else None if value in {None, "any"} else parse_share(value)


def _format(bound: int | None) -> str:
    return "any" if bound is None else "refuse" if bound == 0 else format_share(bound)


#: basis points; `any` is no bound, `refuse` no release
ShareBound = Annotated[
    int | None,
    BeforeValidator(_parse),
    PlainSerializer(_format, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9.]+ *%|any|refuse)$"}),
]


class ReadinessSpec(Section):
    """The highest share by how many of the seven questions are answered with yes."""

    all_seven: ShareBound = Field(
        default="any", validate_default=True, title="All seven", description="A share, any, or refuse."
    )
    five_or_six: ShareBound = Field(
        default="25%", validate_default=True, title="Five or six", description="A share, any, or refuse."
    )
    three_or_four: ShareBound = Field(
        default="10%", validate_default=True, title="Three or four", description="A share, any, or refuse."
    )
    fewer: ShareBound = Field(
        default="5%", validate_default=True, title="Fewer", description="A share, any, or refuse."
    )

    def bounds(self) -> Bounds:
        """The plain value that the evaluators bound by."""
        return Bounds(self.all_seven, self.five_or_six, self.three_or_four, self.fewer)


__all__ = ["ReadinessSpec"]
