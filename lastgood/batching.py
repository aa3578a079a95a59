"""Batching: a process's outcomes wait a moment and are written together.

With an interval of 0 every outcome is written at once. Else those of baseline runs wait for at most the
interval, or for a batch to fill; what a trigger may need at once (a candidate's outcome, an event, an action,
a late report) never waits. Nothing is dropped: where the queue is full whoever comes next writes it. It is
written when the process ends; a kill -9 loses at most the interval's outcomes, and their runs count as lost.
"""

import atexit
import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence

from lastgood import recorder
from lastgood.errors import InvalidInput, LastgoodError, SchemaMismatch, StoreUnavailable
from lastgood.recorder import Batch, Report
from lastgood.store.connection import Store

log = logging.getLogger("lastgood")
#: outcomes that are written in one transaction at most: it must stay short, or a revert would wait for it
MOST = 500
#: outcomes that may wait
ROOM = 10_000
#: seconds after which a store that was away is tried again at the latest, unless outcomes wait longer anyway
RETRY_S = 2.0
#: seconds that an outcome may wait at most
LONGEST_S = 60.0


class Recorder:
    """Writes the outcomes of one process to one store, together where they may wait."""

    def __init__(self, store: Store, interval_s: float = 0.0, *, most: int = MOST, room: int = ROOM) -> None:
        if not 0 <= interval_s <= LONGEST_S:
            most_ms = LONGEST_S * 1_000
            msg = f"LASTGOOD_FLUSH_MS: {interval_s * 1_000:g} ms can't be; give 0 to {most_ms:g}"
            raise InvalidInput(msg)
        self._store = store
        #: seconds that an outcome of the baseline may wait
        self.interval_s = interval_s
        self._most, self._room = most, room
        self._renew()
        _recorders.add(self)

    def _renew(self) -> None:
        """Begin with nothing: at first, and in a forked child, whose parent writes what was waiting."""
        self._waiting: deque[Report] = deque()
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._due = threading.Event()
        self._flusher: threading.Thread | None = None

    def record(self, report: Report, *, urgent: bool) -> bool:
        """Write an outcome, or let it wait; return False where its run had one already.

        Raises what stops it from being written, where that is known at once.
        """
        if urgent or not self.interval_s:
            return self._put([report], durable=urgent).new == 1
        while True:
            with self._guard:
                if len(self._waiting) < self._room:
                    self._waiting.append(report)
                    self._start()
                    break
            self.flush()  # full: this caller makes room, or learns why nobody can
        if len(self._waiting) >= self._most:
            self._due.set()
        return True

    def _start(self) -> None:
        if self._flusher is None or not self._flusher.is_alive():
            self._flusher = threading.Thread(target=self._run, name="lastgood-flush", daemon=True)
            self._flusher.start()
            _at_exit()

    def _run(self) -> None:
        due, wait_s = self._due, self.interval_s
        while True:
            due.wait(wait_s)
            due.clear()
            try:
                self.flush()
                wait_s = self.interval_s
            except LastgoodError as error:
                wait_s = max(self.interval_s, min(2 * wait_s, RETRY_S))
                log.warning("%d outcomes wait for the store: %s", len(self._waiting), error)
            with self._guard:
                if not self._waiting:
                    self._flusher = None  # an idle process keeps no thread; the next outcome starts one
                    self._store.close()
                    return

    def flush(self) -> int:
        """Write everything that waits; return how many. Raises `StoreUnavailable`; they wait on then."""
        written = 0
        with self._writing:
            while True:
                with self._guard:
                    reports = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                if not reports:
                    return written
                written += self._write(reports)

    def _put(self, reports: Sequence[Report], *, durable: bool) -> Batch:
        """Write them now; where that is decided."""
        return recorder.record_batch(self._store, reports, durable=durable)

    def _write(self, reports: Sequence[Report]) -> int:
        try:
            return self._put(reports, durable=False).new
        except (SchemaMismatch, StoreUnavailable):
            with self._guard:
                self._waiting.extendleft(reversed(reports))
            raise
        except LastgoodError:
            return sum(self._write_one(report) for report in reports)

    def _write_one(self, report: Report) -> int:
        """One that can't be written must not hold the others up."""
        try:
            return self._put([report], durable=False).new
        except LastgoodError as error:
            log.warning(
                "the outcome of %s could not be recorded and counts as lost: %s", report.run_id, error
            )
            return 0


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
_registered: set[int] = set()


def flush() -> None:
    """Write everything that waits in this process; a store that is away keeps nobody else's waiting."""
    failed: LastgoodError | None = None
    for each in list(_recorders):
        try:
            each.flush()
        except LastgoodError as error:
            failed = error
    if failed is not None:
        raise failed


def _last_flush() -> None:
    try:
        flush()
    except LastgoodError as error:
        log.warning("outcomes that waited when the process ended are not recorded: %s", error)


def _at_exit() -> None:
    """Flush when this process ends; children of multiprocessing end without running `atexit`."""
    if os.getpid() in _registered:
        return
    _registered.add(os.getpid())
    atexit.register(_last_flush)
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, _last_flush, exitpriority=0)


def _in_child() -> None:
    for each in list(_recorders):
        each._renew()  # noqa: SLF001  our own


os.register_at_fork(after_in_child=_in_child)

__all__ = ["Recorder", "flush"]
