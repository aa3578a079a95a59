"""The sections of a policy: strict, frozen models whose titles and descriptions are shown in forms.

Durations are held in microseconds and shares in basis points; written out, both read as people write
them. A section's value for the layers below is built in `config.policy`.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from config.durations import Duration, between
from config.metrics import Misplaced
from config.quantities import Harm, Margin, RelativeMargin, Share, Weight
from evaluators.rules import Guardrail, Kind, WhenAbsent
from lastgood.caps import AUTO_APPROVAL, MESSAGE
from lastgood.errors import InvalidInput
from lastgood.records import scrubber

#: a level of risk; `low` < `medium` < `high`
Risk = Literal["low", "medium", "high"]
RISKS: tuple[Risk, ...] = ("low", "medium", "high")
#: name of a kind of action or of an event
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
#: name of a slice
SliceName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Positive = Annotated[float, Field(gt=0, le=1_000_000)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]


class Section(BaseModel):
    """Base of all: unknown keys, loose types and later changes are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )


class StepSpec(Section):
    """One step of a release: a share, and the gate to the next step."""

    share: Share = Field(
        title="Share", description="Part of the eligible runs that the candidate serves, 1% to 99%."
    )
    min_runs: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        title="Least runs",
        description="Candidate runs to be scored on this step first.",
    )
    min_time: Annotated[Duration, between("0 s", "90 d")] = Field(
        default="0 s",
        validate_default=True,
        title="Least time",
        description="Time that this step lasts at least.",
    )
    rule_out: float | None = Field(
        default=None,
        gt=1,
        le=20,
        title="Harm to rule out",
        description="Odds ratio of bad outcomes that the gate must rule out on every guardrail: 3 rules out "
        "a three-fold harm. Empty on the last step, whose gate is each guardrail's margin.",
    )


class GuardrailSpec(Section):
    """A metric with its direction, margin, weight and maturity."""

    column: str = Field(title="Column", description="Outcome or free metric of the run record.")
    kind: Annotated[Kind, Field(strict=False)] = Field(
        default=Kind.PROPORTION,
        title="Kind",
        description="proportion: share of bad runs; quantile: share of runs past a frozen threshold; count: "
        "mean a run; ratio: sum a completed run; score: mean on a scale with two ends.",
    )
    bad: bool | None = Field(
        default=None, title="Bad value", description="Of a proportion: the column's value that counts as bad."
    )
    better: Literal["lower", "higher"] | None = Field(
        default=None, title="Better", description="Of a column of numbers: which direction is better."
    )
    unit: Annotated[str, StringConstraints(max_length=20)] = Field(
        default="", title="Unit", description="What the column is measured in, such as USD."
    )
    per: Literal["completed", "validated"] = Field(
        default="completed", title="Per", description="Of a ratio: the runs that its sum is divided by."
    )
    cap: Positive | None = Field(
        default=None, title="Cap", description="Of a ratio or count: larger amounts count as this one."
    )
    level: Annotated[float, Field(ge=0.5, le=0.999)] = Field(
        default=0.95, title="Level", description="Of a quantile: the level of history that is the threshold."
    )
    limit: float | None = Field(
        default=None, title="Limit", description="Of a quantile: the threshold itself, instead of a level."
    )
    scale: Annotated[tuple[float, float], Field(strict=False)] = Field(
        default=(0.0, 1.0), title="Scale", description="Of a score: the lowest and the highest mark."
    )
    margin: Margin | None = Field(
        default=None,
        title="Margin",
        description="Worsening of the bad rate that is acceptable, such as '2 points'.",
    )
    margin_rel: RelativeMargin | None = Field(
        default=None,
        title="Relative margin",
        description="The same as a part of the baseline's bad rate, such as 25%; of both the larger counts.",
    )
    margin_own: Positive | None = Field(
        default=None,
        title="Own margin",
        description="Of a count, ratio or score: the worsening that is acceptable, in the metric's unit.",
    )
    smallest_harm: Harm | None = Field(
        default=None,
        title="Smallest harm",
        description="The smallest worsening that matters, found sooner: '5 points' of a share of runs, '50%' "
        "of a count or ratio, marks of a score.",
    )
    weight: Weight = Field(
        title="Weight", description="Part of the release's alpha that this harm may use; the sum is 1."
    )
    matures: Annotated[Duration, between("0.1 s", "30 d")] = Field(
        title="Matures",
        description="Time after the assignment at which a run is scored; default: lost_after.",
    )
    when_absent: Annotated[WhenAbsent, Field(strict=False)] = Field(
        default=WhenAbsent.REFUSE,
        title="When absent",
        description="Where no run of the baseline reported the column: refuse the release, or set the "
        "guardrail aside and say so; the candidate's own reports never decide it.",
    )

    @model_validator(mode="after")
    def _has_margin(self) -> Self:
        if self.margin is None and self.margin_rel is None and self.margin_own is None:
            raise Misplaced("needs a margin: '2 points' (absolute) or margin_rel: 25%")
        return self

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        wanted, other = ("bad", "better") if self.kind is Kind.PROPORTION else ("better", "bad")
        if getattr(self, wanted) is None:
            raise Misplaced("is missing", wanted)
        if getattr(self, other) is not None:
            raise Misplaced(f"does not go with kind: {self.kind}; leave it out", other)
        if self.margin is not None and self.kind.measured:
            raise Misplaced(
                f"points are of shares of runs; a {self.kind} takes margin_rel or margin_own", "margin"
            )
        if self.margin_own is not None and not self.kind.measured:
            raise Misplaced(f"a {self.kind} takes a margin in points", "margin_own")
        if not self.scale[0] < self.scale[1]:
            raise Misplaced("needs its lower end first, such as [1, 5]", "scale")
        if self.kind is Kind.SCORE and (self.margin_own or 0.0) >= self.scale[1] - self.scale[0]:
            raise Misplaced("is as wide as the scale, so that nothing would be worse; lower it", "margin_own")
        return self

    def guardrail(self, name: str) -> Guardrail:
        """The plain value that the evaluators judge by."""
        return Guardrail(
            name, self.column, self.bad if self.bad is not None else self.better == "lower", self.weight,
            self.margin if self.margin_own is None else self.margin_own, self.margin_rel, self.matures,
            kind=self.kind, unit=self.unit, per=self.per, cap=self.cap, level=self.level, limit=self.limit,
            lowest=self.scale[0], highest=self.scale[1], smallest_harm=self.smallest_harm,
            when_absent=self.when_absent,
        )  # fmt: skip


class WaiverSpec(Section):
    """A known trade that was accepted before the start."""

    guardrail: str = Field(title="Guardrail", description="The guardrail that may get worse.")
    slice: SliceName = Field(title="Slice", description="The one slice in which it may.")
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)] = Field(
        title="Reason", description="Why the trade is accepted."
    )
    approver: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(
        title="Approver", description="Who accepted it."
    )


#: ceilings that have names of their own: where they stand
_SHORT = {
    "messages_per_run": ("actions_per_run", MESSAGE),
    "auto_approvals_per_hour": ("actions_per_hour", AUTO_APPROVAL),
}


class CapsSpec(Section):
    """Hard ceilings on what a candidate may do; null means no ceiling of that kind."""

    spend_usd_per_hour: Positive | None = Field(
        default=5.0,
        title="Spend per hour",
        description="US dollars of all candidate runs together in one clock hour.",
    )
    spend_usd_per_run: Positive | None = Field(
        default=0.5,
        title="Spend per run",
        description="US dollars of one candidate run; reserved while it is under way.",
    )
    runs_per_hour: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=500, title="Runs per hour", description="Candidate runs that may start in one clock hour."
    )
    actions_per_run: dict[Word, Count] = Field(
        default={"message": 3},
        max_length=50,
        title="Actions per run",
        description="Actions of one run, by kind.",
    )
    actions_per_hour: dict[Word, Count] = Field(
        default={"message": 100, "auto_approval": 20},
        max_length=50,
        title="Actions per hour",
        description="Actions of all candidate runs together in one clock hour, by kind.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, raw: object) -> object:
        """`messages_per_run: 3` is `actions_per_run: {message: 3}`; as written out, the map has it."""
        if not isinstance(raw, dict):
            return raw
        found = dict(raw)
        for short, (group, kind) in _SHORT.items():
            if short not in found:
                continue
            if isinstance(found.get(group), dict) and kind in raw.get(group, {}):
                raise Misplaced(f"stands in {group} as {kind} too; drop one of them", short)
            kinds = found.get(group, cls.model_fields[group].default)
            ceiling = found.pop(short)
            if isinstance(kinds, dict):
                others = {name: most for name, most in kinds.items() if name != kind}
                found[group] = others if ceiling is None else {**others, kind: ceiling}
        return found

    @model_validator(mode="after")
    def _affords_a_run(self) -> Self:
        run, hour = self.spend_usd_per_run, self.spend_usd_per_hour
        if run is not None and hour is not None and run > hour:
            raise Misplaced(
                f"one run reserves {run:g} US dollars, more than the {hour:g} of an hour: no run could start",
                "spend_usd_per_run",
            )
        return self


class AlphaSpec(Section):
    """How often the rules may be wrong."""

    revert: Annotated[float, Field(ge=1e-4, le=0.2)] = Field(
        default=0.05,
        title="Revert",
        description="Chance that an unchanged candidate is ever reverted by evidence.",
    )
    promote: Annotated[float, Field(ge=1e-4, le=0.2)] = Field(
        default=0.05,
        title="Promote",
        description="Chance, per guardrail, that a candidate at its margin is ever promoted.",
    )


class BlockSpec(Section):
    """The atom of evidence: consecutive eligible runs of one slice."""

    size: int = Field(default=20, ge=2, le=1_000, title="Size", description="Runs in a block.")
    time: Annotated[Duration, between("1 s", "7 d")] = Field(
        default="1 h",
        validate_default=True,
        title="Time",
        description="An open block is closed after this time.",
    )


class HorizonSpec(Section):
    """Where an undecided release ends, whichever comes first."""

    runs: int = Field(default=8_000, ge=10, le=10_000_000, title="Runs", description="Candidate runs.")
    time: Annotated[Duration, between("1 s", "365 d")] = Field(
        default="28 d", validate_default=True, title="Time", description="Time since the start."
    )


class WatchSpec(Section):
    """The observation after a revert or a promotion."""

    time: Annotated[Duration, between("30 min", "60 min")] = Field(
        default="45 min", validate_default=True, title="Time", description="30 to 60 minutes."
    )
    history: Annotated[Duration, between("1 h", "28 d")] = Field(
        default="24 h",
        validate_default=True,
        title="History",
        description="Time before the window whose runs say what was usual.",
    )
    enough: int = Field(
        default=500,
        ge=10,
        le=100_000,
        title="Enough runs",
        description="Matured runs since the switch at which the final verdict is made, at the earliest.",
    )
    alpha: Annotated[float, Field(ge=1e-4, le=0.2)] = Field(
        default=0.05,
        title="Alpha",
        description="Chance that a healthy bundle is called worse, or that lasting harm is called gone.",
    )
    tolerance: RelativeMargin = Field(
        default=0.25,
        validate_default=True,
        title="Tolerance",
        description="Worsening of the odds (of spend: of the mean) that counts as no difference.",
    )
    recovery: Weight = Field(
        default=0.5,
        title="Recovery",
        description="Part of the harm, in log odds, that must be proven gone before it is called fixed.",
    )
    rule_out: float = Field(
        default=3.0,
        gt=1,
        le=20,
        title="Harm to rule out",
        description="After a promotion: odds ratio that must be ruled out before it is said to hold.",
    )


class RecordsSpec(Section):
    """How the inputs and outputs of runs are kept."""

    keep: Literal["inline", "reference", "none"] = Field(
        default="inline",
        title="Keep",
        description="In the store, as a reference that the agent names, or not at all.",
    )
    redact: Annotated[tuple[str, ...], Field(strict=False, max_length=20)] = Field(
        default=("email", "phone", "card"),
        title="Redact",
        description="What is taken out first: email, phone, card, or 'pattern:' and a regular expression.",
    )
    max_bytes: int = Field(
        default=64_000,
        ge=256,
        le=10_000_000,
        title="Most bytes",
        description="Bytes that are kept of one input or output.",
    )

    @field_validator("redact")
    @classmethod
    def _compiles(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for place, rule in enumerate(rules):
            try:
                scrubber((rule,))
            except InvalidInput as error:
                raise Misplaced(str(error), place) from error
        return rules
