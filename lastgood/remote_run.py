"""Runs over the service: the same `Run` for the agent, without the database. Loaded on demand.

The assignment is a row that the service commits before the work starts; where that can't be done the run is
served the baseline that was last seen, and is no evidence. Outcomes go out in batches: while the service does
not answer they wait, up to a bound, and a process that ends tries once more.
"""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from lastgood.acting import Effect, Gated
from lastgood.assigning import Assigned, Request
from lastgood.batching import Recorder
from lastgood.bundle import Bundle
from lastgood.decision import Decision, Reason, risk_of
from lastgood.errors import (
    Forbidden,
    InvalidInput,
    InvalidMove,
    NotFound,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from lastgood.ids import new_id
from lastgood.outcome import checked, is_outcome
from lastgood.recorder import Batch, Report
from lastgood.records import Ref
from lastgood.remote import Service
from lastgood.remote_serving import RemoteServing
from lastgood.running import Run
from lastgood.store.connection import Store
from lastgood.tool import manifest_of
from lastgood.tool_call import Call, Seam, as_json, effect_of, kept

log = logging.getLogger("lastgood")
#: seconds that outcomes wait for one another unless told otherwise
INTERVAL_S = 0.2
#: seconds until a service that did not answer is asked again
RETRY_S = 1.0
#: runs of this process whose tokens are at hand for late reports
_REMEMBERED = 10_000
#: lines of one request
_LINES = 500


@dataclass(frozen=True, slots=True)
class _Known:
    agent: str
    token: str


class Remote:
    """This process's work over one service."""

    def __init__(self, service: Service, interval_s: float = INTERVAL_S) -> None:
        self.service = service
        self.recorder = RemoteRecorder(self, interval_s or INTERVAL_S)
        self._serving: dict[str, RemoteServing] = {}
        self._runs: OrderedDict[str, _Known] = OrderedDict()
        self._unrecorded: OrderedDict[str, None] = OrderedDict()
        #: when a service that did not answer is asked again
        self._retry_s = 0.0

    def serving(self, agent: str, fallback: Bundle | None = None) -> RemoteServing:
        """Return how this process serves an agent."""
        return self._serving.setdefault(agent, RemoteServing(self.service, agent, fallback))

    def known(self, run_id: str, token: str | None = None) -> _Known:
        """Return the agent and token of a run; raises `NotFound` where neither is at hand."""
        found, agents = self._runs.get(run_id), list(self._serving)
        if found is not None:
            return _Known(found.agent, token or found.token)
        if token is None or len(agents) != 1:
            msg = (
                f"this process did not start run {run_id!r}, or long ago: report it with its token, in a "
                "process that serves its agent alone"
            )
            raise NotFound(msg)
        return _Known(agents[0], token)

    def begin(self, agent: str, request: Request, fallback: Bundle | None) -> Run:
        """Begin a run; raises only where no bundle of the agent was ever seen."""
        served = self.serving(agent, fallback)
        try:
            if served.known and time.monotonic() < self._retry_s:
                raise StoreUnavailable("it did not answer a moment ago")
            assigned, token = self._assign(served, request)
        except (StoreError, NotFound, Unauthenticated, Forbidden) as error:
            if time.monotonic() >= self._retry_s:
                self._retry_s = time.monotonic() + RETRY_S
            if not served.known:
                raise
            log.warning("the run of %s is served the baseline and not recorded: %s", agent, error)
            return self._unassigned(served, request)
        self._remember(self._runs, assigned.run_id, _Known(agent, token))
        return RemoteRun(self, assigned, token, request.tools)

    def _assign(self, served: RemoteServing, request: Request) -> tuple[Assigned, str]:
        router = served.router
        risk = risk_of(router.snapshot.point, request.risk)
        body = {
            "unit": request.unit,
            "task_type": request.task_type,
            "risk": request.risk,
            "conversation": request.conversation,
            "tools": None if request.tools is None else list(request.tools),
            "runtimes": sorted(served.runtimes),
        }
        said = self.service.ask("POST", f"/v1/agents/{served.agent}/runs", body)
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
        where[run_id] = what
        if len(where) > _REMEMBERED:
            where.popitem(last=False)

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
        self.service.ask("POST", f"/v1/agents/{known.agent}/events", body)

    def _late(self, run_id: str, fields: dict[str, Any], key: str | None, token: str | None) -> None:
        if not fields:
            msg = f"report of run {run_id}: nothing to report; name at least one outcome"
            raise InvalidInput(msg)
        known = self.known(run_id, token)
        line = {**fields, "run": run_id, "token": known.token}
        line |= {} if key is None else {"key": key}
        said = self.service.ask("POST", f"/v1/agents/{known.agent}/reports", lines=[line])
        if said["refused"]:
            raise InvalidInput(said["refused"][0]["message"])

    def outcomes(self, reports: Sequence[Report]) -> Batch:
        """Record outcomes, each agent's in one request; raises `StoreUnavailable`: they wait on then."""
        new, refused = 0, []
        by_agent: dict[str, list[dict[str, Any]]] = {}
        for report in reports:
            known = self.known(report.run_id, report.token)
            by_agent.setdefault(known.agent, []).append(_line(report, known.token))
        for agent, lines in by_agent.items():
            said = self.service.ask("POST", f"/v1/agents/{agent}/outcomes", lines=lines)
            new += said["new"]
            refused += [(each["run"] or "", each["message"]) for each in said["refused"]]
        for run_id, why in refused:
            log.warning("the outcome of %s could not be recorded and counts as lost: %s", run_id, why)
        return Batch(new, (), tuple(refused))

    # -- effects

    def reserve(self, run_id: str, effect: Effect) -> Gated:
        """Pass the gate before an effect; raises `Refused`, `CapReached`, `InDoubt`, `StoreUnavailable`."""
        known = self.known(run_id)
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
        said = self.service.ask("POST", f"/v1/agents/{known.agent}/actions", body)
        result = json.dumps(said["result"]) if said["kept"] else None
        return Gated(said["action"], said["late"], done=said["done"], result=result)

    def settle(self, run_id: str, action_id: str, state: str, result: str | None = None) -> None:
        """Say how an effect ended, and what it returned, as JSON, where that is to be kept.

        What can't be said is logged: the effect must not be repeated for it.
        """
        known = self.known(run_id)
        body = {"run": run_id, "token": known.token, "state": state, "kept": result is not None}
        body["result"] = None if result is None else json.loads(result)
        try:
            self.service.ask("POST", f"/v1/agents/{known.agent}/actions/{action_id}", body)
        except StoreError as error:
            log.warning("the action %s is %s, and stays `reserved` there: %s", action_id, state, error)


def _line(report: Report, token: str) -> dict[str, Any]:
    """An outcome as the service reads one."""
    outcome = report.outcome
    values = outcome.columns()
    for name in ("error_text", "parts_read"):  # the service has no place for them
        values.pop(name)
    metrics, usage, error = values.pop("metrics"), values.pop("usage"), values.pop("error")
    line = {name: value for name, value in values.items() if value is not None}
    line |= metrics | {"usage": usage} | ({} if error is None else {"error": error})
    for name, value in (("input", report.input), ("output", report.output)):
        if value is not None:
            line[name] = {"ref": value.where} if isinstance(value, Ref) else as_json(value)
    return {**line, "run": report.run_id, "token": token}


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


@dataclass(slots=True)
class RemoteSeam(Seam):
    """The tools of a run, gated by the service."""

    remote: Remote | None = None

    def _gate(self, call: Call) -> Gated | None:
        if call.tool.kind is None or self.remote is None:
            return None
        return self._passed(call, self.remote.reserve(self.run_id, effect_of(call)))

    def _settle(self, call: Call, gated: Gated | None, state: str, result: Any = None) -> None:
        if gated is None or self.remote is None:
            return
        keeps = state == "done" and (call.key is not None or call.tool.undo is not None)
        self.remote.settle(self.run_id, gated.id, state, kept(result) if keeps else None)


class RemoteRun(Run):
    """A run that the service assigned, or the baseline's while it could not."""

    def __init__(self, remote: Remote, assigned: Assigned, token: str, tools: tuple[str, ...] | None) -> None:
        # all that speaks to a store is overridden below
        super().__init__(cast("Store", None), assigned, recorder=remote.recorder, tools=tools)
        self._remote, self._token = remote, token
        manifest = manifest_of(assigned.bundle.tools).only(tools)
        held = remote if assigned.recorded else None
        self._seam = RemoteSeam(None, assigned.run_id, manifest, self._outcome, held)

    @property
    def token(self) -> str:
        """What a report from outside this process must bring; empty for a run that was not recorded."""
        return self._token

    def event(self, name: str, **detail: Any) -> None:
        """Report a named event at once; one that the policy does not tolerate reverts the release."""
        if self.recorded:
            self._remote.event(self.id, name, detail)

    def action(
        self, kind: str, target: str = "", undo: dict[str, Any] | None = None
    ) -> AbstractContextManager[str]:
        """Hold an external action open, as over a store."""
        self._seam.check_kind(kind)
        if not self.recorded:
            log.warning("%s %s of run %s is not recorded, as the run is not", kind, target, self.id)
            return nullcontext(new_id("act_", self._remote.service.clock.now_us()))
        return self._acting(Effect(kind, target, undo or {}))

    @contextmanager
    def _acting(self, effect: Effect) -> Iterator[str]:
        gated = self._remote.reserve(self.id, effect)
        try:
            yield gated.id
        except BaseException:
            self._remote.settle(self.id, gated.id, "failed")
            raise
        self._remote.settle(self.id, gated.id, "done")

    def suspend(self) -> None:
        """Raise `InvalidMove`: what a run has reported so far is kept in a store, which is not at hand."""
        msg = f"run {self.id} can't be suspended over LASTGOOD_URL: suspend and resume need LASTGOOD_DATABASE"
        raise InvalidMove(msg)


__all__ = ["Remote", "RemoteRun"]
