"""Recovery: the damage of a bad window is undone in the data, as far as it can be.

Outputs and memory entries are quarantined, waiting work is cancelled, actions are compensated in reverse
order, and what can't be undone is listed with whom it touched. Everything is written to the store as it
happens: whoever starts it again after a crash goes on where it was, and one that has ended does nothing.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lastgood import notices, recorder, reserving
from lastgood.errors import Conflict
from lastgood.ids import new_id
from lastgood.incidents import Incident, Recovery
from lastgood.notice import Level, Notice
from lastgood.outcome import Outcome
from lastgood.plural import counted
from lastgood.recorder import Report
from lastgood.store import aftermath
from lastgood.store.connection import Row, Store, Transaction
from tasks import compensating
from tasks.compensating import Cause, Order, Turn
from tasks.recovery_plan import Pending, Taken, Window
from tasks.undoing import Answer, Caller, Ended

_MINUTE_US, _SECOND_US = 60_000_000, 1_000_000
#: microseconds beyond a call's timeout for which nobody else may take the recovery over
_GRACE_US = 5 * _SECOND_US
#: microseconds that a recovery waits by itself for the next try, before it leaves that to the schedule
PATIENCE_US = 30 * _SECOND_US
#: runs that are cancelled in one transaction
_PAGE = 200


@dataclass(slots=True)
class Progress:
    """What one start of a recovery did."""

    #: outputs and memory entries that were quarantined
    outputs: int = 0
    memories: int = 0
    #: runs that waited to be resumed, and were ended
    cancelled: int = 0
    #: reservations that were given back
    reservations: int = 0
    #: actions that were taken into the books
    planned: int = 0
    #: calls of handlers, and those that undid an action
    calls: int = 0
    undone: int = 0
    #: how it stands now
    state: Recovery = Recovery.RUNNING

    def add(self, taken: Taken) -> None:
        """Count what was taken into the books."""
        self.outputs += taken.outputs
        self.memories += taken.memories
        self.planned += taken.planned


@dataclass(slots=True)
class Job:
    """One start of one incident's recovery."""

    window: Window
    sleep: Callable[[float], None] = time.sleep
    #: microseconds
    patience_us: int = PATIENCE_US
    worker: str = ""
    done: Progress = field(default_factory=Progress)

    @property
    def incident(self) -> Incident:
        """The incident, as it was when the job began."""
        return self.window.incident

    @property
    def _store(self) -> Store:
        return self.window.store

    @property
    def _lease_us(self) -> int:
        """For how long nobody else may take it over: no step of it takes longer."""
        spec = self.window.spec
        return 2 * spec.timeout + _GRACE_US + max(self.patience_us, _MINUTE_US // spec.rate_per_minute)

    def take(self, *, forced: bool) -> None:
        """Become the one process that recovers this incident; raises `Conflict` where another one is."""
        self.worker = f"{socket.gethostname()}:{os.getpid()} {new_id('', self._store.clock.now_us())[-8:]}"
        with self._store.transaction(durable=True, at=self.window.place) as txn:
            taken = txn.run(
                aftermath.TAKE_RECOVERY,
                id=self.incident.id,
                recovery_worker=self.worker,
                recovery_until_us=txn.now_us + self._lease_us,
                now_us=txn.now_us,
                forced=int(forced),
            )
            row = txn.one(aftermath.INCIDENT, id=self.incident.id)
        if not taken and row is not None:
            left_s = max(0, row["recovery_until_us"] - self._store.clock.now_us()) / _SECOND_US
            msg = (
                f"{row['recovery_worker']} recovers {self.incident.id} now: wait, or if that process is dead "
                f"go on in {left_s:.0f} s, or at once with --take-over"
            )
            raise Conflict(msg)

    def plan(self) -> Taken:
        """Take everything into the books that is not in them yet."""
        taken = self.window.take()
        self.done.add(taken)
        return taken

    def cancel(self) -> None:
        """End runs that wait to be resumed, and give back what nobody will settle."""
        if not self.window.left:
            return
        while True:
            with self._store.reading() as txn:
                rows = txn.all(aftermath.SUSPENDED, **self.incident.window, most=_PAGE)
            if not rows:
                break
            gone = Outcome(status="disconnected")  # nobody waits for it any more: no failure of its bundle
            batch = recorder.record_batch(self._store, [Report(row["id"], gone) for row in rows])
            self.done.cancelled += batch.new
        if self.incident.release_id is not None:
            with self._store.transaction(durable=True, at=self.window.place) as txn:
                self.done.reservations += reserving.cancel(txn, self.incident.release_id)

    def compensate(self) -> int:
        """Call what may be called until nothing is left, or what is left has to wait for longer.

        Returns when there is something to do again, microseconds UTC, 0 where nothing waits for a time.
        """
        with Caller(self.window.spec.timeout / _SECOND_US) as caller:
            while True:
                next_us = self._walk(caller)
                wait_us = next_us - self._store.clock.now_us()
                if next_us and wait_us <= self.patience_us:
                    self._pass(wait_us)
                    continue
                taken = self.plan()  # what came meanwhile
                if not taken.planned:
                    return min(filter(None, (next_us, taken.look_us)), default=0)

    def _pass(self, wait_us: int) -> None:
        """Let time pass, and stay the one who is at it."""
        if wait_us > 0:
            self.sleep(wait_us / _SECOND_US)
        with self._store.transaction(durable=True, at=self.window.place) as txn:
            self._still_mine(txn)

    def _walk(self, caller: Caller) -> int:
        """One walk over what is pending; returns when the next one is due, 0 where none is."""
        with self._store.reading() as txn:
            pending = txn.all(aftermath.PENDING, incident_id=self.incident.id)
            order, next_us = Order(self._asked(txn)), 0
        for row in pending:
            turn, again_us = order.turn(row, self._store.clock.now_us()), row["next_try_us"]
            if turn is Turn.NOW:
                again_us = self._do(caller, row)
                if again_us == 0:
                    continue
            order.hold(row)
            if turn is not Turn.HELD:
                next_us = min(next_us or again_us, again_us)
        return next_us

    def _asked(self, txn: Transaction) -> frozenset[str]:
        """Kinds that wait for a person's leave."""
        given = {row["kind"] for row in txn.all(aftermath.APPROVALS, incident_id=self.incident.id)}
        return frozenset(self.window.spec.approve) - given

    def _do(self, caller: Caller, row: Row) -> int:
        """Begin in the books, call, and write down what came of it; as `_settle`."""
        if row["attempts"] >= self.window.spec.attempts:  # each was begun, and its process died
            broken = row["last_error"] or "every call that was begun broke off"
            return self._settle(row, Answer(Ended.AGAIN, broken))
        if not self._claim(row):
            return 0  # settled meanwhile
        began = time.monotonic()
        self.done.calls += 1
        answer = caller.call(row["handler"], compensating.undo_of(row, self.incident))
        again_us = self._settle(row, answer)
        rest_s = 60 / self.window.spec.rate_per_minute - (time.monotonic() - began)
        if rest_s > 0:
            self.sleep(rest_s)
        return again_us

    def _claim(self, row: Row) -> bool:
        with self._store.transaction(durable=True, at=self.window.place) as txn:
            self._still_mine(txn)
            key = {"action_id": row["action_id"], "generation": row["generation"]}
            return txn.run(aftermath.CLAIM, **key) == 1

    def _still_mine(self, txn: Transaction) -> None:
        until_us = txn.now_us + self._lease_us
        values = {"id": self.incident.id, "recovery_worker": self.worker, "recovery_until_us": until_us}
        if txn.run(aftermath.KEEP_RECOVERY, **values) == 0:
            msg = f"another process took the recovery of {self.incident.id} over: this one stops"
            raise Conflict(msg)

    def _settle(self, row: Row, answer: Answer) -> int:
        """Write down what came of a call; returns when it is tried again, microseconds UTC, 0 for never."""
        key = {"action_id": row["action_id"], "generation": row["generation"]}
        attempts, spec = row["attempts"] + 1, self.window.spec
        with self._store.transaction(durable=True, at=self.window.place) as txn:
            if answer.ended is Ended.DONE:
                self.done.undone += txn.run(aftermath.COMPENSATED, **key, settled_us=txn.now_us)
                return 0
            if answer.ended is Ended.AGAIN and attempts < spec.attempts:
                next_us = txn.now_us + compensating.pause_us(spec, attempts)
                txn.run(aftermath.TRY_LATER, **key, last_error=answer.why, next_try_us=next_us)
                return next_us
            cause, why = Cause.REFUSED, answer.why
            if answer.ended is Ended.AGAIN:
                calls = counted(min(attempts, spec.attempts), "call")
                cause, why = Cause.EXHAUSTED, f"gave up after {calls}: {why}"
            values = {"cause": str(cause), "last_error": why, "settled_us": txn.now_us}
            txn.run(aftermath.LEFT_OVER, **key, **values)
            return 0

    def end(self, next_us: int) -> None:
        """Say how it stands, and tell people; an action that came meanwhile leaves it due."""
        with self._store.transaction(durable=True, at=self.window.place) as txn:
            self._still_mine(txn)
            state = _standing(txn, self.incident, next_us)
            until_us = next_us if state is Recovery.WAITING else 0
            values = {"recovery": str(state), "recovery_worker": self.worker, "recovery_until_us": until_us}
            txn.run(aftermath.END_RECOVERY, id=self.incident.id, **values)
            row = txn.one(aftermath.INCIDENT, id=self.incident.id)
            assert row is not None  # noqa: S101  incidents stay
            self.done.state = Recovery(row["recovery"])
            if self.done.state.ended:
                notices.put(txn, _notice(txn, self.incident))


def _standing(txn: Transaction, incident: Incident, next_us: int) -> Recovery:
    if next_us or txn.all(aftermath.PENDING, incident_id=incident.id):
        return Recovery.WAITING
    counts = txn.all(aftermath.COMPENSATION_COUNTS, incident_id=incident.id)
    return Recovery.RESIDUE if any(row["state"] == "residue" for row in counts) else Recovery.DONE


def _notice(txn: Transaction, incident: Incident) -> Notice:
    """What people are told of a recovery that has ended: a page where something is left over."""
    counts = txn.all(aftermath.COMPENSATION_COUNTS, incident_id=incident.id)
    left = {row["kind"]: row["n"] for row in counts if row["state"] == "residue"}
    undone, total = sum(row["n"] for row in counts if row["state"] == "done"), sum(left.values())
    place, bad = f"{incident.agent} in {incident.environment}", f"b-{incident.bad[:8]}"
    kind, level = ("residue", Level.PAGE) if total else ("recovered", Level.INFORM)
    title, text = f"{place}: the actions of {bad} are undone ({undone})", f"incident {incident.id}"
    if total:
        kinds = ", ".join(f"{n} {name}" for name, n in sorted(left.items()))
        title = f"{place}: {counted(total, 'action')} of {bad} can't be undone ({kinds})"
        text = f"{undone} were undone\nwhom it touched: lastgood recover {incident.id} --residue"
    key = f"{incident.id}/{kind}/{undone}/{total}"
    return Notice(incident.agent, incident.environment, kind, key, title, text, level)


def dry_run(store: Store, incident_id: str) -> Pending:
    """Return what a recovery would do, and write nothing; raises `NotFound`."""
    return Window.of(store, incident_id).pending()


def recover(
    store: Store,
    incident_id: str,
    *,
    take_over: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    patience_us: int = PATIENCE_US,
) -> Progress:
    """Undo the damage of an incident as far as it goes now; may be called as often as one likes.

    Raises `Conflict` where another process is at it (`take_over`: it is known to be dead), `NotFound`.
    """
    job = Job(Window.of(store, incident_id), sleep, patience_us)
    job.take(forced=take_over)
    job.plan()
    job.cancel()
    job.end(job.compensate())
    return job.done


__all__ = ["PATIENCE_US", "Job", "Progress", "dry_run", "recover"]
