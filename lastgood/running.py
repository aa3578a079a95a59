"""A run as an agent holds it: what `lastgood.run` gives."""

import asyncio
import logging
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from lastgood import acting, pricing, recorder
from lastgood.assigning import Assigned
from lastgood.bundle import Bundle
from lastgood.errors import InvalidMove, StoreError
from lastgood.outcome import Outcome
from lastgood.router import Reason
from lastgood.store.connection import Store

log = logging.getLogger("lastgood")


class Disconnected(Exception):  # noqa: N818  it is no error: the client went away
    """Raise it inside a run when the client has gone: the run ends, and it is no failure."""


_GONE = (GeneratorExit, asyncio.CancelledError, Disconnected)


class Run:
    """One execution of an agent, tied to exactly one bundle.

    Leaving the block records the outcome: completed, unless an exception passed or `report` said otherwise.
    """

    def __init__(self, store: Store, assigned: Assigned) -> None:
        self._store = store
        self._assigned = assigned
        self._outcome = Outcome()
        self._began = time.monotonic()
        self._open = assigned.recorded
        #: what the run was given and what it made; kept as the policy's `records` say
        self.input: Any = None
        self.output: Any = None

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self._assigned.agent} on {self.bundle.short}>"

    @property
    def id(self) -> str:
        """The run's id; another process resumes the run with it."""
        return self._assigned.run_id

    @property
    def bundle(self) -> Bundle:
        """The bundle that this run was assigned, whatever happens meanwhile."""
        return self._assigned.bundle

    @property
    def arm(self) -> str:
        """`baseline` or `candidate`."""
        return self._assigned.decision.arm

    @property
    def reason(self) -> Reason:
        """Why the run got its bundle."""
        return self._assigned.decision.reason

    @property
    def recorded(self) -> bool:
        """False where the store could not be written: the run serves the baseline and is no evidence."""
        return self._assigned.recorded

    def usage(self, model: str, *, tokens_in: int, tokens_out: int) -> float | None:
        """Add one model call; return its price in US dollars by the model part, None where it names none."""
        cost = pricing.price_usd(self.bundle, model, tokens_in, tokens_out)
        self._outcome.usage.append(
            {"model": model, "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost}
        )
        if cost is not None:
            self._outcome.cost_usd = (self._outcome.cost_usd or 0.0) + cost
        return cost

    def report(self, **fields: Any) -> None:
        """Report outcomes: completed, validated, escalated, incidents, cost_usd, operator_edits, latency_s,
        infra_failure; any other name takes a number as a free metric. Raises `InvalidInput`."""
        self._outcome.take(fields)

    def event(self, name: str, **detail: Any) -> None:
        """Report a named event at once; one that the policy does not tolerate reverts the release."""
        if self.recorded:
            recorder.record_event(self._store, self.id, name, detail)

    def action(
        self, kind: str, target: str = "", undo: dict[str, Any] | None = None
    ) -> AbstractContextManager[str]:
        """Hold an external action open: `with run.action("message", "c-17"): send()`.

        Raises `Refused` or `CapReached` before the effect; `undo` says what undoes it.
        """
        return acting.action(self._store, self.id, kind, target, undo)

    def suspend(self) -> None:
        """Leave the run open when the block ends: another process goes on with `lastgood.resume(run.id)`."""
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            self._end(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            await asyncio.shield(asyncio.to_thread(self._end, error))

    def _end(self, error: BaseException | None) -> None:
        outcome = self._outcome
        if isinstance(error, _GONE):
            outcome.status = "disconnected"
        elif error is not None:
            outcome.status, outcome.completed, outcome.error = "failed", False, type(error).__name__
        elif outcome.completed is None:
            outcome.completed = True
        if outcome.latency_s is None:
            outcome.latency_s = time.monotonic() - self._began
        try:
            recorder.record(self._store, self.id, self.arm, outcome, self.input, self.output)
        except StoreError as refused:  # the agent's work is done: a run that can't report counts as lost
            log.warning("the outcome of %s could not be recorded and counts as lost: %s", self.id, refused)


class Pending:
    """A run that is about to start: `with` or `async with` assigns it and gives the `Run`."""

    def __init__(self, begin: Any) -> None:
        self._begin = begin
        self._run: Run | None = None

    def __enter__(self) -> Run:
        self._run = self._start()
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.__exit__(kind, error, trace)

    async def __aenter__(self) -> Run:
        self._run = await asyncio.to_thread(self._start)
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._started.__aexit__(kind, error, trace)

    @property
    def _started(self) -> Run:
        assert self._run is not None  # noqa: S101  Python enters before it exits
        return self._run

    def _start(self) -> Run:
        if self._run is not None:
            msg = f"{self._run!r} was started already; call lastgood.run anew for another run"
            raise InvalidMove(msg)
        run: Run = self._begin()
        return run
