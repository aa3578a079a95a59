"""A run as an agent holds it: what `lastgood.run` gives."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self

from lastgood import acting, failures, identity, pricing
from lastgood.assigning import Assigned
from lastgood.batching import Recorder
from lastgood.bundle import Bundle
from lastgood.decision import CANDIDATE, Reason
from lastgood.errors import InvalidInput, InvalidMove, LastgoodError
from lastgood.ids import new_id
from lastgood.outcome import Outcome
from lastgood.part_reads import NotedBundle, note
from lastgood.recorder import Report, record_event
from lastgood.store.connection import Store
from lastgood.suspending import Held, suspend
from lastgood.tool import manifest_of
from lastgood.tool_call import Key, Seam
from lastgood.triggers import TOOL_MALFORMED

log = logging.getLogger("lastgood")


class Disconnected(Exception):
    """Raise it inside a run when the client has gone: the run ends, and it is no failure."""


def _is_gone(error: BaseException | None) -> bool:
    """Whether the run ended because nobody waits for it any more."""
    if isinstance(error, GeneratorExit | Disconnected):
        return True
    asyncio = sys.modules.get("asyncio")  # who has not loaded it was not cancelled by it
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


class Run:
    """One execution of an agent, tied to exactly one bundle.

    Leaving the block records the outcome: completed, unless an exception passed or `report` said otherwise.
    """

    def __init__(
        self,
        store: Store,
        assigned: Assigned,
        before: Held | None = None,
        *,
        recorder: Recorder | None = None,
        tools: tuple[str, ...] | None = None,
    ) -> None:
        held = before or Held(Outcome(), 0.0)
        self._store = store
        self._recorder = recorder or Recorder(store)
        manifest = manifest_of(assigned.bundle.tools).only(tools)
        self._seam = Seam(store if assigned.recorded else None, assigned.run_id, manifest, held.outcome)
        self._assigned = assigned
        self._outcome = held.outcome
        #: what the agent gets to see of its bundle notes which parts it reads
        self._read: Bundle = NotedBundle(assigned.bundle, held.outcome)
        self._began = time.monotonic() - held.worked_s
        self._open = assigned.recorded
        self._suspended = False
        #: what the run was given and what it made; kept as the policy's `records` say
        self.input: Any = held.input
        self.output: Any = held.output

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self._assigned.agent} on {self.bundle.short}>"

    @property
    def id(self) -> str:
        """The run's id; another process resumes the run with it."""
        return self._assigned.run_id

    @property
    def bundle(self) -> Bundle:
        """The bundle that this run was assigned, whatever happens meanwhile."""
        return self._read

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

    @property
    def token(self) -> str:
        """What a report from outside this process must bring: signed over run, bundle, epoch and expiry.

        Raises `InvalidInput` where there is no key to sign with.
        """
        assigned = self._assigned
        expires_us = assigned.assigned_us + identity.LIFETIME_US
        keys = identity.keys(self._store)
        return identity.sign(keys, self.id, assigned.bundle.id, assigned.decision.epoch, expires_us)

    def usage(self, model: str, *, tokens_in: int, tokens_out: int) -> float | None:
        """Add one model call; return its price in US dollars by the model part, None where it names none.

        Raises `InvalidInput` for a number of tokens that can't be.
        """
        _check_tokens(model, tokens_in)
        _check_tokens(model, tokens_out)
        cost = pricing.price_usd(self._assigned.bundle, model, tokens_in, tokens_out)
        self._outcome.usage.append(
            {"model": model, "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost}
        )
        return cost

    def report(self, **fields: Any) -> None:
        """Report outcomes; the last word counts. Raises `InvalidInput`.

        completed, validated, escalated, incidents, cost_usd, operator_edits, latency_s, infra_failure; any
        other name takes a number as a free metric.
        """
        self._outcome.take(fields)

    def event(self, name: str, **detail: Any) -> None:
        """Report a named event at once; one that the policy does not tolerate reverts the release.

        Of a run that could not be recorded it is logged alone: that one is on the baseline.
        """
        if self.recorded:
            record_event(self._store, self.id, name, detail)
        else:
            log.warning("the event %s of run %s is not recorded, as the run is not", name, self.id)

    def action(
        self, kind: str, target: str = "", undo: dict[str, Any] | None = None
    ) -> AbstractContextManager[str]:
        """Hold an external action open: `with run.action("message", "c-17"): send()`.

        Raises `Refused` or `CapReached` before the effect; `undo` says what undoes it. Where the bundle
        declares kinds of actions, another kind is refused. A run that could not be recorded is on the
        baseline, which has no ceilings: its actions go through, unrecorded too.
        """
        self._seam.check_kind(kind)
        if not self.recorded:
            log.warning("%s %s of run %s is not recorded, as the run is not", kind, target, self.id)
            return nullcontext(new_id("act_", self._store.clock.now_us()))
        return acting.action(self._store, self.id, kind, target, undo)

    def tool(
        self, function: Callable[..., Any] | None = None, /, *, name: str | None = None, key: Key = None
    ) -> Any:
        """Put a function behind the gate: `send = run.tool(send)`, or `@run.tool` above its definition.

        Each call is checked against the schemas that the bundle's tools part declares under its name
        (`MalformedCall`), and one of a declared kind is gated and recorded as by `action`. With a `key` (a
        text, or a function of the arguments) a call that was made before in this run, in whatever process, is
        not made again: it returns what it returned then. Async functions stay async. Raises `Refused` for a
        tool that the bundle does not declare.
        """
        note(self._outcome, "tools")  # the seam holds every call to it
        if function is None:
            return lambda wanted: self._seam.wrap(wanted, name, key)
        return self._seam.wrap(function, name, key)

    def suspend(self) -> None:
        """Leave the run open when the block ends: another process goes on with `lastgood.resume(run.id)`.

        It counts as lost once the policy's `lost_after` is over, from its beginning, the waiting included.
        """
        self._suspended = True

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
            import asyncio  # a tenth of what the package costs to import

            self._open = False
            await asyncio.shield(asyncio.to_thread(self._end, error))

    def _end(self, error: BaseException | None) -> None:
        if self._suspended:
            worked_s = time.monotonic() - self._began
            self._tell(lambda: self._keep(self._held(worked_s)))
            return
        report = self._reported(self._settled(error))
        self._tell(lambda: self._recorder.record(report, urgent=self.arm == CANDIDATE))

    def _settled(self, error: BaseException | None) -> Outcome:
        """What the run reported, completed by how it ended."""
        outcome = self._outcome
        if _is_gone(error):
            outcome.status = "disconnected"
        elif error is not None:
            outcome.status, outcome.completed, outcome.error = "failed", False, type(error).__name__
            outcome.error_text = failures.said(error)
        elif outcome.completed is None:
            outcome.completed = True
        if outcome.latency_s is None:
            outcome.latency_s = time.monotonic() - self._began
        outcome.settle_cost()
        if self._seam.manifest.checks:
            outcome.metrics.setdefault(TOOL_MALFORMED, False)
        return outcome

    def _reported(self, outcome: Outcome) -> Report:
        """What is recorded of the run."""
        return Report(self.id, outcome, self.input, self.output, self._assigned.origin)

    def _keep(self, held: Held) -> None:
        """Keep what the run reported so far; it stays open."""
        suspend(self._store, self.id, held)

    def _held(self, worked_s: float) -> Held:
        return Held(self._outcome, worked_s, self.input, self.output)

    def _tell(self, write: Callable[[], object]) -> None:
        """The agent's work is done and must not fail now: a run that can't report counts as lost."""
        try:
            write()
        except LastgoodError as refused:
            log.warning("the outcome of %s could not be recorded and counts as lost: %s", self.id, refused)


def _check_tokens(model: str, tokens: object) -> None:
    if not isinstance(tokens, int) or tokens < 0:
        msg = f"run.usage({model!r}): {tokens!r} is no number of tokens; give an int, 0 or more"
        raise InvalidInput(msg)


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
        import asyncio

        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            self._run = await asyncio.shield(starting)
        except asyncio.CancelledError as gone:
            # the thread assigns the run all the same: end it, or it would count as lost
            with suppress(LastgoodError):
                run = await starting
                await run.__aexit__(type(gone), gone, None)
            raise
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
