"""The triggers of a policy: what reverts a release at once, as its section writes it."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from config.metrics import TRIGGERED, Misplaced, nearest
from config.quantities import Rate
from config.sections import Positive, Section, Word


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

    @field_validator("rates", mode="before")
    @classmethod
    def _known(cls, rates: object) -> object:
        for name in rates if isinstance(rates, dict) else ():
            if name not in TRIGGERED:
                problem = f"unknown metric{nearest(str(name), TRIGGERED)} Known: {', '.join(TRIGGERED)}"
                raise Misplaced(problem, str(name))
        return rates
