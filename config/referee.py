"""The referee of a policy: who judges a random sample of both arms, blind to the arm."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from config.durations import Duration, between
from config.metrics import METRICS, Misplaced
from config.quantities import Weight
from config.scores import ScoresSpec
from config.sections import GuardrailSpec, Positive, RecordsSpec, Section
from evaluators.referees import VALIDATED
from evaluators.rules import Kind

#: what a setting of a referee may be
Setting = str | float | int | bool | None
#: columns that the run or the control point tells
OUTCOMES = frozenset(metric.column for metric in METRICS)


class RefereeSpec(Section):
    """A referee: a callable, somebody else's scores, or people who work through a queue."""

    column: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = Field(
        title="Column",
        description="Column that its marks fill; a guardrail of kind proportion or score watches it.",
    )
    call: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = Field(
        default=None,
        title="Call",
        description="package.module:name of a callable (input, output) -> mark, or of a pydantic-evals "
        "evaluator. Empty: people judge, with `lastgood review`.",
    )
    scores: ScoresSpec | None = Field(
        default=None,
        title="Scores",
        description="Instead of a callable: where somebody else's scores are read, by run id.",
    )
    version: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(
        default="1", title="Version", description="Raise it when the referee changes; part of its digest."
    )
    rubric: Annotated[str, StringConstraints(max_length=4_000)] = Field(
        default="", title="Rubric", description="What people are asked to judge; part of the digest."
    )
    settings: dict[str, Setting] = Field(
        default={},
        max_length=50,
        title="Settings",
        description="Passed to the callable by name; part of its digest.",
    )
    sample: Weight = Field(
        default=0.1,
        title="Sample",
        description="Part of the runs of both arms that is judged, drawn by the run's id.",
    )
    judgements_per_hour: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=200, title="Judgements per hour", description="Most calls of the referee in one hour."
    )
    usd_per_hour: Positive | None = Field(
        default=1.0, title="Spend per hour", description="US dollars that judging may cost in one hour."
    )
    usd_each: Annotated[float, Field(ge=0, le=1_000)] = Field(
        default=0.0,
        title="Price",
        description="US dollars that one judgement costs, where the referee does not tell.",
    )
    timeout: Annotated[Duration, between("0.1 s", "10 min")] = Field(
        default="30 s",
        validate_default=True,
        title="Timeout",
        description="A judgement that takes longer has failed.",
    )

    @property
    def works(self) -> bool:
        """Whether the pipeline gets the marks by itself; people judge otherwise."""
        return self.call is not None or self.scores is not None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.call is not None and self.scores is not None:
            raise Misplaced("one release has one referee: give call or scores", "scores")
        return self

    @model_validator(mode="after")
    def _affords_a_judgement(self) -> Self:
        if self.usd_per_hour is not None and self.usd_each > self.usd_per_hour:
            raise Misplaced(
                f"one judgement costs {self.usd_each:g} US dollars, more than the {self.usd_per_hour:g} of an"
                " hour: none could be made",
                "usd_each",
            )
        return self


def check_referee(
    referee: RefereeSpec | None, guardrails: Mapping[str, GuardrailSpec], records: RecordsSpec
) -> None:
    """A guardrail watches the column, runs can be read, and marks are what the guardrail takes."""
    if referee is None:
        return
    mine = {name: spec for name, spec in guardrails.items() if spec.column == referee.column}
    if referee.column in OUTCOMES - {VALIDATED}:
        raise Misplaced(
            f"{referee.column!r} is what the run itself tells; give the marks a column of their own, or judge"
            f" {VALIDATED!r}",
            *("referee", "column"),
        )
    if not mine:
        known = ", ".join(sorted({spec.column for spec in guardrails.values()}))
        raise Misplaced(
            f"no guardrail watches {referee.column!r}: add one, such as {{column: {referee.column},"
            f" kind: score, better: higher, margin_own: 0.05}}; watched are {known}",
            *("referee", "column"),
        )
    for name, spec in mine.items():
        if spec.kind not in {Kind.PROPORTION, Kind.SCORE}:
            raise Misplaced(
                f"a referee's mark is judged as a proportion or a score, not as a {spec.kind}",
                *("guardrails", name, "kind"),
            )
    if records.keep != "inline" and referee.scores is None:
        raise Misplaced(
            f"a referee reads inputs and outputs, and `keep: {records.keep}` keeps none: write keep: inline",
            *("records", "keep"),
        )


__all__ = ["RefereeSpec", "check_referee"]
