"""The frozen rules that a verdict is made under; `config.policy` builds them from YAML.

All values are plain so that a release can freeze them as JSON and a replay can rebuild them.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

#: microseconds of one second, minute, hour
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000


class Undecided(StrEnum):
    """What happens to a release that is undecided at its horizon."""

    REVERT = "revert"  #: put the baseline back (default)
    ASK = "ask"  #: hold at share 0 and ask a person, who may promote it as vouched


class Gate(StrEnum):
    """What a policy may have a person approve first."""

    START = "start"  #: the first share
    STEP = "step"  #: each further step
    PROMOTE = "promote"  #: the promotion by evidence


class Mode(StrEnum):
    """Who switches traffic."""

    ACT = "act"  #: the pipeline moves the control point
    ADVISE = "advise"  #: the pipeline decides and records; a person moves the control point


class Kind(StrEnum):
    """What a guardrail's metric is, and so how it is judged."""

    PROPORTION = "proportion"  #: the share of bad runs
    QUANTILE = "quantile"  #: the share of runs past a threshold that is frozen before the first run
    COUNT = "count"  #: a mean number or amount a run
    RATIO = "ratio"  #: a sum over another, such as cost per completed run
    SCORE = "score"  #: a mean on a scale with two ends, such as a judge's mark

    @property
    def measured(self) -> bool:
        """Whether runs bring an amount that is summed, instead of being good or bad."""
        return self in {Kind.COUNT, Kind.RATIO, Kind.SCORE}


class OnHarm(StrEnum):
    """What proven harm in one slice alone does. Harm that the other runs prove reverts in any case."""

    REVERT = "revert"  #: the slice's own evidence counts towards the revert (default)
    HOLD = "hold"  #: no gate opens while it stands
    REPORT = "report"  #: it is said, and does nothing


class WhenAbsent(StrEnum):
    """What happens to a guardrail that the baseline's history has nothing of."""

    REFUSE = "refuse"  #: it stays, and a release that it keeps from ever being promoted is refused (default)
    SET_ASIDE = "set_aside"  #: it is left out of the release, which says so; its weight is shared out


@dataclass(frozen=True, slots=True)
class Waiver:
    """A known trade, accepted before the start: a guardrail may get worse in one slice.

    The guardrail is judged by the other runs, for harm and for proof; harm in the slice is still reported.
    """

    guardrail: str
    stratum: str
    #: why it is accepted, and by whom
    reason: str
    approver: str


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric with a direction, a margin and a weight."""

    #: `completion`, `validation`, `escalation`, `incidents`, `lost`, `infra` or a custom name
    name: str
    #: column of the run record that holds the outcome (`completed`, `validated`, `escalated`, ...)
    column: str
    #: the column's value that counts as bad: False for `completed`, True for `escalated`; of a column of
    #: numbers True where more is worse, False where more is better
    bad: bool
    #: weight in the family, > 0; a policy's weights sum to 1
    weight: float
    #: absolute margin on the bad rate (0.02 = two points), else in the metric's unit, or None
    margin_abs: float | None
    #: relative margin on the bad rate or the metric (0.25 = a quarter more), or None; the larger counts
    margin_rel: float | None
    #: microseconds after the assignment at which a run is scored
    maturity_us: int
    kind: Kind = Kind.PROPORTION
    #: what the column is measured in (`USD`, `s`); empty for a share of runs
    unit: str = ""
    #: `ratio`: the flag whose true runs are the denominator, `completed` or `validated`
    per: str = "completed"
    #: `ratio`, `count`: larger amounts count as this one; None: only the harm test is winsorised, at p99
    cap: float | None = None
    #: `quantile`: the level of history that is the threshold, 0..1 (0.95 = p95), unless `limit` is given
    level: float = 0.95
    #: `quantile`: the threshold itself, in the column's unit, or None
    limit: float | None = None
    #: `score`: the ends of the scale
    lowest: float = 0.0
    highest: float = 1.0
    #: the smallest worsening that matters to its owner, in the margin's unit: half of the prior bets on it
    smallest_harm: float | None = None
    #: what happens to it where the baseline's history has nothing of it
    when_absent: WhenAbsent = WhenAbsent.REFUSE


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a release: a share and the gate to the next."""

    #: basis points of eligible runs that go to the candidate, 1..9999
    share_bp: int
    #: candidate runs to be scored on this step before its gate may open
    min_runs: int = 0
    #: microseconds that this step lasts at least
    min_time_us: int = 0
    #: odds ratio of bad outcomes that this step's gate must rule out on every guardrail
    #: (3.0 = three-fold harm); None on the last step, whose gate is each guardrail's margin
    rule_out: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that the evaluators need of a policy."""

    guardrails: tuple[Guardrail, ...]
    steps: tuple[Step, ...]
    #: slices compared by themselves with their weights, sum 1; anything else is `other`. Empty: one stratum
    strata: tuple[tuple[str, float], ...] = ()
    #: what harm in one slice alone does, where it is not `revert`
    on_harm: tuple[tuple[str, OnHarm], ...] = ()
    #: trades that were accepted before the start
    waivers: tuple[Waiver, ...] = ()
    #: declared rates of the bad outcome by guardrail name, 0..1, used where history is short
    references: tuple[tuple[str, float], ...] = ()
    #: chance that an unchanged candidate is ever reverted by evidence, over the whole release
    alpha_revert: float = 0.05
    #: chance, per guardrail, that a candidate at its margin is ever promoted
    alpha_promote: float = 0.05
    #: runs in a block
    block_size: int = 20
    #: microseconds after which an open block is closed by the clock
    block_time_us: int = HOUR
    #: runs of history that the baseline's predicted rate weighs at first
    history_weight: int = 200
    #: microseconds between looks
    look_interval_us: int = MINUTE
    #: candidate runs, and microseconds since the start, after which an undecided release ends
    horizon_runs: int = 5_000
    horizon_us: int = 14 * 24 * HOUR
    on_undecided: Undecided = Undecided.REVERT
    mode: Mode = Mode.ACT
    #: microseconds that evidence may stay invalid before the share goes to 0
    invalid_after_us: int = 30 * MINUTE
    #: whether the recorded share is the one that dealt the runs; else (a foreign flag) harm is judged given
    #: each closed block's own split and the mismatch check rests
    share_ours: bool = True
    #: what a person has to approve first
    approve: frozenset[Gate] = frozenset()

    @property
    def classes(self) -> dict[int, tuple[Guardrail, ...]]:
        """Guardrails by maturity (microseconds): the families that are averaged together."""
        found: dict[int, list[Guardrail]] = {}
        for guardrail in self.guardrails:
            found.setdefault(guardrail.maturity_us, []).append(guardrail)
        return {maturity: tuple(members) for maturity, members in sorted(found.items())}

    def bounded(self, share_bp: int | None) -> "Rules":
        """The same with no step above a share (basis points), as readiness allows; None: as they are."""
        if share_bp is None:
            return self
        steps = tuple(replace(step, share_bp=min(step.share_bp, share_bp)) for step in self.steps)
        return replace(self, steps=steps)

    def judged_by(self) -> list[Any]:
        """What of a policy its evidence was gathered under, as JSON: two policies never share a release."""
        slices = [[name, str(does)] for name, does in self.on_harm]
        waived = [[waiver.guardrail, waiver.stratum] for waiver in self.waivers]
        return [
            [self.alpha_revert, self.alpha_promote, self.block_size, self.history_weight, self.share_ours],
            [list(pair) for pair in self.strata],
            [[step.share_bp, step.rule_out] for step in self.steps],
            [[g.name, g.column, g.bad, g.weight, g.maturity_us, str(g.kind)] for g in self.guardrails],
            *([slices, waived] if slices or waived else []),
        ]

    def without(self, names: Collection[str]) -> "Rules":
        """The same without some guardrails, not all; their weight is shared out among the others."""
        kept = [guardrail for guardrail in self.guardrails if guardrail.name not in names]
        total = sum(guardrail.weight for guardrail in kept)
        return replace(
            self,
            guardrails=tuple(replace(guardrail, weight=guardrail.weight / total) for guardrail in kept),
            waivers=tuple(waiver for waiver in self.waivers if waiver.guardrail not in names),
            references=tuple(pair for pair in self.references if pair[0] not in names),
        )

    def waived(self, guardrail: str) -> tuple[str, ...]:
        """Slices in which a guardrail may get worse, as was accepted before the start."""
        return tuple(waiver.stratum for waiver in self.waivers if waiver.guardrail == guardrail)

    def on_harm_in(self, guardrail: str, stratum: str) -> OnHarm:
        """What harm to a guardrail in one slice does; a waived one is only reported."""
        if stratum in self.waived(guardrail):
            return OnHarm.REPORT
        return dict(self.on_harm).get(stratum, OnHarm.REVERT)


class Ruled(Protocol):
    """What has rules, such as a policy of `config`."""

    def rules(self) -> Rules:
        """Everything that the evaluators need."""


__all__ = [
    "HOUR",
    "MINUTE",
    "SECOND",
    "Gate",
    "Guardrail",
    "Kind",
    "Mode",
    "OnHarm",
    "Ruled",
    "Rules",
    "Step",
    "Undecided",
    "Waiver",
    "WhenAbsent",
]
