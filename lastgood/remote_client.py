"""A process's work over the service: runs begun and gone on with, and what is told of them. Loaded on demand.

The assignment is a row that the service commits before the work starts; where that can't be done the run is
served the baseline that was last seen, and is no evidence. Outcomes go out in batches: while the service does
not answer they wait, up to a bound, and a process that ends tries once more.
"""

import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from lastgood.acting import Effect, Gated
from lastgood.assigning import Assigned, Request
from lastgood.batching import Recorder
from lastgood.bundle import Bundle
from lastgood.decision import Decision, Reason, risk_of
from lastgood.errors import (
    BadToken,
    Forbidden,
    InvalidInput,
    LastgoodError,
    NotFound,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from lastgood.identity import Wrong
from lastgood.ids import new_id
from lastgood.outcome import checked, is_outcome
from lastgood.recorder import Batch, Report
from lastgood.records import Records
from lastgood.remote import Service
from lastgood.remote_hearing import Hearing
from lastgood.remote_run import RemoteRun, held_from, held_of, line_of
from lastgood.remote_serving import RemoteServing
from lastgood.running import Run
from lastgood.snapshot import announced_runtimes
from lastgood.store.connection import Store
from lastgood.suspending import Held, check_runtime

log = logging.getLogger("lastgood")
#: seconds that outcomes wait for one another unless told otherwise
INTERVAL_S = 0.2
#: seconds until a service that did not answer is asked again
RETRY_S = 1.0
#: seconds that a run waits for its assignment where a baseline is at hand
ASSIGN_S = 3.0
#: runs of this process whose tokens are at hand for late reports
_REMEMBERED = 10_000
#: lines of one request
_LINES = 500
_guard = threading.Lock()
os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose a run is, and what stands for it."""

    agent: str
    environment: str
    token: str

    @property
    def path(self) -> str:
        """Where the service takes what is told of it."""
        return f"/v1/agents/{self.agent}"


class Remote:
    """This process's work over one service."""

    def __init__(self, service: Service, interval_s: float = INTERVAL_S) -> None:
        self.service = service
        self.recorder = RemoteRecorder(self, interval_s or INTERVAL_S)
        self._serving: dict[tuple[str, str], RemoteServing] = {}
        self._hearing: dict[str, Hearing] = {}
        self._runs: OrderedDict[str, _Known] = OrderedDict()
        self._unrecorded: OrderedDict[str, None] = OrderedDict()
        #: when a service that did not answer is asked again
        self._retry_s = 0.0

    def end(self) -> None:
        """Hear of nothing more."""
        for each in self._hearing.values():
            each.end()

    def serving(self, agent: str, environment: str, fallback: Bundle | None = None) -> RemoteServing:
        """Return how this process serves an agent."""
        found = self._serving.get((agent, environment))
        if found is None:
            hearing = self._hearing.setdefault(environment, Hearing(self.service, environment))
            new = RemoteServing(self.service, agent, environment, fallback, hearing=hearing)
            found = self._serving.setdefault((agent, environment), new)
        return found

    def known(self, run_id: str, token: str | None = None) -> _Known:
        """Return whose a run is; raises `NotFound` for one that could not be recorded, `BadToken`."""
        found = self._runs.get(run_id)
        if found is not None:
            return _Known(found.agent, found.environment, token or found.token)
        if run_id in self._unrecorded:
            msg = f"run {run_id} could not be recorded when it began: the service knows nothing of it"
            raise NotFound(msg)
        said = self.service.ask("GET", f"/v1/runs/{run_id}", again=True)
        if token is None:
            raise BadToken(Wrong.MISSING.say(run_id))
        known = _Known(said["agent"], said["environment"], token)
        self._remember(self._runs, run_id, known)
        return known

    def begin(self, served: RemoteServing, request: Request) -> Run:
        """Begin a run; raises only where no bundle of the agent was ever seen."""
        try:
            if served.known and time.monotonic() < self._retry_s:
                raise StoreUnavailable("it did not answer a moment ago")
            assigned, token = self._assign(served, request)
        except (StoreError, NotFound, Unauthenticated, Forbidden) as error:
            if isinstance(error, StoreError) and time.monotonic() >= self._retry_s:
                self._retry_s = time.monotonic() + RETRY_S
            if not served.known:
                raise
            log.warning("the run of %s is served the baseline and not recorded: %s", served.agent, error)
            return self._unassigned(served, request)
        self._remember(self._runs, assigned.run_id, _Known(served.agent, served.environment, token))
        return RemoteRun(self, assigned, token, request.tools)

    def _assign(self, served: RemoteServing, request: Request) -> tuple[Assigned, str]:
        router = served.router
        risk = risk_of(router.snapshot.point, request.risk)
        body = {
            "unit": request.unit,
            "task_type": request.task_type,
            "risk": request.risk,
            "conversation": request.conversation,
            # a name of its own: asked for again after a broken answer it is the same run
            "run": new_id("", self.service.clock.now_us()),
            "tools": None if request.tools is None else list(request.tools),
            "runtimes": sorted(served.runtimes),
        }
        said = self.service.ask(
            "POST", f"/v1/agents/{served.agent}/runs", body, environment=served.environment, again=True,
            within_s=ASSIGN_S,
        )  # fmt: skip
        bundle = served.bundle(said["bundle"])
        decision = Decision(
            said["arm"], bundle, said["eligible"], Reason(said["why"]), router.snapshot.point.share_bp,
            said["epoch"], said["release"], risk,
        )  # fmt: skip
        now_us = self.service.clock.now_us()
        assigned = Assigned(said["run"], served.agent, served.environment, bundle, decision, now_us)
        return assigned, said["token"]

    def _unassigned(self, served: RemoteServing, request: Request) -> Run:
        router = served.router
        decision = router.refuse(Reason.STORE, risk_of(router.snapshot.point, request.risk))
        now_us = self.service.clock.now_us()
        run_id = new_id("run_", now_us)
        self._remember(self._unrecorded, run_id, None)
        assigned = Assigned(
            run_id, served.agent, served.environment, decision.bundle, decision, now_us, recorded=False
        )
        return RemoteRun(self, assigned, "", request.tools)

    def _remember(self, where: OrderedDict[str, Any], run_id: str, what: Any) -> None:
        with _guard:
            where[run_id] = what
            if len(where) > _REMEMBERED:
                where.popitem(last=False)

    def _records(self, known: _Known) -> Records:
        """What the policy keeps of contents: the rest never leaves this process."""
        return self.serving(known.agent, known.environment).router.snapshot.point.terms.records

    # -- suspend and resume

    def suspend(self, run_id: str, held: Held, token: str | None = None) -> None:
        """Have the service keep what a run reported so far; the run stays open."""
        known = self.known(run_id, token)
        body = {"token": known.token, **held_of(held, self._records(known))}
        self.service.ask("POST", f"/v1/runs/{run_id}/suspend", body, again=True)

    def resume(self, run_id: str, token: str | None, tools: tuple[str, ...] | None) -> Run:
        """Go on with a run; raises as `lastgood.resume`."""
        self.recorder.flush()  # its outcome may wait still
        known = self.known(run_id, token)
        said = self.service.ask("POST", f"/v1/runs/{run_id}/resume", {"token": known.token}, again=True)
        served = self.serving(known.agent, known.environment)
        bundle = served.bundle(said["bundle"])
        check_runtime(run_id, bundle, announced_runtimes())
        decision = Decision(
            said["arm"], bundle, said["eligible"], Reason(said["why"]), said["share_bp"],
            said["epoch"], said["release"], said["risk"],
        )  # fmt: skip
        assigned = Assigned(run_id, known.agent, known.environment, bundle, decision, said["assigned_us"])
        before = None if said["held"] is None else held_from(said["held"])
        return RemoteRun(self, assigned, known.token, tools, before)

    def is_quarantined(self, key: str, agent: str | None, environment: str) -> bool:
        """Whether an output or a memory entry is held back, as `lastgood.is_quarantined`."""
        about = {"key": key} if agent is None else {"key": key, "agent": agent, "environment": environment}
        return bool(self.service.ask("GET", "/v1/quarantined", query=about, again=True)["quarantined"])

    # -- what is told of runs

    def report(
        self, run_id: str, event: str | None, key: str | None, token: str | None, fields: dict[str, Any]
    ) -> None:
        """Report what comes after a run; raises as `lastgood.report`."""
        if run_id in self._unrecorded:
            log.warning("what is reported of %s is dropped: the run itself could not be recorded", run_id)
            return
        self.recorder.flush()  # the run's own outcome may wait still
        outcomes = {name: value for name, value in fields.items() if is_outcome(name)}
        checked(fields if event is None else outcomes)
        if event is not None:
            self.event(run_id, event, fields, token)
        if event is None or outcomes:
            self._late(run_id, fields if event is None else outcomes, key, token)

    def event(self, run_id: str, name: str, detail: dict[str, Any], token: str | None = None) -> None:
        """Record a named event at once."""
        known = self.known(run_id, token)
        body = {"run": run_id, "token": known.token, "name": name, "detail": detail}
        self.service.ask("POST", f"{known.path}/events", body, environment=known.environment)

    def _late(self, run_id: str, fields: dict[str, Any], key: str | None, token: str | None) -> None:
        if not fields:
            msg = f"report of run {run_id}: nothing to report; name at least one outcome"
            raise InvalidInput(msg)
        known = self.known(run_id, token)
        line = {**fields, "run": run_id, "token": known.token}
        line |= {} if key is None else {"key": key}
        said = self._lines(known, "reports", [line], again=key is not None)
        if said["refused"]:
            first = said["refused"][0]
            raise (BadToken if first["error"] == "BadToken" else InvalidInput)(first["message"])

    def _lines(self, known: _Known, what: str, lines: list[dict[str, Any]], *, again: bool) -> Any:
        path = f"{known.path}/{what}"
        return self.service.ask("POST", path, environment=known.environment, lines=lines, again=again)

    def outcomes(self, reports: Sequence[Report]) -> Batch:
        """Record outcomes, each agent's in one request; raises `StoreUnavailable`: they wait on then."""
        new, refused = 0, []
        by_place: dict[tuple[str, str], list[tuple[_Known, dict[str, Any]]]] = {}
        for report in reports:
            known = self.known(report.run_id, report.token)
            told = (known, line_of(report, known.token, self._records(known)))
            by_place.setdefault((known.agent, known.environment), []).append(told)
        for together in by_place.values():
            said = self._lines(together[0][0], "outcomes", [line for _, line in together], again=True)
            new += said["new"]
            refused += [(each["run"] or "", each["message"]) for each in said["refused"]]
        for run_id, why in refused:
            log.warning("the outcome of %s could not be recorded and counts as lost: %s", run_id, why)
        return Batch(new, (), tuple(refused))

    # -- effects

    def reserve(self, run_id: str, effect: Effect, token: str | None = None) -> Gated:
        """Pass the gate before an effect; raises `Refused`, `CapReached`, `InDoubt`, `StoreUnavailable`."""
        known = self.known(run_id, token)
        body = {
            "run": run_id,
            "token": known.token,
            "kind": effect.kind,
            "target": effect.target,
            "undo": effect.undo,
            "tool": effect.tool,
            "key": effect.key,
            "idempotent": effect.idempotent,
        }
        said = self.service.ask(
            "POST",
            f"{known.path}/actions",
            body,
            environment=known.environment,
            again=effect.key is not None and effect.idempotent,
        )
        result = json.dumps(said["result"]) if said["kept"] else None
        return Gated(said["action"], said["late"], done=said["done"], result=result)

    def settle(
        self, run_id: str, action_id: str, state: str, result: str | None = None, *, token: str | None = None
    ) -> None:
        """Say how an effect ended, and what it returned, as JSON, where that is to be kept.

        What can't be said, whatever the service answers, is logged: the effect must not be repeated for it.
        """
        kept = None if result is None else json.loads(result)
        body = {"run": run_id, "state": state, "kept": result is not None, "result": kept}
        try:
            known = self.known(run_id, token)
            path = f"{known.path}/actions/{action_id}"
            said = body | {"token": known.token}
            self.service.ask("POST", path, said, environment=known.environment, again=True)
        except LastgoodError as error:
            log.warning("the action %s is %s, and stays `reserved` there: %s", action_id, state, error)


class RemoteRecorder(Recorder):
    """Sends the outcomes of this process; those of the candidate at once, where that can be done."""

    def __init__(self, remote: Remote, interval_s: float) -> None:
        self._remote = remote
        super().__init__(cast("Store", remote.service), interval_s, most=_LINES)  # only closed

    def record(self, report: Report, *, urgent: bool) -> bool:
        """Send an outcome, or let it wait."""
        if urgent:
            try:
                return self._put([report], durable=True).new == 1
            except StoreUnavailable as error:
                log.warning("the outcome of %s waits for the service: %s", report.run_id, error)
        return super().record(report, urgent=False)

    def _put(self, reports: Sequence[Report], *, durable: bool) -> Batch:
        del durable
        return self._remote.outcomes(reports)


__all__ = ["Remote"]
