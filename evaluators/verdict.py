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
    #: most likely difference of the bad rate, candidate minus baseline, points (1 = one run in 100)
    estimate: float
    #: lower end of its confidence sequence at 1 - alpha_promote, points
    low: float
    #: upper end, points
    high: float
    #: share of the baseline's scored runs that were bad, 0..1
    baseline_rate: float
    #: share of the candidate's scored runs that were bad, 0..1
    candidate_rate: float
    #: candidate runs scored, and bad ones of them
    n_c: int
    y_c: int
    #: baseline runs scored, and bad ones of them
    n_b: int
    y_b: int
    #: difference of the bad rate that the last gate rules out, points, or None where nothing can be proven
    margin: float | None
    #: one plain sentence
    reason: str
    #: natural log of each listed stratum's own harm e-value
    slices: tuple[tuple[str, float], ...]
    #: natural log of the conditional test's harm e-value: the cross-check that needs no share
    log_e_check: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "word": str(self.word), "slices": [list(pair) for pair in self.slices]}


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
