"""The router: who serves the next run, from a snapshot in memory.

`route` does no I/O, makes no system call and builds no object: it compares an epoch word and a clock, hashes
the unit and returns a decision that was made before (`lastgood.decision`). Everything rare goes the long way
round, by `renew`: a control point that was moved, a lease that ended, a look whether the word is still there.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Protocol, cast

from lastgood.assignment import Hash
from lastgood.clock import Clock, steady
from lastgood.decision import Answers, Decision, Pair, Reason, Snapshot
from lastgood.epoch_word import Mark
from lastgood.release import RISKS

log = logging.getLogger("lastgood")
#: nanoseconds after which a router that can renew itself looks whether its word is still the store's
RECHECK_NS = 250_000_000
_FOREVER_NS = 1 << 62


class Route(Protocol):
    """What decides for one run."""

    def __call__(self, unit: str, risk: str | None = None) -> Decision:
        """Decide for one run, keyed on `unit`; whatever is given, it raises nothing.

        A risk that is unknown counts as the highest and is served the baseline.
        """


@dataclass(slots=True, eq=False)
class _Quick:
    """What one decision needs, in one object: with many agents each other one is a miss of the cache."""

    slot: int
    #: the word as it has to be
    seen: int
    #: when to ask again, nanoseconds of the router's clock; all else never changes
    until_ns: int
    #: the hash of a unit, begun
    begun: Hash
    #: the answers to a run that names no risk, below the limit and not
    drawn: Decision
    kept: Decision
    pairs: Mapping[str | None, Pair]
    router: "Router"

    def again(self, unit: str, risk: str | None) -> Decision:
        """Answer the long way; somebody may have kept a `route` that is no longer the router's."""
        router = self.router
        return router.again(unit, risk) if router.holds(self) else router.route(unit, risk)


_Routine = Callable[[_Quick, str, str | None], Decision]
#: by the words, the clock and the limit, with the words: routers of one store share what is in the cache
_routines: dict[tuple[int, Callable[[], int], bytes], tuple[Sequence[int], _Routine]] = {}
_MOST_ROUTINES = 64


def _routine(word: Sequence[int], now_ns: Callable[[], int], limit: bytes) -> _Routine:
    """Return the decision over these words by this clock at this share, as a method of `_Quick`."""
    found = _routines.get((id(word), now_ns, limit))
    if found is not None:
        return found[1]

    def route(self: _Quick, unit: str, risk: str | None = None) -> Decision:
        if word[self.slot] != self.seen or now_ns() >= self.until_ns:
            return self.again(unit, risk)
        hashed = self.begun.copy()
        try:
            hashed.update(unit.encode())
            if risk is None:
                return self.drawn if hashed.digest() < limit else self.kept
            drawn, kept = self.pairs[risk]
        except Exception:  # noqa: BLE001  half a surrogate pair, a risk that nobody knows, things of any type
            return self.again(unit, risk)
        return drawn if hashed.digest() < limit else kept

    if len(_routines) >= _MOST_ROUTINES:
        _routines.clear()
    _routines[id(word), now_ns, limit] = word, route
    return route


class Router:
    """Routes the runs of one agent in one environment.

    `renew` brings the router up to date and tells whether it is; without one it stays as it was given. `mark`
    is the epoch word that was seen before the snapshot was read.
    """

    __slots__ = ("_clock", "_held", "_lapsed", "_now_ns", "_own", "_quick", "_renew", "_runtimes", "route")

    #: Decide for one run; microseconds, no I/O. May be kept: an old one asks the router.
    route: Route

    def __init__(
        self,
        snapshot: Snapshot,
        clock: Clock,
        runtimes: frozenset[str] = frozenset(),
        *,
        mark: Mark | None = None,
        renew: Callable[[], bool] | None = None,
    ) -> None:
        self._clock, self._now_ns = clock, steady(clock)
        self._runtimes, self._renew = runtimes, renew
        #: where no word is given, one that is changed with the next update: a `route` that was kept asks then
        self._own = [0]
        self.update(snapshot, mark)

    @property
    def snapshot(self) -> Snapshot:
        """What it routes by now."""
        return self.answers.snapshot

    @property
    def answers(self) -> Answers:
        """The answers that it gives."""
        return self._held[0]

    @property
    def mark(self) -> Mark:
        """The word that was seen before the snapshot was read."""
        return self._held[1]

    def update(self, snapshot: Snapshot, mark: Mark | None = None) -> None:
        """Route by a newer snapshot from here on."""
        self.adopt(Answers(snapshot, self._runtimes), mark)

    def adopt(self, answers: Answers, mark: Mark | None = None) -> None:
        """Route by the answers of a newer snapshot from here on."""
        before, self._own = self._own, [0]
        self._install(answers, mark or Mark.of(self._own, 0))
        before[0] = 1

    def extend(self) -> None:
        """Go on with the same answers: nothing was moved."""
        answers, mark = self._held
        if (self._left_us(answers) <= 0) is not self._lapsed:
            self._install(answers, mark)
        else:
            self._quick.until_ns = self._until_ns(answers)

    def _install(self, answers: Answers, mark: Mark) -> None:
        # one assignment each: a thread that routes meanwhile sees the old state or the new one, no mixture
        lapsed = self._left_us(answers) <= 0
        self._held = answers, mark
        pairs = answers.lapsed if lapsed else answers.pairs
        drawn, kept = pairs[None]
        self._quick = quick = _Quick(
            mark.slot,
            mark.seen,
            self._until_ns(answers),
            answers.begun,
            drawn,
            kept,
            pairs,
            self,
        )
        self.route = cast("Route", MethodType(_routine(mark.view, self._now_ns, answers.limit), quick))
        self._lapsed = lapsed

    def _until_ns(self, answers: Answers) -> int:
        """When to ask again: at the next look, or when the lease ends."""
        now_ns, left_us = self._now_ns(), self._left_us(answers)
        until_ns = now_ns + (_FOREVER_NS if self._renew is None else RECHECK_NS)
        return min(until_ns, now_ns + left_us * 1_000) if left_us > 0 else until_ns

    def _left_us(self, answers: Answers) -> int:
        return answers.snapshot.lease_deadline_us - self._clock.boot_us()

    def holds(self, quick: _Quick) -> bool:
        """Whether this is what it decides by now."""
        return self._quick is quick

    def again(self, unit: str, risk: str | None = None) -> Decision:
        """Answer what the quick way can't."""
        current = self._is_current()
        answers, _ = self._held
        try:
            if not current:
                return answers.refuse(Reason.MOVED, risk)
            return answers.decide(unit, risk, self._clock.boot_us())
        except Exception:  # what has no text and no type to go by: an agent never fails by its router
            log.exception(
                "a unit or risk of %s can't be read: it is served the baseline", answers.snapshot.point.name
            )
            return answers.refuse(Reason.RISK, RISKS[-1])

    def _is_current(self) -> bool:
        if self._renew is None:
            self.extend()
            return self.mark.stands
        try:
            return self._renew()
        except Exception:  # an agent never fails by its router
            log.exception("a router could not be renewed and serves the baseline")
            return False

    def refuse(self, reason: Reason, risk: str | None) -> Decision:
        """Return the baseline, for a reason that makes the run ineligible in either arm."""
        return self.answers.refuse(reason, risk)
