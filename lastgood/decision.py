"""Decisions: every answer that one snapshot of a control point can give, made before anybody asks.

Pure: no clock, no store. The order of the checks is the order of `Reason`; a run is eligible, in either arm,
only if the candidate could have been served at its decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from lastgood import assignment
from lastgood.bundle import Bundle
from lastgood.errors import InvalidInput
from lastgood.moves import ControlPoint
from lastgood.release import RISKS


class Reason(StrEnum):
    """Why a run got its bundle."""

    MOVED = "moved"  #: the control point was moved, or may have been, and could not be read since
    NO_RELEASE = "no_release"  #: no candidate is being served
    KILLED = "killed"  #: the kill switch is on
    RUNTIME = "runtime"  #: this process does not announce the runtime that the candidate needs
    LAPSED = "lapsed"  #: nobody renewed the lease
    RISK = "risk"  #: the run's risk is above what the policy sends to a candidate
    CAP = "cap"  #: a ceiling leaves no headroom
    CONVERSATION = "conversation"  #: a conversation keeps the bundle of its first turn
    STORE = "store"  #: the assignment could not be written
    SPLIT = "split"  #: eligible: the hash drew the arm
    REPEAT = "repeat"  #: the same, of a unit that has had an eligible run in this release
    TELEMETRY = "telemetry"  #: nobody asked: the run is known from its spans alone, and is no evidence


BASELINE, CANDIDATE = "baseline", "candidate"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one run."""

    arm: str
    bundle: Bundle
    eligible: bool
    reason: Reason
    #: the share that drew the arm, basis points
    share_bp: int
    epoch: int
    #: the release that the decision was made under, if one is being served
    release_id: str | None
    risk: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one process knows of a control point, with its bundles loaded."""

    point: ControlPoint
    baseline: Bundle
    candidate: Bundle | None
    #: microseconds of the boot clock after which the candidate is not served
    lease_deadline_us: int
    #: whether the caps left room when a run was last assigned; the assignment itself asks the store
    headroom: bool = True


def risk_of(point: ControlPoint, risk: str | None) -> str:
    """Return the run's risk tier, the policy's default where it names none; raises `InvalidInput`."""
    if risk is None:
        return point.terms.risk_default
    if risk not in RISKS:
        msg = f"risk {risk!r} of a run of {point.agent} is unknown; use one of {', '.join(RISKS)}"
        raise InvalidInput(msg)
    return risk


#: the decision for a unit below the limit, and for any other
Pair = tuple[Decision, Decision]


class Answers:
    """The answers of one snapshot in a process that announces `runtimes`."""

    __slots__ = ("_refusals", "begun", "lapsed", "limit", "pairs", "snapshot")

    def __init__(self, snapshot: Snapshot, runtimes: frozenset[str]) -> None:
        self.snapshot = snapshot
        self._refusals: dict[tuple[Reason, str], Decision] = {}
        #: the hash of a unit, begun: copy it
        self.begun = assignment.begun(snapshot.point.release_id or "")
        #: the digest below which a unit is the candidate's
        self.limit = assignment.limit(snapshot.point.share_bp)
        held = _held(snapshot, runtimes)
        #: by risk, None for a run that names none: while the lease lasts
        self.pairs = self._by_risk(held)
        #: by risk: after the lease
        self.lapsed = self._by_risk(held or Reason.LAPSED)

    def _by_risk(self, held: Reason | None) -> Mapping[str | None, Pair]:
        pairs: dict[str | None, Pair] = {risk: self._pair(held, risk) for risk in RISKS}
        return {**pairs, None: pairs[self.snapshot.point.terms.risk_default]}

    def _pair(self, held: Reason | None, risk: str) -> Pair:
        if held is None and risk not in self.snapshot.point.terms.eligible_risks:
            held = Reason.RISK
        if held is None and not self.snapshot.headroom:
            held = Reason.CAP
        if held is not None:
            refused = self.refuse(held, risk)
            return refused, refused
        return self._drawn(CANDIDATE, risk), self._drawn(BASELINE, risk)

    def _drawn(self, arm: str, risk: str) -> Decision:
        point = self.snapshot.point
        bundle = self.snapshot.candidate if arm == CANDIDATE else self.snapshot.baseline
        assert bundle is not None  # noqa: S101  `_held` said so
        return Decision(arm, bundle, True, Reason.SPLIT, point.share_bp, point.epoch, point.release_id, risk)

    def refuse(self, reason: Reason, risk: str | None) -> Decision:
        """Return the baseline, for a reason that makes the run ineligible in either arm."""
        point, tier = self.snapshot.point, _tier(self.snapshot.point, risk)
        found = self._refusals.get((reason, tier))
        if found is None:
            release, bundle = point.release_id, self.snapshot.baseline
            found = Decision(BASELINE, bundle, False, reason, point.share_bp, point.epoch, release, tier)
            self._refusals[reason, tier] = found
        return found

    def decide(self, unit: object, risk: str | None, boot_us: int) -> Decision:
        """Decide for one run at a moment of the boot clock; whatever is given, it raises nothing."""
        pairs = self.pairs if boot_us < self.snapshot.lease_deadline_us else self.lapsed
        if not (risk is None or _is_risk(risk)):
            return self.refuse(Reason.RISK, risk)
        drawn, kept = pairs[risk]
        hashed = self.begun.copy()
        hashed.update(assignment.unit_bytes(unit))
        return drawn if hashed.digest() < self.limit else kept


def _held(snapshot: Snapshot, runtimes: frozenset[str]) -> Reason | None:
    """Reason that keeps the candidate from every run until the next switch, if there is one."""
    if snapshot.candidate is None or snapshot.point.share_bp == 0:
        return Reason.NO_RELEASE
    if snapshot.point.killed:
        return Reason.KILLED
    if not snapshot.candidate.runtimes <= runtimes:
        return Reason.RUNTIME
    return None


def _is_risk(risk: object) -> bool:
    return isinstance(risk, str) and risk in RISKS


def _tier(point: ControlPoint, risk: str | None) -> str:
    """The risk that a decision carries: one that nobody knows counts as the highest."""
    if risk is None:
        return point.terms.risk_default
    return risk if _is_risk(risk) else RISKS[-1]
