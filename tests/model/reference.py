"""The other half of the reference: runs, actions, outcomes, and what they do to the control point."""

from typing import Any

from reference_control import FIRES, HOUR, SPEND, Action, Control, Release, Run, Served, bad, bucket

from lastgood.decision import Reason
from lastgood.errors import CapReached, InDoubt, InvalidInput, Refused
from lastgood.release import Terms
from lastgood.triggers import RateTrigger

__all__ = ["Reference", "Run", "bucket"]


class Reference(Control):
    """One control point and everything under it."""

    # -- runs

    def assign(
        self, unit: str, risk: str | None, task_type: str, conversation: str | None
    ) -> tuple[str, str, bool, Reason, int | None]:
        """Make the run's effects; return (arm, bundle, eligible, reason, block)."""
        arm, eligible, why = self.decide(unit, risk)
        bundle = self.candidate if arm == "candidate" else self.baseline
        if conversation in self.conversations:
            arm, bundle, why = self._kept(self.conversations[conversation], why)
            eligible = False
        if self.release is not None and (eligible or arm == "candidate") and not self.headroom():
            arm, bundle, eligible, why = "baseline", self.baseline, False, Reason.CAP
        assert bundle is not None
        block = self._block(task_type) if eligible else None
        if eligible and (self.release or "", unit) in self.seen:
            why = Reason.REPEAT
        if eligible:
            self.seen.add((self.release or "", unit))
        if conversation is not None:
            self.conversations[conversation] = (bundle, self.release)
        return arm, bundle, eligible, why, block

    def _kept(self, kept: tuple[str, str | None], why: Reason) -> tuple[str, str, Reason]:
        bundle, release = kept
        if bundle == self.candidate:
            barred = {Reason.NO_RELEASE, Reason.KILLED, Reason.LAPSED, Reason.RISK}
            goes_on = release == self.release and why not in barred
        else:
            good = (s.bundle for s in self.served if s.withdrawn_us is None and not self._out(s.bundle))
            goes_on = bundle == self.baseline or bundle in set(good)
        if not goes_on:
            return "baseline", self.baseline, Reason.CONVERSATION
        return "candidate" if bundle == self.candidate else "baseline", bundle, Reason.CONVERSATION

    def _block(self, task_type: str) -> int:
        key = (self.release or "", self.terms.stratum(task_type))
        block = self.blocks.get(key)
        if block is None:
            block = self.blocks[key] = [0, 0, self.epoch, self.now_us]
        old = block[3] <= self.now_us - self.terms.block_time_us
        if block[1] >= self.terms.block_size or block[2] != self.epoch or old:
            block[:] = [block[0] + 1, 0, self.epoch, self.now_us]
        block[1] += 1
        return block[0]

    def began(self, run: Run) -> None:
        self.runs[run.id] = run
        if run.arm == "candidate" and run.release is not None:
            for cap, amount, _ in self._claims():
                if cap == SPEND:
                    self.cap(run.release, cap)[1] += amount
                    run.held = (self.hour, amount, self.now_us + self.terms.lost_after_us)
                else:
                    self.cap(run.release, cap)[0] += amount

    # -- actions

    def _left(self, run: Run) -> Served | Release | None:
        """What left the run's bundle after the run began."""
        release = self.releases.get(run.release or "")
        if run.arm == "candidate" and release is not None and release.state == "reverted":
            return release
        gone = (s for s in reversed(self.served) if s.bundle == run.bundle and s.withdrawn_us is not None)
        return next((s for s in gone if s.withdrawn_us is not None and s.withdrawn_us >= run.at_us), None)

    def is_late(self, run: Run) -> bool:
        return self._left(run) is not None

    def why_not_act(
        self, run: Run, kind: str, key: str | None, *, idempotent: bool = False
    ) -> type[Exception] | None:
        known = run.actions.get(run.by_key.get(key or "", ""))
        if known is not None and known.kind != kind:
            return InvalidInput
        if known is not None and known.state == "done":
            return None
        begun = known if known is not None and known.state == "reserved" else None
        if begun is not None and not idempotent:
            return InDoubt
        left = self._left(run)
        candidate = run.arm == "candidate" and run.release is not None
        if self.stopped or (candidate and self.killed and (left is not None or self.release == run.release)):
            return Refused
        if left is not None and left.fence != "finish":
            return Refused
        return CapReached if candidate and not self._room(run, kind, begun) else None

    def _counted(self, begun: Action | None) -> bool:
        """Whether one that was begun took its place in the present hour."""
        return begun is not None and begun.at_us >= self.hour

    def _room(self, run: Run, kind: str, begun: Action | None) -> bool:
        taken = sum(1 for a in run.actions.values() if a.kind == kind and a.state != "failed")
        if begun is None and taken >= dict(self.terms.caps.actions_per_run).get(kind, 1e9):
            return False
        if self._counted(begun):
            return True
        hourly = dict(self.terms.caps.actions_per_hour).get(kind)
        return hourly is None or sum(self.cap(run.release or "", f"action:{kind}")) + 1 <= hourly

    def reserved(self, run: Run, kind: str, action_id: str, key: str | None) -> None:
        before = run.actions.get(action_id)
        counted = before is not None and before.state == "reserved" and self._counted(before)
        run.actions[action_id] = Action(kind, "reserved", self.now_us, self.is_late(run))
        if key is not None:
            run.by_key[key] = action_id
        hourly = dict(self.terms.caps.actions_per_hour).get(kind)
        if run.arm == "candidate" and run.release is not None and hourly is not None and not counted:
            self.cap(run.release, f"action:{kind}")[0] += 1

    def settled(self, run: Run, action_id: str, state: str) -> None:
        action = run.actions[action_id]
        action.state = state
        if state == "failed" and run.arm == "candidate" and run.release is not None:
            key = (run.release, f"action:{action.kind}", action.at_us - action.at_us % HOUR)
            if key in self.caps:
                self.caps[key][0] -= 1

    # -- outcomes

    def ended(self, runs: list[Run], outcomes: list[dict[str, Any]]) -> None:
        """Take outcomes of runs that had none: settle what they reserved, then judge, as one move."""
        for run, outcome in zip(runs, outcomes, strict=True):
            run.outcome, run.received_us = outcome, self.now_us
        watch = self.served[-1].release is not None
        terms, point = self.terms, (self.release, self.baseline, self.served[-1])
        excess = [run for run in runs if self._settle(run)]
        if excess and any(run.release == self.release for run in excess) and self.release is not None:
            self.revert(quarantines=True, culprit="overspend")
        charged: dict[tuple[str, bool], list[Run]] = {}
        for run in runs:
            if run.arm != "candidate" and not watch:
                continue
            if (release := self._charged(run, point)) is not None:
                charged.setdefault(release, []).append(run)
        for charge, members in charged.items():
            for rate in terms.triggers.rates:
                steps = (
                    self._lost(charge, terms)
                    if rate.metric == "lost"
                    else [int(bad(run.known)[rate.metric]) for run in members]
                )
                self._count(charge, point, rate, steps, runs=1)

    def _settle(self, run: Run) -> bool:
        """Replace what a candidate run reserved by what it spent; say whether that is above a ceiling."""
        if run.arm != "candidate" or run.release is None:
            return False
        cost = run.known.get("cost_usd")
        spent = self.most if cost is None else cost
        hour, amount, _ = run.held or (self.hour, 0.0, 0)
        sums = self.cap(run.release, SPEND, hour)
        sums[0] += spent
        sums[1] -= amount
        run.held = None
        return self._excess(spent, sums)

    def _excess(self, spent: float, sums: list[float]) -> bool:
        caps = self.terms.caps
        above = caps.spend_usd_per_run is not None and spent > caps.spend_usd_per_run
        return above or (caps.spend_usd_per_hour is not None and sums[0] > caps.spend_usd_per_hour + 1e-9)

    def _charged(self, run: Run, point: tuple[str | None, str, Served]) -> tuple[str, bool] | None:
        """The release that answers for a run, and whether it is live (else: it made the baseline)."""
        release, baseline, tail = point
        if run.arm == "candidate" and run.release is not None and run.release == release:
            return release, True
        if tail.release is None or run.bundle != baseline:
            return None
        return tail.release, False

    def _lost(self, charge: tuple[str, bool], terms: Terms) -> list[int]:
        release, live = charge
        if not live:
            return []
        limit = terms.lost_after_us
        ripe = [
            run
            for run in self.runs.values()
            if run.release == release
            and run.arm == "candidate"
            and run.seq > self.ripe.get(release, 0)
            and run.at_us <= self.now_us - limit
        ]
        if ripe:
            self.ripe[release] = ripe[-1].seq
        return [int(run.received_us is None or run.received_us > run.at_us + limit) for run in ripe]

    def _count(
        self,
        charge: tuple[str, bool],
        point: tuple[str | None, str, Served],
        rate: RateTrigger,
        steps: list[int],
        *,
        runs: int,
    ) -> None:
        counts = self.counts.setdefault((charge[0], rate.metric), [0, 0])
        fired = False
        for step in steps:
            counts[0] += runs
            counts[1] += step
            fired = fired or (step > 0 and FIRES(rate, *counts))
        if fired:
            self.fire(charge, point, rate.metric)

    def fire(self, charge: tuple[str, bool], point: tuple[str | None, str, Served], culprit: str) -> None:
        release, live = charge
        if live:
            if self.release == release:
                self.revert(quarantines=True, culprit=culprit)
            return
        if self.baseline != point[1]:
            return
        watched = self.now_us < point[2].since_us + self.terms.watch_us
        other = self.newest_other()
        if (watched or self.terms.after_watch == "revert") and other is not None:
            if self.release is not None:
                self.revert(quarantines=False, culprit=culprit)
            self.restore(other, quarantines=True, culprit=culprit)
        elif (release, culprit) not in self.alarms:
            self.alarms.add((release, culprit))
            self.blame(other)
            self.ledger += 1

    def event(self, run: Run, name: str) -> None:
        point = (self.release, self.baseline, self.served[-1])
        charge = self._charged(run, point)
        if name in self.terms.triggers.zero_tolerance and charge is not None:
            self.fire(charge, point, name)

    def reported_late(self, run: Run, fields: dict[str, Any], key: str | None) -> None:
        if key is not None and key in run.keys:
            return
        if key is not None:
            run.keys.add(key)
        before = run.known
        run.late.append(fields)
        if run.outcome is None:
            return
        point, terms = (self.release, self.baseline, self.served[-1]), self.terms
        if run.arm == "candidate" and run.release is not None and run.known.get("cost_usd") is not None:
            was = before.get("cost_usd")
            more = run.known["cost_usd"] - (self.most if was is None else was)
            if more > 0:
                sums = self.cap(run.release, SPEND)
                sums[0] += more
                if self._excess(run.known["cost_usd"], sums) and run.release == self.release:
                    self.revert(quarantines=True, culprit="overspend")
        charge = self._charged(run, point)
        if charge is None:
            return
        was, now = bad(before), bad(run.known)
        for rate in terms.triggers.rates:
            if rate.metric != "lost" and was[rate.metric] != now[rate.metric]:
                self._count(charge, point, rate, [now[rate.metric] - was[rate.metric]], runs=0)
