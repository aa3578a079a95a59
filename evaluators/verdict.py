"""Verdicts: what a look says about each guardrail and about the release."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Word(StrEnum):
    """What is known about one guardrail."""

    PASS = "pass"  # noqa: S105 a verdict, no password  #: proven no worse than its margin
    FAIL = "fail"  #: proven worse than the baseline
    UNDECIDED = "undecided"  #: neither yet
    NO_DATA = "no_data"  #: an arm has no scored run
    INVALID = "invalid"  #: the evidence can't be used


class Decision(StrEnum):
    """What is known about the release."""

    PROMOTE = "promote"  #: every guardrail passed
    HOLD = "hold"  #: neither proven
    REVERT = "revert"  #: harm is proven


@dataclass(frozen=True, slots=True)
class GuardrailVerdict:
    """What the evidence says about one guardrail."""

    name: str
    word: Word
    #: natural log of the harm e-value, open blocks included
    log_e_harm: float
    #: natural log of the last gate's e-value
    log_e_promote: float
    #: whether the last gate's e-value has ever reached 1/alpha_promote
    crossed: bool
    #: most likely difference, candidate minus baseline, in `unit`: of a bad rate points (1 = one run in 100)
    estimate: float
    #: lower end of its confidence sequence at 1 - alpha_promote, in `unit`
    low: float
    #: upper end, in `unit`
    high: float
    #: share of the baseline's scored runs that were bad, 0..1; else the metric itself, in `unit`
    baseline_rate: float
    #: the candidate's
    candidate_rate: float
    #: candidate runs scored, and bad ones of them (of a ratio, those that are its denominator)
    n_c: int
    y_c: int
    #: baseline runs scored, and bad ones of them
    n_b: int
    y_b: int
    #: difference that the last gate rules out, in `unit`, or None where nothing can be proven
    margin: float | None
    #: one plain sentence
    reason: str
    #: natural log of each listed stratum's own harm e-value
    slices: tuple[tuple[str, float], ...]
    #: natural log of the conditional test's harm e-value: the cross-check that needs no share
    log_e_check: float = 0.0
    #: `proportion`, `quantile`, `count`, `ratio` or `score`
    kind: str = "proportion"
    #: what the difference is measured in
    unit: str = "points"
    #: candidate runs still needed at the present rate until it passes, and until it alone reverts; None
    #: where the evidence does not go that way
    runs_to_pass: int | None = None
    runs_to_fail: int | None = None
    #: slices in which harm is proven by themselves, and whether it is proven in those alone
    harmed: tuple[str, ...] = ()
    harmed_alone: bool = False
    #: runs of a unit say this many times less than as many independent ones
    design_effect: float = 1.0

    @property
    def proven(self) -> float | None:
        """The widest margin proven so far, in `unit`: worse than this is ruled out; None where nothing is.

        The end of the confidence sequence on the bad side, so it may be read at any time.
        """
        if not self.margin or not self.n_c or not self.n_b:
            return None
        return self.high if self.margin > 0.0 else self.low

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            **asdict(self),
            "word": str(self.word),
            "slices": [list(pair) for pair in self.slices],
            "harmed": list(self.harmed),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look says about a release."""

    decision: Decision
    #: guardrails that prove the harm, the strongest first; empty unless reverted
    culprits: tuple[str, ...]
    #: in the policy's order
    guardrails: tuple[GuardrailVerdict, ...]
    #: natural log of the largest weighted mean of harm e-values over the maturity classes
    log_family: float
    #: natural log that it must reach to revert: ln(1/alpha_revert)
    log_line: float
    #: by step: whether its gate may open as far as the evidence goes
    gates: tuple[bool, ...]
    #: whether the evidence can be used to promote
    valid: bool
    #: why not; empty where it can
    invalid_reason: str
    #: runs assigned, both arms
    assigned: int
    #: runs assigned to the candidate
    candidate_runs: int
    #: natural log of the assignment's mismatch e-value
    log_mismatch: float = 0.0
    #: whether proven harm in one slice keeps every gate shut
    held_by_slice: bool = False

    def guardrail(self, name: str) -> GuardrailVerdict:
        """The verdict on one guardrail; KeyError where there is none of the name."""
        for found in self.guardrails:
            if found.name == name:
                return found
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            **asdict(self),
            "decision": str(self.decision),
            "culprits": list(self.culprits),
            "gates": list(self.gates),
            "guardrails": [found.to_json() for found in self.guardrails],
        }
