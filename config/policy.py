"""A release policy: strict models over YAML, frozen into a release as canonical JSON.

`Policy.load` reads what people write; `to_json` writes it out with every default resolved, so that a
frozen policy keeps its meaning when a later version has other defaults.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from config import checks, sections, triggers
from config.approval import ApprovalSpec
from config.complaints import complain
from config.document import Document, digest_of, read_frozen, read_yaml
from config.durations import Duration, between, format_duration
from config.freezing import FreezeSpec
from config.metrics import DEFAULTS, fill, order
from config.preflight import PreflightSpec
from config.quantities import Rate, Weight
from config.readiness import ReadinessSpec
from config.recovery import RecoverySpec
from config.referee import RefereeSpec, check_referee
from evaluators.blocks import WHOLE
from evaluators.referees import Sampler, sampler
from evaluators.rules import Mode, OnHarm, Rules, Step, Undecided, Waiver
from lastgood import freezing
from lastgood.caps import Caps
from lastgood.errors import InvalidPolicy
from lastgood.records import Records
from lastgood.triggers import RateTrigger, RepeatTrigger, SpendTrigger, Triggers

#: look intervals that a lease, and a driver's silence, last unless the policy says otherwise
LOOKS = 3
#: the three steps of the default: looser margins early (STATISTICS.md section 3)
STEPS = (
    {"share": "5%", "min_runs": 20, "min_time": "1 h", "rule_out": 3.0},
    {"share": "25%", "min_runs": 50, "min_time": "1 h", "rule_out": 2.0},
    {"share": "50%", "min_runs": 100, "min_time": "2 h"},
)
#: the policies that come with the pipeline
POLICIES = Path(__file__).parent / "policies"


def built_in() -> list[str]:
    """Return the names of the policies that come with the pipeline."""
    return sorted(path.stem for path in POLICIES.glob("*.yaml"))


def _looks(fields: dict[str, int]) -> int:
    return LOOKS * fields.get("look_every", 0)


class Policy(sections.Section):
    """What a release may do: steps, caps, guardrails, triggers, watch.

    Attributes hold durations in microseconds. `rules()`, `caps()`, `triggers()` and `records()` give the
    plain frozen values that the other layers work with.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = Field(
        title="Name", description="Lower-case letters, digits, '.', '_' and '-'."
    )
    mode: Annotated[Mode, Field(strict=False)] = Field(
        default=Mode.ACT,
        title="Mode",
        description="act moves traffic; advise decides and records, and a person moves it.",
    )
    steps: Annotated[tuple[sections.StepSpec, ...], Field(strict=False, min_length=1, max_length=10)] = Field(
        default=STEPS,
        validate_default=True,
        title="Steps",
        description="Rising shares, each with the gate to the next.",
    )
    look_every: Annotated[Duration, between("0.1 s", "1 h")] = Field(
        default="1 min",
        validate_default=True,
        title="Look every",
        description="Time between two looks at the evidence.",
    )
    lease: Annotated[Duration, between("0.1 s", "6 h")] = Field(
        default_factory=_looks,
        title="Lease",
        description="Time that the candidate may be served without a look; default: three look intervals.",
    )
    driver_timeout: Annotated[Duration, between("0.1 s", "6 h")] = Field(
        default_factory=_looks,
        title="Driver timeout",
        description="Silence after which another process drives the release; default: three look intervals.",
    )
    eligible_risks: Annotated[tuple[sections.Risk, ...], Field(strict=False, min_length=1)] = Field(
        default=("low",),
        title="Eligible risks",
        description="Levels of risk whose runs the candidate may serve.",
    )
    risk_default: sections.Risk = Field(
        default="low",
        title="Default risk",
        description="Risk of a run that names none and whose tools name none.",
    )
    lost_after: Annotated[Duration, between("0.1 s", "30 d")] = Field(
        default="10 min",
        validate_default=True,
        title="Lost after",
        description="A run that has not ended this long after it began has failed, a suspended one too.",
    )
    declared_caps: sections.CapsSpec = Field(
        default=sections.CapsSpec(),
        alias="caps",
        title="Caps",
        description="Hard ceilings for the candidate.",
    )
    guardrails: dict[str, sections.GuardrailSpec] = Field(
        default=DEFAULTS,
        validate_default=True,
        max_length=20,
        title="Guardrails",
        description="Metrics that must not get worse; an empty entry takes its defaults.",
    )
    strata: Annotated[dict[sections.SliceName, Weight], BeforeValidator(checks.spread)] = Field(
        default={},
        max_length=50,
        title="Strata",
        description="Slices with weights of sum 1, or a list for equal ones.",
    )
    on_harm: dict[sections.SliceName, Annotated[OnHarm, Field(strict=False)]] = Field(
        default={},
        max_length=50,
        title="On harm",
        description="By slice, what harm in it alone does: revert (default), hold the release, or report.",
    )
    waivers: Annotated[tuple[sections.WaiverSpec, ...], Field(strict=False, max_length=50)] = Field(
        default=(),
        title="Waivers",
        description="Known trades that were accepted beforehand: a guardrail may get worse in one slice.",
    )
    reference: dict[str, Rate] = Field(
        default={},
        title="Reference",
        description="Rates known beforehand, used where history is short: how often the guardrail's column "
        "is true (completion 0.92 is 92% completed; escalation 0.06 is 6% escalated).",
    )
    declared_triggers: triggers.TriggersSpec = Field(
        default=triggers.TriggersSpec(),
        alias="triggers",
        title="Triggers",
        description="Rules that revert at once.",
    )
    referee: RefereeSpec | None = Field(
        default=None,
        title="Referee",
        description="Who judges a random sample of both arms, blind to the arm; none by default.",
    )
    alpha: sections.AlphaSpec = Field(
        default=sections.AlphaSpec(), title="Alpha", description="How often the rules may be wrong."
    )
    block: sections.BlockSpec = Field(
        default=sections.BlockSpec(), title="Block", description="The atom of evidence."
    )
    history_weight: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        title="History weight",
        description="Runs that history counts for at the start.",
    )
    invalid_after: Annotated[Duration, between("1 s", "7 d")] = Field(
        default="30 min",
        validate_default=True,
        title="Invalid after",
        description="Time that evidence may stay invalid before the share goes to 0.",
    )
    horizon: sections.HorizonSpec = Field(
        default=sections.HorizonSpec(), title="Horizon", description="Where an undecided release ends."
    )
    on_undecided: Annotated[Undecided, Field(strict=False)] = Field(
        default=Undecided.REVERT,
        title="On undecided",
        description="At the horizon: revert, or hold at 0 and ask a person.",
    )
    watch: sections.WatchSpec = Field(
        default=sections.WatchSpec(), title="Watch", description="Observation after a revert or a promotion."
    )
    after_watch: Literal["revert", "notify"] = Field(
        default="notify",
        title="After the watch",
        description="What a trigger does once the watch after a promotion is over: revert to the last known "
        "good before it, or notify a person through the ledger.",
    )
    on_revert: Literal["abort", "finish"] = Field(
        default="abort",
        title="On revert",
        description="What a run whose bundle was reverted may still do: nothing, or finish with its actions "
        "marked late for recovery. A kill and a zero-tolerance event always abort.",
    )
    declared_records: sections.RecordsSpec = Field(
        default=sections.RecordsSpec(),
        alias="records",
        title="Records",
        description="How inputs and outputs are kept.",
    )
    cooldown: Annotated[Duration, between("0 s", "90 d")] = Field(
        default="1 h",
        validate_default=True,
        title="Cooldown",
        description="Wait before a candidate that was reverted without quarantine may be released again.",
    )
    agent_cooldown: Annotated[Duration, between("0 s", "90 d")] = Field(
        default="0 s",
        validate_default=True,
        title="Agent's cooldown",
        description="Wait after a revert before any release of the agent may start here.",
    )
    approval: ApprovalSpec = Field(
        default=ApprovalSpec(), title="Approval", description="What a person has to approve first."
    )
    freeze: Annotated[tuple[FreezeSpec, ...], Field(strict=False, max_length=50)] = Field(
        default=(),
        title="Freeze",
        description="Windows in which no release goes forward; looks go on, and a revert is always possible.",
    )
    readiness: ReadinessSpec = Field(
        default=ReadinessSpec(),
        title="Readiness",
        description="How far a canary may go by how many of the seven questions are answered with yes.",
    )
    recovery: RecoverySpec = Field(
        default=RecoverySpec(),
        title="Recovery",
        description="How the actions of a bad window are undone.",
    )
    preflight: PreflightSpec = Field(
        default=PreflightSpec(),
        title="Preflight",
        description="What must be true before a release starts.",
    )

    @field_validator("guardrails", mode="before")
    @classmethod
    def _filled(cls, raw: object, info: ValidationInfo) -> object:
        if "lost_after" not in info.data:
            return {}  # it was refused, and guardrails that mature with it can't be filled
        matures = format_duration(info.data["lost_after"])
        return fill(raw, matures) if isinstance(raw, dict) else raw

    @field_validator("eligible_risks")
    @classmethod
    def _ordered(cls, risks: tuple[sections.Risk, ...]) -> tuple[sections.Risk, ...]:
        return tuple(risk for risk in sections.RISKS if risk in risks)

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        checks.check_steps(self.steps)
        checks.check_guardrails(self.guardrails, self.lost_after, self.reference)
        checks.check_strata(self.strata)
        checks.check_slices(self.strata, self.guardrails, self.on_harm, self.waivers)
        checks.check_leases(self.look_every, {"lease": self.lease, "driver_timeout": self.driver_timeout})
        checks.check_horizon(self.steps, self.guardrails, self.horizon)
        check_referee(self.referee, self.guardrails, self.declared_records)
        return self

    @classmethod
    def load(cls, source: Path | str) -> Self:
        """Read a policy from a file, or from YAML text (a `str` that is no single `*.yaml` or `*.json` name).

        Raises InvalidPolicy, which names `file:line` and the key of everything that can't be used.
        """
        return cls._from(read_yaml(source))

    @classmethod
    def builtin(cls, name: str = "default") -> Self:
        """Read one of the policies that come with the pipeline (config/policies)."""
        if name not in built_in():
            raise InvalidPolicy(
                f"no policy {name!r} comes with the pipeline; there are {', '.join(built_in())}"
            )
        return cls.load(POLICIES / f"{name}.yaml")

    @classmethod
    def from_json(cls, text: str, *, digest: str | None = None) -> Self:
        """Read what `to_json` wrote; CorruptRow where a digest is given and the text does not hash to it."""
        return cls._from(read_frozen(text, digest))

    @classmethod
    def _from(cls, document: Document) -> Self:
        try:
            return cls.model_validate(document.value)
        except ValidationError as error:
            raise complain(error, document, cls) from error

    def to_json(self) -> str:
        """Canonical JSON with every default resolved: sorted keys, no spaces, UTF-8."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @property
    def digest(self) -> str:
        """Sha256 of the canonical JSON, 64 hex digits."""
        return digest_of(self.to_json())

    def rules(self) -> Rules:
        """Everything that the evaluators need; guardrails and strata in one order, however written."""
        guardrails = {name: self.guardrails[name] for name in sorted(self.guardrails, key=order)}
        return Rules(
            guardrails=tuple(spec.guardrail(name) for name, spec in guardrails.items()),
            steps=tuple(Step(step.share, step.min_runs, step.min_time, step.rule_out) for step in self.steps),
            strata=tuple(sorted((name, float(weight)) for name, weight in self.strata.items())),
            on_harm=tuple(sorted(self.on_harm.items())),
            waivers=tuple(Waiver(w.guardrail, w.slice, w.reason, w.approver) for w in self.waivers),
            references=checks.bad_rates(self.reference, guardrails),
            alpha_revert=self.alpha.revert,
            alpha_promote=self.alpha.promote,
            block_size=self.block.size,
            block_time_us=self.block.time,
            history_weight=self.history_weight,
            look_interval_us=self.look_every,
            horizon_runs=self.horizon.runs,
            horizon_us=self.horizon.time,
            on_undecided=self.on_undecided,
            mode=self.mode,
            invalid_after_us=self.invalid_after,
            approve=frozenset(self.approval.before),
        )

    def frozen(self, now_us: int) -> str:
        """The freeze that holds at a time (microseconds UTC), in words with its end; empty outside of one."""
        found = freezing.frozen([spec.model_dump(mode="json", by_alias=True) for spec in self.freeze], now_us)
        return "" if found is None else found[1]

    @property
    def refereed(self) -> frozenset[str]:
        """Columns that a referee fills."""
        return frozenset() if self.referee is None else frozenset({self.referee.column})

    def sampler(self, release_id: str) -> Sampler | None:
        """Which runs of a release a referee judges; None without one."""
        if self.referee is None:
            return None
        return sampler(release_id, self.referee.column, round(self.referee.sample * WHOLE))

    def caps(self) -> Caps:
        """The hard ceilings of a release."""
        spec = self.declared_caps
        return Caps(
            spend_usd_per_hour=spec.spend_usd_per_hour,
            spend_usd_per_run=spec.spend_usd_per_run,
            runs_per_hour=spec.runs_per_hour,
            actions_per_run=tuple(sorted(spec.actions_per_run.items())),
            actions_per_hour=tuple(sorted(spec.actions_per_hour.items())),
        )

    def triggers(self) -> Triggers:
        """The rules that revert at once."""
        spec = self.declared_triggers
        rates = sorted(spec.rates.items(), key=lambda item: order(item[0]))
        repeats = spec.repeated_failures
        return Triggers(
            zero_tolerance=spec.zero_tolerance,
            rates=tuple(RateTrigger(metric, rate.limit, rate.alpha) for metric, rate in rates),
            spend=None if spec.cost is None else SpendTrigger(spec.cost.limit_usd, spec.cost.alpha),
            repeats=None if repeats is None else RepeatTrigger(repeats.times, repeats.of or repeats.times),
        )

    def records(self) -> Records:
        """How inputs and outputs of runs are kept."""
        return Records(**self.declared_records.model_dump())


__all__ = ["POLICIES", "Policy", "built_in", "digest_of"]
