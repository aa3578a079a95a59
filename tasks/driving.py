"""Driving: one release taken from where it stands to its next stage, by exactly one driver.

A driver holds a term: a takeover raises it, and from then on the old driver's commits are refused. Nothing
is kept between two calls, so whoever comes next goes on where the tables say the release stands.
"""

import logging
import time
from dataclasses import dataclass
from enum import StrEnum

from evaluators.stages import LOOKING, Asked, Move, Standing, Transition, next_transition
from lastgood import approving, points, releasing
from lastgood.errors import InvalidMove, StaleDriver, StoreError
from lastgood.moves import ControlPoint
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store
from tasks import ages, beats, comparison, limits, outside, referee, traffic
from tasks.comparison import Frozen, Look

log = logging.getLogger("lastgood")
#: seconds between two glances at the control point while a driver waits for its next look
_GLANCE_S = 1.0
#: seconds that a referee may judge before the look of a release that nobody drives
_JUDGING_S = 10.0
#: looks that a lease outlives without being renewed: fewer, and a late one would cost the candidate its share
KEPT = 3
#: intervals of the schedule after which it is held for dead
LATE = 3


@dataclass(frozen=True, slots=True)
class Driver:
    """Who drives a release, and since which takeover."""

    release_id: str
    #: shown to people: a flow run, a command
    name: str
    term: int


class StageName(StrEnum):
    """The stages that people see."""

    CANARY = "canary"  #: set the share
    CAP = "cap"  #: verify that the ceilings are armed
    COMPARE = "compare"  #: look until the gate
    PROMOTE = "promote"
    REVERT = "revert"
    AWAITING = "awaiting"  #: a person has to approve what comes next; looks go on
    ASKING = "asking"  #: undecided at the horizon: a person decides, and nobody needs to drive
    HANDED = "handed"  #: the schedule goes on
    ENDED = "ended"


_STAGES = {
    Move.OPEN: StageName.CANARY,
    Move.RAMP: StageName.CANARY,
    Move.REOPEN: StageName.CANARY,
    Move.ARM: StageName.CAP,
    Move.PROMOTE: StageName.PROMOTE,
    Move.REVERT: StageName.REVERT,
    Move.AWAIT: StageName.AWAITING,
}

#: the stage of a release that only waits, by its state
_WAITING = {
    ReleaseState.OPENED: StageName.AWAITING,
    ReleaseState.AWAITING: StageName.AWAITING,
    ReleaseState.ASKING: StageName.ASKING,
}


#: moves that need the ceilings armed: the candidate is served more after them
_ARMED = frozenset({Move.OPEN, Move.ARM, Move.RAMP, Move.REOPEN})


@dataclass(frozen=True, slots=True)
class Due:
    """What a release is due next, decided and not yet done."""

    stage: StageName
    #: None where it has ended
    transition: Transition | None
    #: the control point that the decision rests on
    expect: Expect | None
    #: the look that it rests on, where one was made
    look: Look | None = None
    #: microseconds that the policy leaves between two looks
    interval_us: int = 0

    @property
    def label(self) -> str:
        """Name of the stage and the share it is about, for people."""
        share = (
            f" {self.transition.share_bp / 100:g}%" if self.transition and self.transition.share_bp else ""
        )
        return f"{self.stage}{share}"

    @property
    def waits(self) -> bool:
        """Whether there is nothing to do until the next look."""
        return self.transition is not None and self.transition.move is Move.HOLD


ENDED = Due(StageName.ENDED, None, None)


def begin(store: Store, release_id: str, name: str, reason: str = "a driver begins") -> Driver:
    """Take a live release over; raises `InvalidMove` for one that ended, `NotFound`."""
    point = releasing.take_over(store, release_id, driver=name, reason=reason)
    return Driver(release_id, name, point.driver_term)


def read(store: Store, release_id: str) -> tuple[Row, ControlPoint]:
    """Return a release's row and its control point."""
    with store.reading() as txn:
        row = releasing.read(txn, release_id)
        return row, points.read(txn, row["agent"], row["environment"])


def due(store: Store, driver: Driver) -> Due:
    """Decide what comes next, looking at the evidence where the stage looks; nothing is moved.

    Raises `StaleDriver` when another driver took over. A look that fails proves nothing: it is logged, and
    the lease is not renewed, so that the baseline serves again if it goes on failing.
    """
    row, point = read(store, driver.release_id)
    if row["ended_us"] is not None:
        return ENDED
    if point.driver_term != driver.term:
        raise _taken_over(row, driver)
    rules = Frozen.of(row).rules
    looking = ReleaseState(row["state"]) in LOOKING and not _is_at_start(row, point)
    made = _look(store, row) if looking else None
    transition = next_transition(_standing(store, row, point, made), made.verdict if made else None, rules)
    stage = _STAGES.get(transition.move, StageName.COMPARE)
    if transition.move is Move.HOLD:
        stage = _WAITING.get(transition.to, stage)
    return Due(stage, transition, Expect(point.epoch, driver.term), made, rules.look_interval_us)


def act(store: Store, driver: Driver, what: Due) -> None:
    """Make the move that is due; raises `StaleDriver` when another driver took over meanwhile.

    Where a trigger or a person moved the control point since the decision nothing is done: it is void.
    """
    if what.transition is None or what.expect is None:
        return
    waits_to_open = what.stage is StageName.AWAITING and not what.transition.share_bp
    if what.waits and what.look is None and not waits_to_open:
        return  # the look failed: the lease runs out by itself
    if what.transition.move in _ARMED:
        limits.verify(store, driver.release_id)
    try:
        traffic.carry_out(
            store,
            driver.release_id,
            what.transition,
            lease_us=lease_us(store, driver.release_id),
            driver=driver.name,
            expect=what.expect,
        )
    except (StaleDriver, InvalidMove) as error:
        row, point = read(store, driver.release_id)
        if row["ended_us"] is None and point.driver_term != driver.term:
            raise _taken_over(row, driver) from error
        if row["ended_us"] is None and point.epoch == what.expect.epoch:
            raise  # nobody moved it: the move itself is not allowed
        log.info("%s: decided anew, since %s", driver.release_id, error)


def _taken_over(row: Row, driver: Driver) -> StaleDriver:
    return StaleDriver(f"{row['id']} was taken over by {row['driver']}; {driver.name} stops driving it")


def rest(store: Store, driver: Driver, what: Due) -> None:
    """Wait for the next look; ends early where a trigger, a person or another driver moved the release."""
    until = time.monotonic() + what.interval_us / 1_000_000
    referee.work_quietly(store, driver.release_id, seconds=what.interval_us / 2_000_000)
    outside.work_quietly(store, driver.release_id, seconds=what.interval_us / 2_000_000)
    while (left := until - time.monotonic()) > 0:
        _, point = read(store, driver.release_id)
        if Expect.of(point) != what.expect:
            return
        time.sleep(min(left, _GLANCE_S))


def evaluate(store: Store, release_id: str, name: str, every_us: int = 0) -> tuple[Driver, Due] | None:
    """Take a release over whose driver is gone and bring it up to date; None where nothing is due of it.

    That is while another drives it, and between two looks of the policy. Stage follows stage until there is
    nothing to do but wait, so a backlog is caught up without a jump. `every_us` is when the caller comes
    again, microseconds: a lease that outlives several of those is left as it is.
    """
    row, point = read(store, release_id)
    if row["ended_us"] is not None:
        return None
    silent_us = store.clock.now_us() - row["driver_seen_us"]
    mine = row["driver"] == name
    if not mine and is_driven(store, row):
        return None
    if mine and _rests(store, row, point, silent_us, every_us):
        return None
    try:
        # its own term goes on: what a takeover keeps out is another driver
        again = Driver(release_id, name, point.driver_term)
        driver = again if mine else begin(store, release_id, name, _why(row, silent_us))
        referee.work_quietly(store, release_id, seconds=_JUDGING_S)
        outside.work_quietly(store, release_id, seconds=_JUDGING_S)
        return driver, _caught_up(store, driver, every_us)
    except (StaleDriver, InvalidMove) as error:
        ended = read(store, release_id)[0]["ended_us"] is not None
        if isinstance(error, InvalidMove) and not ended:
            raise
        log.info("%s: %s", release_id, error)
        return None


def is_driven(store: Store, row: Row) -> bool:
    """Whether a release has a driver that gave a sign of life within the policy's driver timeout."""
    silent_us = store.clock.now_us() - row["driver_seen_us"]
    return bool(row["driver"]) and silent_us < Frozen.of(row).policy.driver_timeout


def lease_us(store: Store, release_id: str) -> int:
    """Return how long a release's candidate may be served without a look, microseconds."""
    return Frozen.of(read(store, release_id)[0]).policy.lease


def _caught_up(store: Store, driver: Driver, every_us: int) -> Due:
    what = due(store, driver)
    while what.stage is not StageName.ENDED and not what.waits:
        act(store, driver, what)
        what = due(store, driver)
    if what.stage is StageName.ENDED or not _outlasts(store, driver.release_id, what, every_us):
        act(store, driver, what)
    return what


def _rests(store: Store, row: Row, point: ControlPoint, silent_us: int, every_us: int) -> bool:
    """Whether the policy's time between two looks has not passed, and the lease outlives the next glance."""
    early = silent_us + every_us // 2 < Frozen.of(row).rules.look_interval_us
    serving = ReleaseState(row["state"]) is ReleaseState.COMPARE and point.share_bp > 0
    return bool(every_us) and early and serving and _lease_left_us(store, point) > 2 * every_us


def _outlasts(store: Store, release_id: str, what: Due, every_us: int) -> bool:
    """Whether the lease lives long enough without a renewal: the next looks may still come late."""
    _, point = read(store, release_id)
    return bool(every_us) and _lease_left_us(store, point) > KEPT * max(every_us, what.interval_us)


def _lease_left_us(store: Store, point: ControlPoint) -> int:
    clock = store.clock
    return point.lease.left_us(now_us=clock.now_us(), boot_id=clock.boot_id, boot_us=clock.boot_us())


def may_hand_over(store: Store, driver: Driver, every_us: int) -> bool:
    """Whether the schedule, which looks every `every_us`, is at work and can keep the release's lease."""
    silent_us = beats.silent_us(store)
    alive = silent_us is not None and silent_us < LATE * every_us
    return alive and lease_us(store, driver.release_id) > 2 * every_us


def hand_over(store: Store, driver: Driver, reason: str) -> None:
    """Leave a release to the schedule; raises `StaleDriver` where another driver took over."""
    row, point = read(store, driver.release_id)
    if row["ended_us"] is None and point.driver_term != driver.term:
        raise _taken_over(row, driver)
    expect = Expect(point.epoch, driver.term)
    releasing.take_over(store, driver.release_id, driver=beats.SCHEDULE, reason=reason, expect=expect)


def _why(row: Row, silent_us: int) -> str:
    return (
        f"{row['driver']} was silent for {silent_us / 1e6:.0f} s" if row["driver"] else "nobody drives it yet"
    )


def live_releases(store: Store) -> list[str]:
    """Return the ids of all live releases, oldest first."""
    with store.reading() as txn:
        return [row["id"] for row in txn.all(sql.LIVE_RELEASES)]


def _look(store: Store, row: Row) -> Look | None:
    try:
        made = comparison.look(store, row)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001  whatever breaks an evaluator, the release holds and time goes on
        log.error("the look at %s failed and proves nothing: %r", row["id"], error)  # noqa: TRY400  one line is enough
        return None
    _mark_validity(store, row, valid=made.verdict.valid)
    return made


def _mark_validity(store: Store, row: Row, *, valid: bool) -> None:
    if valid != (row["invalid_since_us"] is None):
        with store.transaction(at=(row["agent"], row["environment"])) as txn:
            txn.run(sql.INVALID_SINCE, id=row["id"], since_us=None if valid else txn.now_us)


def _standing(store: Store, row: Row, point: ControlPoint, made: Look | None) -> Standing:
    now_us = store.clock.now_us()
    step = Frozen.of(row).rules.steps[row["step"]]
    invalid = row["invalid_since_us"]
    return Standing(
        state=ReleaseState(row["state"]),
        step=row["step"],
        share_bp=point.share_bp,
        age_us=now_us - row["started_us"],
        step_age_us=ages.step_age_us(store, row),
        step_runs=made.runs_by_share.get(step.share_bp, 0) if made else 0,
        lease_left_us=_lease_left_us(store, point),
        invalid_us=None if invalid is None else now_us - invalid,
        killed=point.killed,
        asked=_asked(store, row, now_us),
        frozen=Frozen.of(row).policy.frozen(now_us),
        held=_held(store, row),
        full=_full(store, row),
    )


def _held(store: Store, row: Row) -> str:
    """What is bad or not known outside, in words."""
    with store.reading() as txn:
        return "; ".join(each.holds for each in outside.told(txn, row) if each.holds)


def _full(store: Store, row: Row) -> str:
    """Which ceiling lets no candidate run start, in words."""
    with store.reading() as txn:
        return limits.full(txn, row["id"], Frozen.of(row).policy.caps())


def _is_at_start(row: Row, point: ControlPoint) -> bool:
    """Whether there is nothing to look at yet: a person has to approve the first share."""
    return row["state"] == ReleaseState.AWAITING and point.share_bp == 0


def _asked(store: Store, row: Row, now_us: int) -> Asked | None:
    """The question that a release waits with, and its answer."""
    if row["state"] not in approving.ASKED:
        return None
    with store.reading() as txn:
        found = approving.newest(txn, row["id"])
    if found is None:  # asked before there were questions: nothing expires
        return Asked(left_us=1)
    return Asked(found["expires_us"] - now_us, found["decision"], found["who"], found["reason"])
