"""Snapshots: a control point with its bundles loaded and checked, as one process holds it."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from lastgood import epoch_word, points, registry
from lastgood.bundle import Bundle
from lastgood.decision import Answers, Snapshot
from lastgood.epoch_word import UNWATCHED, Mark, Words
from lastgood.errors import CorruptRow, LastgoodError, NotFound, Refused, StoreError
from lastgood.hearing import Heard
from lastgood.moves import ControlPoint
from lastgood.router import Router
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction

log = logging.getLogger("lastgood")

#: nanoseconds until a store that could not be read is asked again
_RETRY_NS = 250_000_000
#: nanoseconds over which the processes of a host read a point again that was moved, and what spreads them
_SPREAD_NS = 20_000_000
_GOLDEN = 0.6180339887498949
#: nanoseconds that a word may stay odd before somebody looks whether its writer is dead
_PATIENCE_NS = 100_000_000
#: what tells of moves, for each store of this process
_watches: WeakKeyDictionary[Store, Words | Heard] = WeakKeyDictionary()


def announced_runtimes() -> frozenset[str]:
    """The runtimes that this process says it is, from LASTGOOD_RUNTIME (separated by commas)."""
    return frozenset(
        name.strip() for name in os.environ.get("LASTGOOD_RUNTIME", "").split(",") if name.strip()
    )


def _watch_of(store: Store) -> Words | Heard:
    watch = _watches.get(store)
    if watch is None:
        if store.word_path is not None and store.path is not None:
            new: Words | Heard = Words(store.word_path, store.path)
        else:
            new = Heard(store.url)
            weakref.finalize(store, new.end)
        watch = _watches.setdefault(store, new)
    return watch


@dataclass(slots=True, eq=False, weakref_slot=True)
class Serving:
    """One agent in one environment as this process serves it: a router, and the bundles seen so far."""

    store: Store
    agent: str
    environment: str
    runtimes: frozenset[str] = field(default_factory=announced_runtimes)
    #: the baseline to serve as long as the store was never read
    fallback: Bundle | None = None
    #: the router, once there is one: a dict, as its `setdefault` lets one of two threads win
    _routers: dict[str, Router] = field(default_factory=dict)
    _bundles: dict[str, Bundle] = field(default_factory=dict)
    _reading: threading.Lock = field(default_factory=threading.Lock)
    #: the control point's row as it was last read, and the answers made of it
    _loaded: tuple[tuple[object, ...], Answers] | None = None
    #: when a store that could not be read may be asked again, nanoseconds of the monotonic clock
    _retry_ns: int = 0
    #: a word that tells of a move, and from when on the store may be read
    _moved: tuple[int, int] = (-1, 0)
    #: an odd word that was met, and since when
    _odd: tuple[int, int] = (0, 0)
    #: the thread that does what a decision must not wait for
    _helper: threading.Thread | None = None

    @property
    def router(self) -> Router:
        """The router, from the store at its first use; where that fails, of the fallback if there is one."""
        router = self._routers.get(self.agent)
        if router is None:
            try:
                if isinstance(watch := _watch_of(self.store), Heard):
                    watch.begin(self)
                return self._install(*self._read())
            except (StoreError, NotFound) as error:
                if self.fallback is None:
                    raise
                log.warning(
                    "%s is served the bundle %s that it was given: %s", self.agent, self.fallback.short, error
                )
                return self._install(self._given(self.fallback), UNWATCHED)
        return router

    @property
    def known(self) -> bool:
        """Whether a bundle is at hand should the store go away."""
        return bool(self._routers) or self.fallback is not None

    @property
    def word(self) -> int:
        """The word that tells of moves, as it is now: one look at memory; -1 before the first decision."""
        router = self._routers.get(self.agent)
        return -1 if router is None else router.mark.view[router.mark.slot]

    @property
    def at_hand(self) -> bool:
        """Whether a decision now asks no store: there is a router, and nothing was moved since it read."""
        router = self._routers.get(self.agent)
        return router is not None and self._holds(router.mark)

    @property
    def bundles(self) -> list[Bundle]:
        """Those that may be served now: the baseline, and the candidate if there is one."""
        snapshot = self.router.snapshot
        return [snapshot.baseline] if snapshot.candidate is None else [snapshot.baseline, snapshot.candidate]

    def bundle(self, txn: Transaction, bundle_id: str) -> Bundle:
        """Return a bundle, read and checked once a process."""
        found = self._bundles.get(bundle_id)
        if found is None:
            with self._reading:  # taken inside a transaction alone, which a fork waits for
                found = self._bundles.get(bundle_id)
                if found is None:
                    found = self._bundles[bundle_id] = registry.read(txn, bundle_id).bundle
        return found

    def locked(self, txn: Transaction) -> Answers:
        """Return the answers as this write transaction sees the control point, and bring the router there.

        Nobody else can move the point before the transaction ends.
        """
        mark = self._mark()
        if mark.moving:
            epoch_word.settle(txn, self.agent, self.environment)
            mark = self._mark()
        answers = self._load(txn)
        self._install(answers, mark)
        return answers

    def note_headroom(self, answers: Answers, *, headroom: bool) -> None:
        """Let the router know what an assignment found of the caps; soon it looks again."""
        router = self.router
        if router.answers.snapshot.headroom is not headroom:
            router.update(replace(answers.snapshot, headroom=headroom), router.mark)

    def announces(self, bundle: Bundle) -> bool:
        """Whether this process is every runtime that the bundle needs."""
        return bundle.runtimes <= self.runtimes

    # -- reading the store

    def _mark(self) -> Mark:
        return _watch_of(self.store).mark(self.agent, self.environment)

    def _holds(self, mark: Mark) -> bool:
        return mark.stands and _watch_of(self.store).holds(mark)

    def _read(self, mark: Mark | None = None) -> tuple[Answers, Mark]:
        mark = mark or self._mark()  # before the store: what moves after this is seen
        with self.store.reading() as txn:
            return self._load(txn), mark

    def _install(self, answers: Answers, mark: Mark) -> Router:
        router = self._routers.get(self.agent)
        if router is None:
            new = Router(answers.snapshot, self.store.clock, self.runtimes, mark=mark, renew=self._renew)
            router = self._routers.setdefault(self.agent, new)
        if not mark.stands and self._holds(router.mark):
            return router  # another thread has read it since
        if router.answers.snapshot.point is not answers.snapshot.point or not router.mark.same(mark):
            router.adopt(answers, mark)
        return router

    def _load(self, txn: Transaction) -> Answers:
        """Return the answers of the control point; a row that is as it was before is not checked twice."""
        row = txn.one(sql.POINT, agent=self.agent, environment=self.environment)
        values = () if row is None else tuple(dict(row).values())
        if self._loaded is None or self._loaded[0] != values:
            point = points.read(txn, self.agent, self.environment)
            self._loaded = values, Answers(self._snapshot(txn, point), self.runtimes)
        return self._loaded[1]

    def _snapshot(self, txn: Transaction, point: ControlPoint) -> Snapshot:
        clock = self.store.clock
        boot_us = clock.boot_us()
        left = point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=boot_us)
        baseline = self.bundle(txn, point.baseline)
        if not self.announces(baseline):
            needed = ", ".join(sorted(baseline.runtimes - self.runtimes))
            msg = (
                f"the baseline {baseline.short} of {point.name} needs the runtime {needed}, which this "
                "process does not announce: start it with LASTGOOD_RUNTIME set to what it is"
            )
            raise Refused(msg)
        return Snapshot(point, baseline, self._candidate(txn, point), boot_us + left)

    def _candidate(self, txn: Transaction, point: ControlPoint) -> Bundle | None:
        """A candidate that was changed behind lastgood's back is not served; the baseline goes on."""
        if not point.candidate or not point.share_bp:
            return None
        try:
            return self.bundle(txn, point.candidate)
        except (CorruptRow, NotFound) as error:
            log.error("the candidate of %s is not served: %s", point.name, error)  # noqa: TRY400  one line is enough
            return None

    def _given(self, bundle: Bundle) -> Answers:
        point = ControlPoint(self.agent, self.environment, bundle.id, "vouched", epoch=0)
        return Answers(Snapshot(point, bundle, None, 0), self.runtimes)

    # -- what the router asks when it can't answer by itself

    def _renew(self) -> bool:
        """Bring the router up to date; return whether it is."""
        router = self.router
        if self._holds(router.mark):
            self._go_on(router)
            return True
        now_ns = time.monotonic_ns()
        if now_ns >= self._retry_ns and self._look_again(now_ns):
            return True
        # cut off: within the lease the last that was seen, unless it is known to have been moved
        router.extend()
        return router.mark.stands

    def _look_again(self, now_ns: int) -> bool:
        """Read the store; return whether that could be done at once."""
        if isinstance(_watch_of(self.store), Heard):  # a server may let us wait
            self._retry_ns = now_ns + _RETRY_NS
            self._in_background(self._hear)
            return False
        if self._puts_off(self.router.mark, now_ns):
            return False
        mark = self._mark()
        if mark.moving:
            self._look_after(mark.view[mark.slot], now_ns)
            return False
        return self.reread(mark)

    def _puts_off(self, mark: Mark, now_ns: int) -> bool:
        """Whether to serve the baseline, which still is what it was, and leave reading to a later decision.

        A decision after a kill or a revert then waits for nothing, and the processes of a host don't all read
        the store in the same moment.
        """
        if mark.stands or not mark.baseline_stands or not _watch_of(self.store).holds(mark):
            return False
        word = mark.view[mark.slot]
        if self._moved[0] != word:
            self._moved = word, now_ns + int(os.getpid() * _GOLDEN % 1 * _SPREAD_NS)
        return now_ns < self._moved[1]

    def _hear(self) -> None:
        """Be told of moves, where that has not begun, and read what was missed."""
        if isinstance(watch := _watch_of(self.store), Heard):
            watch.begin(self)
        self.reread()

    def reread(self, mark: Mark | None = None) -> bool:
        """Bring the router to the control point as it is now; return whether it could be read."""
        try:
            self._install(*self._read(mark))
        except LastgoodError as error:
            self._retry_ns = time.monotonic_ns() + _RETRY_NS
            log.warning("%s in %s could not be read: %s", self.agent, self.environment, error)
            return False
        return True

    def _go_on(self, router: Router) -> None:
        if self._loaded is not None and not router.answers.snapshot.headroom:
            router.adopt(self._loaded[1], router.mark)  # a reservation may have come back meanwhile
        else:
            router.extend()

    def _look_after(self, odd: int, now_ns: int) -> None:
        """Have a word settled that stays odd, by a thread of its own: that has to wait for the write lock."""
        if self._odd[0] != odd:
            self._odd = odd, now_ns
        elif now_ns - self._odd[1] > _PATIENCE_NS:
            self._in_background(self._settle)

    def _in_background(self, work: Callable[[], object]) -> None:
        """Do something that may take a while in a thread, one at a time."""
        if self._helper is None or not self._helper.is_alive():
            self._helper = threading.Thread(
                target=self._help, args=(work,), name="lastgood-help", daemon=True
            )
            self._helper.start()

    def _help(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            self.store.close()  # this thread's connection

    def _settle(self) -> None:
        try:
            with self.store.transaction(at=(self.agent, self.environment)) as txn:
                epoch_word.settle(txn, self.agent, self.environment)
        except LastgoodError as error:
            log.debug("an odd epoch word can't be settled: %s", error)
