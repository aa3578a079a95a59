"""The core of the world: two processes, a router on another host, a reference, and one thing at a time."""

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench import AGENT, PLACE, Bench, Crash, Plan, Yard, still
from reference import Reference
from watching import Watch
from wire import listener_of

from lastgood.assigning import Assigned
from lastgood.clock import ManualClock
from lastgood.errors import BadToken, LastgoodError, StoreUnavailable
from lastgood.router import Router
from lastgood.snapshot import Serving

LOST = object()
NAMES = (AGENT, PLACE)
#: microseconds
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
Why = type[BaseException] | None
#: the candidate, its share, until when of the boot clock, the epoch
Known = tuple[str | None, int, int, int]


class Core:
    """Two processes, a router cut off on another host, and a reference."""

    def __init__(self, yard: Yard, reached: Counter[str]) -> None:
        self.reached, self.bundles = reached, yard.bundles
        self.clock = ManualClock()
        self._undo = contextlib.ExitStack()
        self._undo.callback(still(self.clock))
        self.url = self._undo.enter_context(yard.fresh())
        self.steps = 0
        self.ref = Reference(self.bundles[0], self.clock.now_us())
        self._tick(0)
        self.stores = [self._store() for _ in range(2)]
        self.serving = [self._serve(store) for store in self.stores]
        self.observer = Bench(self.url, self.clock)
        self.far: Router | None = None
        #: what the far router knew, and what the processes did when they were cut off
        self.far_knew: Known = (None, 0, 0, 0)
        self.knew: list[Known] = [self.far_knew, self.far_knew]
        self.given: dict[str, Assigned] = {}
        #: what drivers believe: (release, epoch, term)
        self.beliefs: list[tuple[str, int, int]] = []
        self.effects: Counter[str] = Counter()
        self.assigned = 0
        self.watch = Watch(self)

    def close(self) -> None:
        for store in (*self.stores, self.observer):
            store.close()
        Bench.dying = False
        self._undo.close()

    def _store(self) -> Bench:
        return Bench(self.url, self.clock)

    def _serve(self, store: Bench) -> Serving:
        serving = Serving(store, AGENT, PLACE)
        assert serving.router  # made at its first use
        return serving

    def _tick(self, us: int) -> None:
        self.clock.advance(us)
        self.ref.now_us, self.ref.boot_us = self.clock.wall_us, self.clock.since_boot_us

    # -- doing one thing, on both sides

    def attempt(
        self,
        actor: int,
        call: Callable[[Bench], Any],
        why_not: Why,
        apply: Callable[[Any], None],
        plan: Plan | None = None,
    ) -> Any:
        """Do it for real, hold it to what the reference expects, make it there too, and look at everything."""
        store = self.stores[actor]
        why_not = StoreUnavailable if store.cut else why_not
        store.plan, before, answer, moved = plan, store.commits, LOST, False
        # a router that looks while a move is being committed must not go on with what it sees then
        store.probe = lambda: self.serving[1 - actor].router.route("u1")
        try:
            answer = call(store)
        except Crash:
            if store.commits > before:
                self.reached["crash after the commit"] += 1
                moved = True
                apply(LOST)
            else:
                self.reached["crash inside a transaction"] += 1
            if Bench.dying:
                self.restart(actor)
        except LastgoodError as error:
            assert why_not is not None, f"was refused: {error!r}"
            assert type(error) is why_not, f"{error!r} instead of {why_not.__name__}"
            self.reached[f"refused: {why_not.__name__}"] += 1
            self.ref.refusals += isinstance(error, BadToken)
            answer = error
        else:
            assert why_not is None, f"was not refused: {why_not}"
            moved = True
            apply(answer)
        store.plan = store.probe = None
        self.steps += 1
        self.watch.everything(moved=moved)
        return answer

    def restart(self, actor: int) -> None:
        """The process is started anew."""
        self.reached["a process died"] += Bench.dying
        Bench.dying = False
        self._deafen(self.stores[actor])
        self.stores[actor].close()
        self.stores[actor] = self._store()
        self.serving[actor] = self._serve(self.stores[actor])

    def _one(self, query: str, **values: Any) -> Any:
        with self.observer.reading() as txn:
            return txn.one(query, **values)

    def _all(self, query: str, **values: Any) -> Any:
        with self.observer.reading() as txn:
            return txn.all(query, **values)

    # -- time and links

    def wait(self, us: int) -> None:
        was = self.ref.serving
        self._tick(us)
        self.reached["lapsed while serving"] += was and not self.ref.serving
        self.steps += 1
        self.watch.everything(moved=False)

    def set_clock(self, us: int) -> None:
        """Somebody sets the wall clock; the boot clock goes on."""
        self.clock.wall_us += us
        self._tick(0)
        self.reached["the wall clock was set"] += 1
        self.steps += 1
        self.watch.everything(moved=False)

    def link(self, actor: int, *, cut: bool) -> None:
        if self.stores[actor].cut and not cut:
            self._tick(300_000)  # who could not read the store asks it again a quarter of a second later
        if cut and not self.stores[actor].cut:
            self.knew[actor] = self._knowledge()
        self.stores[actor].cut = cut
        self._deafen(self.stores[actor], deaf=cut)
        self.steps += 1
        self.watch.everything(moved=False)

    def _knowledge(self) -> Known:
        """What a router knows that has heard everything."""
        ref = self.ref
        return ref.candidate, 0 if ref.killed else ref.share_bp, ref.lease_boot_us, ref.epoch

    @staticmethod
    def _deafen(store: Bench, *, deaf: bool = True) -> None:
        if (listener := listener_of(store)) is not None:
            listener.set_deaf(deaf=deaf)

    def hear(self) -> None:
        """The router on another host reads the control point; from here on it is cut off."""
        store = self._store()
        self.far = Router(self._serve(store).router.snapshot, self.clock)
        self.far_knew = self._knowledge()
        self._deafen(store)
        store.close()
        self.steps += 1
        self.watch.everything(moved=False)
