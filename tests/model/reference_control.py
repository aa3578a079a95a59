"""The half of the reference about control: what a control point, its releases, runs, caps and triggers should be, in plain Python.

Written from the design's words and not from the code: no SQL, no transaction. Every move has a `why_not_...`
that names the error the real one must raise, and a method that makes it.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from lastgood.decision import Reason
from lastgood.errors import (
    InvalidInput,
    InvalidMove,
    LiveRelease,
    NotFound,
    Quarantined,
    StaleDriver,
)
from lastgood.release import Terms
from lastgood.triggers import RateTrigger

HOUR = 3_600_000_000
RUNS, SPEND = "runs_per_hour", "spend_usd_per_hour"
#: bound before any bug is planted
FIRES = RateTrigger.fires


@dataclass
class Release:
    baseline: str
    candidate: str
    live: bool = True
    state: str = "opened"
    fence: str | None = None
    stages: set[str] = field(default_factory=set)


@dataclass
class Served:
    bundle: str
    standing: str
    release: str | None
    since_us: int
    withdrawn_us: int | None = None
    fence: str | None = None


@dataclass
class Action:
    kind: str
    state: str
    at_us: int
    late: bool


@dataclass
class Run:
    id: str
    arm: str
    bundle: str
    release: str | None
    epoch: int
    eligible: bool
    block: int | None
    task_type: str
    at_us: int
    seq: int
    #: what it holds of the spend: start of the hour, dollars, when it comes back
    held: tuple[int, float, int] | None = None
    outcome: dict[str, Any] | None = None
    received_us: int | None = None
    late: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    actions: dict[str, Action] = field(default_factory=dict)
    #: key of an action -> its id
    by_key: dict[str, str] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, Any]:
        """What is known of how it ended: the last word counts."""
        found = dict(self.outcome or {})
        for fields in self.late:
            found.update(fields)
        return found


def bucket(salt: str, unit: str) -> int:
    digest = blake2b((salt + unit).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * 10_000 >> 64


def bad(known: dict[str, Any]) -> dict[str, bool]:
    """What of an outcome a rate trigger counts."""
    gone = known.get("status") == "disconnected"
    return {
        "completion": known.get("completed") is not True and not gone,
        "corrections": bool(known.get("operator_edits")),
    }


@dataclass
class Incident:
    bad: str
    good: str | None
    release: str | None
    at_us: int
    open: bool = True
    cases: int = 0


class Control:
    """One control point and everything under it."""

    def __init__(self, baseline: str, now_us: int) -> None:
        self.now_us, self.boot_us = now_us, 0
        self.baseline, self.standing = baseline, "vouched"
        self.candidate: str | None = None
        self.release: str | None = None
        self.share_bp, self.epoch, self.term, self.lease_seq = 0, 1, 0, 0
        self.lease_boot_us = 0
        self.killed = self.stopped = False
        self.terms = Terms()
        self.ledger = 1
        self.releases: dict[str, Release] = {}
        self.served = [Served(baseline, "vouched", None, now_us)]
        #: bundle -> until when, None: until it is re-admitted
        self.kept_out: dict[str, int | None] = {}
        self.runs: dict[str, Run] = {}
        self.conversations: dict[str, tuple[str, str | None]] = {}
        self.blocks: dict[tuple[str, str], list[int]] = {}
        self.seen: set[tuple[str, str]] = set()
        #: (release, cap, hour) -> [used, reserved]
        self.caps: dict[tuple[str, str, int], list[float]] = {}
        self.counts: dict[tuple[str, str], list[int]] = {}
        self.ripe: dict[str, int] = {}
        self.alarms: set[tuple[str, str]] = set()
        self.refusals = 0
        #: in the order in which they were opened
        self.incidents: list[Incident] = []
        #: releases whose bundle was left, with the epoch at which it was
        self.left: dict[str, int] = {}

    # -- moves

    @property
    def lapsed(self) -> bool:
        return self.boot_us >= self.lease_boot_us

    @property
    def serving(self) -> bool:
        """Whether the candidate may be served to somebody now."""
        return bool(self.candidate and self.share_bp and not self.killed and not self.lapsed)

    def _out(self, bundle: str, *, cooling: bool = True) -> bool:
        if bundle not in self.kept_out:
            return False
        until = self.kept_out[bundle]
        return until is None or (cooling and until > self.now_us)

    def why_not_start(self, candidate: str) -> type[Exception] | None:
        if self.release is not None:
            return LiveRelease
        if self._out(candidate):
            return Quarantined
        return InvalidMove if candidate == self.baseline or self.killed else None

    def start(self, release: str, candidate: str, terms: Terms) -> None:
        self.releases[release] = Release(self.baseline, candidate)
        self.release, self.candidate, self.terms = release, candidate, terms
        self.term += 1
        self.ledger += 1

    def why_not_drive(self, release: str, expect: tuple[int, int] | None) -> type[Exception] | None:
        if not self.releases[release].live:
            return InvalidMove
        return StaleDriver if expect is not None and expect != (self.epoch, self.term) else None

    def why_not_stage(self, release: str, key: str, expect: tuple[int, int]) -> type[Exception] | None:
        """A stage that was entered is a retry, whatever the epoch, but not another driver's."""
        found = self.releases[release]
        if found.live and key in found.stages:
            return StaleDriver if expect[1] != self.term else None
        return self.why_not_drive(release, expect)

    def stage(self, release: str, key: str, state: str, share_bp: int | None, lease_us: int) -> None:
        found = self.releases[release]
        if key in found.stages:
            return
        found.stages.add(key)
        found.state = state
        self.ledger += 1
        if share_bp is not None:
            self.share_bp, self.lease_boot_us = share_bp, self.boot_us + lease_us
            self.epoch += 1
            self.lease_seq += 1

    def renew(self, lease_us: int) -> None:
        if not (self.share_bp > 0 and self.lapsed):
            self.lease_boot_us = self.boot_us + lease_us
        self.lease_seq += 1
        self.ledger += 1

    def take_over(self) -> None:
        self.term += 1
        self.ledger += 1

    def why_not_promote(self, release: str, expect: tuple[int, int] | None) -> type[Exception] | None:
        found = self.releases[release]
        if found.live and self._out(found.candidate):
            return Quarantined
        if found.live and self.killed:
            return InvalidMove
        return self.why_not_drive(release, expect)

    def _let_go(self, state: str) -> None:
        assert self.release is not None
        self.releases[self.release].state, self.releases[self.release].live = state, False
        self.release = self.candidate = None
        self.share_bp = self.lease_boot_us = 0
        self.term += 1
        self.epoch += 1
        self.ledger += 1

    def promote(self, *, proven: bool) -> None:
        assert self.release is not None
        assert self.candidate is not None
        self.baseline, self.standing = self.candidate, "proven" if proven else "vouched"
        release = self.release
        self._let_go("promoted")
        self.served.append(Served(self.baseline, self.standing, release, self.now_us))

    def _fence(self, culprit: str = "") -> str:
        forced = self.killed or culprit in self.terms.triggers.zero_tolerance
        return "abort" if forced else self.terms.on_revert

    def revert(self, *, quarantines: bool, culprit: str = "") -> None:
        release, candidate = self.release, self.candidate
        assert release is not None
        assert candidate is not None
        self.releases[release].fence = self._fence(culprit)
        self._let_go("reverted")
        self.left[release] = self.epoch
        self._keep_out(candidate, quarantines=quarantines)
        self.incidents.append(Incident(candidate, self.baseline, release, self.now_us))

    def _keep_out(self, bundle: str, *, quarantines: bool) -> None:
        if quarantines or self.kept_out.get(bundle, 0) is None:
            self.kept_out[bundle] = None
        else:
            self.kept_out[bundle] = self.now_us + self.terms.cooldown_us

    def newest_other(self) -> str | None:
        good = (s.bundle for s in reversed(self.served) if s.withdrawn_us is None and not self._out(s.bundle))
        return next((bundle for bundle in good if bundle != self.baseline), None)

    def why_not_rollback(self, to: str | None, *, vouched: bool) -> type[Exception] | None:
        if to is not None and to == self.candidate:
            return InvalidMove
        if to is not None and not vouched and all(s.bundle != to for s in self.served):
            return InvalidMove
        if self.release is not None and to in {None, self.baseline}:
            return None
        target = to or self.newest_other()
        if target is None:
            return InvalidMove
        if self._out(target, cooling=False):
            return Quarantined
        return InvalidMove if target == self.baseline else None

    def rollback(self, to: str | None, *, vouched: bool) -> None:
        if self.release is not None:
            self.revert(quarantines=False)
            if to in {None, self.baseline}:
                return
        target = to or self.newest_other()
        assert target is not None
        self.restore(target, vouched=vouched)

    def restore(
        self, target: str, *, vouched: bool = False, quarantines: bool = False, culprit: str = ""
    ) -> None:
        stood = next((s.standing for s in reversed(self.served) if s.bundle == target), "vouched")
        for row in self.served:
            if row.bundle == self.baseline and row.withdrawn_us is None:
                row.withdrawn_us = self.now_us
            if row.bundle == self.baseline and row.withdrawn_us == self.now_us:
                row.fence = self._fence(culprit)
        self._keep_out(self.baseline, quarantines=quarantines)
        self.blame(target)
        self.baseline, self.standing = target, "vouched" if vouched else stood
        self.epoch += 1
        self.ledger += 1
        self.served.append(Served(target, self.standing, None, self.now_us))

    def blame(self, good: str | None) -> None:
        """An incident of the present baseline."""
        release = next(s.release for s in reversed(self.served) if s.bundle == self.baseline)
        self.incidents.append(Incident(self.baseline, good, release, self.now_us))

    def why_not_close(self, incident: Incident, *, reasoned: bool) -> type[Exception] | None:
        if not incident.open:
            return InvalidMove
        return None if reasoned or incident.cases else InvalidInput

    def switch(self, *, killed: bool) -> None:
        if self.killed is not killed:
            self.killed = killed
            self.epoch += 1
            self.ledger += 1

    def stop(self, *, stopped: bool) -> None:
        if self.stopped is not stopped:
            self.stopped = stopped
            self.ledger += 1

    def why_not_readmit(self, bundle: str) -> type[Exception] | None:
        return None if bundle in self.kept_out else NotFound

    def readmit(self, bundle: str) -> None:
        del self.kept_out[bundle]
        self.ledger += 1

    # -- deciding

    def decide(self, unit: str, risk: str | None) -> tuple[str, bool, Reason]:
        """(arm, whether it is evidence, why), caps and conversations apart."""
        if self.candidate is None or self.share_bp == 0:
            return "baseline", False, Reason.NO_RELEASE
        if self.killed:
            return "baseline", False, Reason.KILLED
        if self.lapsed:
            return "baseline", False, Reason.LAPSED
        if (risk or self.terms.risk_default) not in self.terms.eligible_risks:
            return "baseline", False, Reason.RISK
        drawn = bucket(self.release or "", unit) < self.share_bp
        return "candidate" if drawn else "baseline", True, Reason.SPLIT

    # -- caps

    @property
    def hour(self) -> int:
        return self.now_us - self.now_us % HOUR

    def cap(self, release: str, cap: str, hour: int | None = None) -> list[float]:
        return self.caps.setdefault((release, cap, self.hour if hour is None else hour), [0.0, 0.0])

    @property
    def most(self) -> float:
        """Dollars that a run may spend at most."""
        caps = self.terms.caps
        return (caps.spend_usd_per_hour if caps.spend_usd_per_run is None else caps.spend_usd_per_run) or 0.0

    def _claims(self) -> list[tuple[str, float, float]]:
        caps = self.terms.caps
        found: list[tuple[str, float, float]] = []
        if caps.runs_per_hour is not None:
            found.append((RUNS, 1, caps.runs_per_hour))
        if caps.spend_usd_per_hour is not None:
            found.append((SPEND, self.most, caps.spend_usd_per_hour))
        return found

    def _fits(self, cap: str, amount: float, ceiling: float) -> bool:
        assert self.release is not None
        return sum(self.cap(self.release, cap)) + amount <= ceiling

    def headroom(self) -> bool:
        """Whether one more run fits, after reservations whose time is over came back."""
        for claim in self._claims():
            if not self._fits(*claim):
                self._expire()
                if not self._fits(*claim):
                    return False
        return True

    def _expire(self) -> None:
        for run in self.runs.values():
            if run.held and run.release == self.release and run.held[2] <= self.now_us:
                self.cap(run.release or "", SPEND, run.held[0])[1] -= run.held[1]
                run.held = None
