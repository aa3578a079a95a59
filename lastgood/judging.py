"""Judging: the triggers of a release, in the transaction that records what a run reported.

A run is charged to the live release whose candidate it ran, or, after a promotion, to the release that made
its bundle the baseline. The first is reverted; the second puts the newest other last known good bundle back
while the watch lasts, and later does what the policy says. Nobody else is asked, and nothing is waited for.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from lastgood import incidents, points, releasing, restoring
from lastgood.decision import CANDIDATE
from lastgood.errors import InvalidMove
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint
from lastgood.outcome import Outcome
from lastgood.plural import counted
from lastgood.releasing import Ending
from lastgood.reserving import most_usd
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction
from lastgood.tallies import Origin
from lastgood.triggers import LOST, RateTrigger, RepeatTrigger, SpendTrigger, bad_outcomes, is_lost

log = logging.getLogger("lastgood")
#: name of the spend test's state, and culprit of its revert
SPEND = "cost"
REPEATED = "repeated_failure"
OVERSPEND = "overspend"
#: runs that are looked at for being lost in one transaction at most
_RIPE = 1_000


@dataclass(frozen=True, slots=True)
class Charge:
    """The release that a run's bundle answers for."""

    release_id: str
    bundle_id: str
    #: microseconds UTC: since when the bundle is the baseline by it; 0 for a live candidate
    since_us: int
    #: None for a live candidate; after a promotion whether a trigger puts another bundle back by itself
    restores: bool | None = None


class Undurable(Exception):
    """A trigger fires in a transaction that would not wait for the disk: it has to be made anew."""


@dataclass(frozen=True, slots=True)
class Court:
    """A control point as the reports of one transaction find it."""

    point: ControlPoint
    #: the newest row of who became the baseline
    tail: Row | None
    #: whether the transaction waits for the disk, as a move of control has to
    durable: bool

    @classmethod
    def of(cls, txn: Transaction, point: ControlPoint, *, durable: bool = True) -> "Court":
        """Read what is needed beside the point."""
        tail = txn.one(sql.SERVED_TAIL, agent=point.agent, environment=point.environment)
        return cls(point, tail, durable)

    @property
    def watches_baseline(self) -> bool:
        """Whether any run of the baseline is charged to a release: it became the baseline by one."""
        return self.tail is not None and self.tail["release_id"] is not None

    def charge(self, origin: Origin, now_us: int) -> Charge | None:
        """Return the release that a run is charged to; None where no trigger watches it."""
        point, tail = self.point, self.tail
        if (
            origin.arm == CANDIDATE
            and origin.release_id is not None
            and origin.release_id == point.release_id
        ):
            return Charge(origin.release_id, origin.bundle_id, 0)
        if tail is None or tail["release_id"] is None or origin.bundle_id != point.baseline:
            return None
        watched = now_us < tail["since_us"] + point.terms.watch_us
        restores = watched or point.terms.after_watch == "revert"
        return Charge(tail["release_id"], origin.bundle_id, tail["since_us"], restores)


def judge(txn: Transaction, court: Court, ended: Sequence[tuple[Origin, Outcome]]) -> None:
    """Judge new outcomes, in the order given, by every trigger of the terms."""
    charged: dict[Charge, list[Outcome]] = {}
    for origin, outcome in ended:
        if (charge := court.charge(origin, txn.now_us)) is not None:
            charged.setdefault(charge, []).append(outcome)
    for charge, outcomes in charged.items():
        triggers = court.point.terms.triggers
        bad = [bad_outcomes(outcome) for outcome in outcomes]
        for rate in triggers.rates:
            if rate.metric == LOST:
                _count(txn, court, charge, rate, _newly_lost(txn, court, charge), runs=1)
            else:
                _count(txn, court, charge, rate, [int(found[rate.metric]) for found in bad], runs=1)
        if triggers.spend is not None:
            _weigh(txn, court, charge, triggers.spend, [(None, outcome) for outcome in outcomes])
        if triggers.repeats is not None and any(outcome.error for outcome in outcomes):
            _find_repeats(txn, court, charge, triggers.repeats)


def rejudge(txn: Transaction, court: Court, origin: Origin, before: Outcome, after: Outcome) -> None:
    """Judge what a late report changed about a run that was judged before."""
    charge = court.charge(origin, txn.now_us)
    if charge is None:
        return
    was, now = bad_outcomes(before), bad_outcomes(after)
    for rate in court.point.terms.triggers.rates:
        if rate.metric != LOST and now[rate.metric] != was[rate.metric]:
            _count(txn, court, charge, rate, [now[rate.metric] - was[rate.metric]], runs=0)
    spend = court.point.terms.triggers.spend
    if spend is not None and before.cost_usd != after.cost_usd:
        _weigh(txn, court, charge, spend, [(before, after)])


def _count(
    txn: Transaction, court: Court, charge: Charge, trigger: RateTrigger, steps: Sequence[int], *, runs: int
) -> None:
    """Count what each report adds to the bad runs, and `runs` to all; fire where it crosses the line."""
    if not steps:
        return
    values = {"release_id": charge.release_id, "metric": trigger.metric}
    after = txn.one(sql.ADD_TRIGGER_COUNT, **values, n=runs * len(steps), bad=sum(steps))
    assert after is not None  # noqa: S101  the statement returns the row
    n, bad = after["n"] - runs * len(steps), after["bad"] - sum(steps)
    for step in steps:
        n, bad = n + runs, bad + step
        if step > 0 and trigger.fires(n, bad):  # a good run never proves a rate too high
            said = f"{trigger.metric}: {bad} bad of {counted(n, 'run')}, limit {trigger.limit:g}"
            fire(txn, court, charge, trigger.metric, said)
            return


def _newly_lost(txn: Transaction, court: Court, charge: Charge) -> list[int]:
    """Whether each candidate run was lost, of those whose time ran out meanwhile; each is seen once."""
    if charge.restores is not None:
        return []  # of the baseline it is the evidence's and the watch's to see
    key, lost_after_us = {"release_id": charge.release_id, "name": LOST}, court.point.terms.lost_after_us
    row = txn.one(sql.TRIGGER_STATE, **key)
    runs = txn.all(
        sql.RIPE_RUNS,
        release_id=charge.release_id,
        after=json.loads(row["state"]) if row else 0,
        before_us=txn.now_us - lost_after_us,
        most=_RIPE,
    )
    if runs:
        txn.run(sql.SET_TRIGGER_STATE, **key, state=json.dumps(runs[-1]["seq"]))
    return [int(is_lost(run["assigned_us"], run["received_us"], lost_after_us)) for run in runs]


def _weigh(
    txn: Transaction,
    court: Court,
    charge: Charge,
    trigger: SpendTrigger,
    runs: Sequence[tuple[Outcome | None, Outcome]],
) -> None:
    """Take the costs of runs into the spend test, by what was known of each before and is known now."""
    key = {"release_id": charge.release_id, "name": SPEND}
    row = txn.one(sql.TRIGGER_STATE, **key)
    wealth = json.loads(row["state"]) if row else [0.0] * len(trigger.log_factors(0.0))
    fired = False
    for before, after in runs:
        gained = trigger.log_factors(_cost(court.point, after))
        lost = trigger.log_factors(_cost(court.point, before)) if before else [0.0] * len(gained)
        wealth = [w + g - old for w, g, old in zip(wealth, gained, lost, strict=True)]
        fired = fired or trigger.fires(wealth)
    txn.run(sql.SET_TRIGGER_STATE, **key, state=json.dumps(wealth))
    if fired:
        said = f"the mean cost of a run is proven above ${trigger.limit_usd:g}"
        fire(txn, court, charge, SPEND, said)


def _cost(point: ControlPoint, outcome: Outcome) -> float:
    """US dollars of a run; one that does not say counts with the most that it may spend."""
    return most_usd(point.terms.caps) if outcome.cost_usd is None else outcome.cost_usd


def _find_repeats(txn: Transaction, court: Court, charge: Charge, trigger: RepeatTrigger) -> None:
    key = {"agent": court.point.agent, "environment": court.point.environment, "bundle_id": charge.bundle_id}
    # what the bundle did in an earlier release was judged there
    since_us = charge.since_us or releasing.read(txn, charge.release_id)["started_us"]
    rows = txn.all(sql.RECENT_ERRORS, **key, since_us=since_us, most=trigger.of)
    error = trigger.fires([None if row["infra_failure"] else row["error"] for row in rows])
    if error is None:
        return
    first = min(row["seq"] for row in rows if row["error"] == error)
    if txn.one(sql.SAME_ERROR_ELSEWHERE, **key, seq=first, error=error) is not None:
        return  # another bundle fails the same way: not this bundle's doing
    said = f"{error} ended {trigger.times} of the newest {trigger.of} runs, and none of another bundle"
    fire(txn, court, charge, REPEATED, said)


def overspent(txn: Transaction, court: Court, release_id: str, said: str) -> None:
    """Fire for a settlement above what was reserved, while its release is live."""
    if release_id == court.point.release_id:
        fire(txn, court, Charge(release_id, "", 0), OVERSPEND, said)


def fire(txn: Transaction, court: Court, charge: Charge, culprit: str, said: str) -> None:
    """Act on a trigger: revert the live release, restore after a promotion, or tell people.

    Does nothing where the control point has left the bundle already.
    """
    if not court.durable:
        raise Undurable
    now = points.read(txn, court.point.agent, court.point.environment)
    if charge.restores is None:
        if now.release_id == charge.release_id:
            releasing.revert_in(txn, now, Ending("trigger", said, by="trigger", culprits=(culprit,)))
        return
    if now.baseline != charge.bundle_id:
        return
    if not charge.restores or not _restored(txn, now, charge, culprit, said):
        _alarm(txn, now, charge, culprit, said)


def _restored(txn: Transaction, point: ControlPoint, charge: Charge, culprit: str, said: str) -> bool:
    """Put the newest other last known good bundle back; False where there is none."""
    try:
        target = restoring.newest_other(txn, point)
    except InvalidMove as error:
        log.error("the trigger %s can't put another bundle back: %s", culprit, error)  # noqa: TRY400  one line is enough
        return False
    if point.release_id is not None:
        ending = Ending("trigger", f"its baseline is left: {said}", by="baseline", culprits=(culprit,))
        point = releasing.revert_in(txn, point, ending)
    fence = releasing.fence_of(point, (culprit,))
    entry = Entry("rollback", "trigger", said, charge.release_id)
    restoring.restore(txn, point, target, entry, quarantines=True, fence=fence, culprits=(culprit,))
    return True


def _other(txn: Transaction, point: ControlPoint) -> str | None:
    """The bundle that could serve instead, None where there is none."""
    try:
        return restoring.newest_other(txn, point)
    except InvalidMove:
        return None


def _alarm(txn: Transaction, point: ControlPoint, charge: Charge, culprit: str, said: str) -> None:
    """Write into the ledger that a person is needed, and open an incident, once a release and culprit."""
    key = f"alarm:{culprit}"
    if txn.one(sql.STAGE, release_id=charge.release_id, key=key) is not None:
        return
    detail = json.dumps({"culprit": culprit, "reason": said})
    stage = {
        "release_id": charge.release_id,
        "key": key,
        "at_us": txn.now_us,
        "epoch": point.epoch,
        "detail": detail,
    }
    txn.insert("stage", stage)
    entry = Entry("alarm", "trigger", said, charge.release_id)
    points.move(txn, point, point, entry)
    good = _other(txn, point)
    incidents.open_in(
        txn, restoring.opening(txn, point, good, entry, by=incidents.ALARM, culprits=(culprit,))
    )
    log.error("%s needs a person: %s", point.name, said)


__all__ = ["Charge", "Court", "Undurable", "fire", "judge", "overspent", "rejudge"]
