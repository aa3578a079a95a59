"""A run as an agent without the database holds it: the same `Run`, told over the service."""

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from lastgood.acting import Effect, Gated
from lastgood.assigning import Assigned
from lastgood.ids import new_id
from lastgood.outcome import Outcome
from lastgood.recorder import Report
from lastgood.records import Records, kept
from lastgood.running import Run
from lastgood.store.connection import Store
from lastgood.suspending import Held, thawed
from lastgood.tool import manifest_of
from lastgood.tool_call import Call, Seam, effect_of
from lastgood.tool_call import kept as result_of

if TYPE_CHECKING:
    from lastgood.remote_client import Remote

log = logging.getLogger("lastgood")


def line_of(report: Report, token: str, records: Records) -> dict[str, Any]:
    """Return an outcome as a line of a batch."""
    outcome = report.outcome
    line = {**outcome.said, "status": outcome.status, "usage": outcome.usage}
    for name in ("error", "error_text", "parts_read"):
        if (value := getattr(outcome, name)) is not None:
            line[name] = value
    for name, value in (("input", report.input), ("output", report.output)):
        if (content := content_of(value, records)) is not None:
            line[name] = content
    return {**line, "run": report.run_id, "token": token}


def content_of(value: Any, records: Records) -> Any:
    """Return of an input or output what the policy keeps, redacted before it leaves the process."""
    text = kept(value, records)
    return None if text is None else json.loads(text)


def held_of(held: Held, records: Records) -> dict[str, Any]:
    """Return what a suspended run had, as the service keeps it."""
    outcome = held.outcome
    return {
        "fields": outcome.said,
        "usage": outcome.usage,
        "parts_read": outcome.parts_read,
        "worked_s": held.worked_s,
        "input": content_of(held.input, records),
        "output": content_of(held.output, records),
    }


def held_from(said: dict[str, Any]) -> Held:
    """Read what a suspended run had; the service checked it when it was told."""
    outcome = Outcome(usage=said["usage"], parts_read=said["parts_read"])
    outcome.take(said["fields"])
    given, made = (thawed(json.dumps(said[name])) for name in ("input", "output"))
    return Held(outcome, said["worked_s"], given, made)


@dataclass(slots=True)
class RemoteSeam(Seam):
    """The tools of a run, gated by the service."""

    remote: "Remote | None" = None
    #: the run's token
    token: str = ""

    def _gate(self, call: Call) -> Gated | None:
        if call.tool.kind is None or self.remote is None:
            return super(RemoteSeam, self)._gate(call)  # says that it is not recorded
        return self._passed(call, self.remote.reserve(self.run_id, effect_of(call), self.token))

    def _settle(self, call: Call, gated: Gated | None, state: str, result: Any = None) -> None:
        if gated is None or self.remote is None:
            return
        keeps = state == "done" and (call.key is not None or call.tool.undo is not None)
        self.remote.settle(
            self.run_id, gated.id, state, result_of(result) if keeps else None, token=self.token
        )


class RemoteRun(Run):
    """A run that the service assigned, or the baseline's while it could not."""

    def __init__(
        self,
        remote: "Remote",
        assigned: Assigned,
        token: str,
        tools: tuple[str, ...] | None,
        before: Held | None = None,
    ) -> None:
        # all that speaks to a store is overridden below
        super().__init__(cast("Store", None), assigned, before, recorder=remote.recorder, tools=tools)
        self._remote, self._token = remote, token
        manifest = manifest_of(assigned.bundle.tools).only(tools)
        held = remote if assigned.recorded else None
        self._seam = RemoteSeam(None, assigned.run_id, manifest, self._outcome, held, token)

    @property
    def token(self) -> str:
        """What a report from outside this process must bring; empty for a run that was not recorded."""
        return self._token

    def event(self, name: str, **detail: Any) -> None:
        """Report a named event at once, as over a store."""
        if self.recorded:
            self._remote.event(self.id, name, detail, self._token)
        else:
            log.warning("the event %s of run %s is not recorded, as the run is not", name, self.id)

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
        gated = self._remote.reserve(self.id, effect, self._token)
        try:
            yield gated.id
        except BaseException:
            self._remote.settle(self.id, gated.id, "failed", token=self._token)
            raise
        self._remote.settle(self.id, gated.id, "done", token=self._token)

    def _reported(self, outcome: Outcome) -> Report:
        return replace(super()._reported(outcome), token=self._token)

    def _keep(self, held: Held) -> None:
        self._remote.suspend(self.id, held, self._token)


__all__ = ["RemoteRun", "held_from", "held_of", "line_of"]
