"""The router: who serves the next run, from a snapshot in memory.

`route` does no I/O. The order of its checks is the order of `Reason`; a run is eligible, in either arm,
only if the candidate could have been served at its decision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lastgood import assignment
from lastgood.bundle import Bundle
from lastgood.clock import Clock
from lastgood.errors import InvalidInput
from lastgood.moves import ControlPoint
from lastgood.release import RISKS


class Reason(StrEnum):
    """Why a run got its bundle."""

    NO_RELEASE = "no_release"  #: no candidate is being served
    KILLED = "killed"  #: the kill switch is on
    LAPSED = "lapsed"  #: nobody renewed the lease
    RISK = "risk"  #: the run's risk is above what the policy sends to a candidate
    RUNTIME = "runtime"  #: this process does not announce the runtime that the candidate needs
    CAP = "cap"  #: a ceiling leaves no headroom
    CONVERSATION = "conversation"  #: a conversation keeps the bundle of its first turn
    STORE = "store"  #: the assignment could not be written
    SPLIT = "split"  #: eligible: the hash drew the arm
    REPEAT = "repeat"  #: the same, of a unit that has had an eligible run in this release


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


def risk_of(point: ControlPoint, risk: str | None) -> str:
    """Return the run's risk tier, the policy's default where it names none."""
    if risk is None:
        return point.terms.risk_default
    if risk not in RISKS:
        msg = f"risk {risk!r} of a run of {point.agent} is unknown; use one of {', '.join(RISKS)}"
        raise InvalidInput(msg)
    return risk


class Router:
    """Routes the runs of one agent in one environment."""

    __slots__ = ("_clock", "_now", "_runtimes")

    def __init__(self, snapshot: Snapshot, clock: Clock, runtimes: frozenset[str] = frozenset()) -> None:
        self._clock = clock
        self._runtimes = runtimes
        self.update(snapshot)

    def update(self, snapshot: Snapshot) -> None:
        """Route by a newer snapshot from here on."""
        bucket: Callable[[str], int] = assignment.bucketer(snapshot.point.release_id or "")
        # one assignment: a thread that routes meanwhile sees the old state or the new one, never a mixture
        self._now = (snapshot, bucket, self._standing_reason(snapshot))

    @property
    def snapshot(self) -> Snapshot:
        """What it routes by now."""
        return self._now[0]

    def _standing_reason(self, snapshot: Snapshot) -> Reason | None:
        """Reason that keeps the candidate from every run until the next switch, if there is one."""
        if snapshot.candidate is None or snapshot.point.share_bp == 0:
            return Reason.NO_RELEASE
        if snapshot.point.killed:
            return Reason.KILLED
        if not snapshot.candidate.runtimes <= self._runtimes:
            return Reason.RUNTIME
        return None

    def route(self, unit: str, risk: str | None = None) -> Decision:
        """Decide for one run; microseconds, no I/O."""
        snapshot, bucket, held = self._now
        point = snapshot.point
        tier = risk_of(point, risk)
        if held is not None:
            return _refused(snapshot, held, tier)
        if self._clock.boot_us() >= snapshot.lease_deadline_us:
            return _refused(snapshot, Reason.LAPSED, tier)
        if tier not in point.terms.eligible_risks:
            return _refused(snapshot, Reason.RISK, tier)
        drawn = bucket(unit) < point.share_bp
        bundle = snapshot.candidate if drawn else snapshot.baseline
        assert bundle is not None  # noqa: S101  `held` said so
        arm = CANDIDATE if drawn else BASELINE
        return Decision(arm, bundle, True, Reason.SPLIT, point.share_bp, point.epoch, point.release_id, tier)

    def refuse(self, reason: Reason, risk: str) -> Decision:
        """Return the baseline, for a reason that makes the run ineligible in either arm."""
        return _refused(self.snapshot, reason, risk)


def _refused(snapshot: Snapshot, reason: Reason, risk: str) -> Decision:
    point = snapshot.point
    return Decision(
        BASELINE, snapshot.baseline, False, reason, point.share_bp, point.epoch, point.release_id, risk
    )
