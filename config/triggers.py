"""The triggers of a policy: what reverts a release at once, as its section writes it."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from config.durations import Duration, between
from config.metrics import TRIGGERED, Misplaced, nearest
from config.quantities import Rate
from config.sections import Positive, Section, Word
from config.signals import SourceSpec


class RateSpec(Section):
    """A tolerated rate of one bad outcome; the release is reverted when the candidate is proven above it."""

    limit: Rate = Field(title="Limit", description="Tolerated share of bad runs, between 0 and 1.")
    alpha: Annotated[float, Field(ge=1e-6, le=0.05)] = Field(
        default=0.001,
        title="Alpha",
        description="Chance that a candidate exactly at the limit ever fires this.",
    )


class CostSpec(Section):
    """A tolerated mean cost of a run; the release is reverted when the candidate is proven above it."""

    limit_usd: Positive = Field(
        title="Limit",
        description="US dollars that a run may cost in the mean; a silent one counts with its cap.",
    )
    alpha: Annotated[float, Field(ge=1e-6, le=0.05)] = Field(
        default=0.001,
        title="Alpha",
        description="Chance that a candidate exactly at the limit ever fires this.",
    )


class RepeatSpec(Section):
    """The same error type again and again in the candidate, and not in the baseline."""

    times: Annotated[int, Field(ge=2, le=100)] = Field(
        title="Times", description="Failures of one error type."
    )
    of: Annotated[int, Field(ge=2, le=1_000)] | None = Field(
        default=None, title="Of", description="Among this many newest candidate runs; default: in a row."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.of is not None and self.of < self.times:
            raise Misplaced(f"{self.times} failures do not fit among {self.of} runs", "of")
        return self


class OutsideSpec(SourceSpec):
    """Figures from outside that stay beyond a limit: a rule of thumb, outside of what alpha bounds.

    A query, an address or a name may hold {agent}, {environment}, {release}, {candidate} and {baseline} (full
    ids of bundles), a query in SQL the same as :candidate and so on.
    """

    limit: float = Field(title="Limit", description="What is beyond it, in the worse direction, is bad.")
    lasts: Annotated[Duration, between("0 s", "1 d")] = Field(
        default="3 min",
        validate_default=True,
        title="Lasts",
        description="Every point of this time is bad, the newest included; 0 s: the newest alone.",
    )
    then: Literal["revert", "hold"] = Field(
        default="revert", title="Then", description="Revert the release, or hold it where it stands."
    )
    when_absent: Literal["hold", "set_aside"] = Field(
        default="hold",
        title="When absent",
        description="While it can't be read, or has no fresh point: no step and no promotion, or go on.",
    )


class TriggersSpec(Section):
    """Rules that revert at once, without a comparison of arms."""

    zero_tolerance: Annotated[tuple[Word, ...], Field(strict=False, max_length=50)] = Field(
        default=("data_leak", "wrong_action"),
        title="Zero tolerance",
        description="Names of events that revert on their first occurrence.",
    )
    rates: dict[str, RateSpec] = Field(
        default={}, title="Rates", description="Tolerated rates of bad outcomes, by metric."
    )
    cost: CostSpec | None = Field(
        default=None, title="Cost", description="Tolerated mean cost of a run: a spike reverts."
    )
    repeated_failures: RepeatSpec | None = Field(
        default=None, title="Repeated failures", description="The same error again and again reverts."
    )

    outside: dict[Word, OutsideSpec] = Field(
        default={},
        max_length=10,
        title="Outside",
        description="Figures of Prometheus, Langfuse, any JSON or SQL that revert or hold, by name.",
    )

    @field_validator("rates", mode="before")
    @classmethod
    def _known(cls, rates: object) -> object:
        for name in rates if isinstance(rates, dict) else ():
            if name not in TRIGGERED:
                problem = f"unknown metric{nearest(str(name), TRIGGERED)} Known: {', '.join(TRIGGERED)}"
                raise Misplaced(problem, str(name))
        return rates
