"""A run in a rehearsal: the same `Run` for the agent, tied to no store. Loaded on demand."""

import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from lastgood.assigning import Assigned
from lastgood.decision import BASELINE, Decision, Reason
from lastgood.errors import Denied, InvalidMove, NotFound, Refused
from lastgood.fixtures import ToolFixture
from lastgood.rehearsal import Act, Inside, Rehearsal, inside
from lastgood.release import RISKS
from lastgood.running import Run
from lastgood.store.connection import Store
from lastgood.tool import Tool
from lastgood.tool_call import Call, Seam, as_json


class ToolFailed(Exception):
    """What a recorded call of a tool raised."""


@dataclass(slots=True)
class RehearsedSeam(Seam):
    """The tools of a run in a rehearsal."""

    rehearsal: Rehearsal | None = None

    @property
    def _held(self) -> Rehearsal:
        assert self.rehearsal is not None  # noqa: S101  whoever makes a seam names it
        return self.rehearsal

    def _run(self, call: Call, make: Callable[[], Any]) -> Any:
        if (again := self._again(call)) is not None:
            return again.result
        served = self._served(call)
        if served is not None:
            return self._answered(call, served)
        if not self._runs(call.tool):
            return self._undone(call)
        with inside(Inside(call.tool.name, call.tool.kind is not None)) as here:
            try:
                result = make()
            except Denied:
                if not self._goes_on(call.tool):
                    raise
                return self._undone(call)
        return self._made(call, here, result)

    async def _run_async(self, call: Call, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if (again := self._again(call)) is not None:
            return again.result
        served = self._served(call)
        if served is not None:
            return self._answered(call, served)
        if not self._runs(call.tool):
            return self._undone(call)
        with inside(Inside(call.tool.name, call.tool.kind is not None)) as here:
            try:
                result = await make()
            except Denied:
                if not self._goes_on(call.tool):
                    raise
                return self._undone(call)
        return self._made(call, here, result)

    def _again(self, call: Call) -> ToolFixture | None:
        """What an earlier call with this key returned: it is not made again."""
        return None if call.key is None else self._held.runs[self.run_id].done.get(call.key)

    def _served(self, call: Call) -> ToolFixture | None:
        """Note an effect that is wanted, and look for its recorded answer."""
        arguments = as_json(call.arguments) or {}
        if call.tool.kind is not None:
            target = str(call.arguments.get(call.tool.target, "")) if call.tool.target else ""
            self._held.log.actions.append(Act(call.tool.kind, target, call.tool.name, arguments))
        return self._held.tool(call.tool.name, arguments, effect=call.tool.kind is not None)

    def _runs(self, tool: Tool) -> bool:
        """Whether the tool's own code is run: a read's, or where every request that it makes is in hand."""
        held = self._held
        sandboxed = held.access.record and bool(held.access.sandbox)
        return tool.kind is None or sandboxed or tool.name in held.fixtures.within

    def _answered(self, call: Call, served: ToolFixture) -> Any:
        if served.error is not None:
            raise ToolFailed(f"{call.tool.name}: {served.error} (recorded)")
        return self._checked(call, served.result)

    def _made(self, call: Call, here: Inside, result: Any) -> Any:
        if here.reached:  # it reached outside by itself: its own answer is what can be replayed
            arguments = as_json(call.arguments) or {}
            self._held.log.recorded.append(ToolFixture(call.tool.name, arguments, as_json(result)))
        return self._checked(call, result)

    def _checked(self, call: Call, result: Any) -> Any:
        if call.key is not None:
            self._held.runs[self.run_id].done[call.key] = ToolFixture(call.tool.name, {}, result)
        if call.tool.output is not None:
            self._check(call.tool, "results", call.tool.output, result)
        return result

    def _undone(self, call: Call) -> Any:
        """An effect that is not done answers with a sample of what its tool declares to return."""
        self._held.log.denied.append(f"the effect of the tool {call.tool.name}")
        return self._checked(call, sample(call.tool.output)) if call.tool.output else None

    def _goes_on(self, tool: Tool) -> bool:
        """Whether a tool whose code met a denial answers all the same: an effect's, while recording."""
        return tool.kind is not None and self._held.access.record


class RehearsedRun(Run):
    """A run on the rehearsal's bundle that writes to no store."""

    def __init__(self, rehearsal: Rehearsal, environment: str, tools: tuple[str, ...] | None) -> None:
        run_id = rehearsal.next_id()
        bundle = rehearsal.bundle
        decision = Decision(BASELINE, bundle, False, Reason.NO_RELEASE, 0, 0, None, RISKS[0])
        assigned = Assigned(run_id, rehearsal.agent, environment, bundle, decision, 0, recorded=False)
        # all that speaks to a store is overridden below
        super().__init__(cast("Store", None), assigned, tools=tools)
        self._seam = RehearsedSeam(None, run_id, self._seam.manifest, self._outcome, rehearsal)
        self._rehearsal = rehearsal
        self._open = True  # its end is noted
        #: what keyed calls of tools returned
        self.done: dict[str, ToolFixture] = {}
        rehearsal.runs[run_id] = self

    @property
    def suspended(self) -> bool:
        """Whether it waits to be resumed."""
        return self._suspended

    @property
    def token(self) -> str:
        """A text that no store accepts."""
        return f"rehearsed.{self.id}"

    def usage(self, model: str, *, tokens_in: int, tokens_out: int) -> float | None:
        """As in service; the cost counts under the rehearsal's ceiling.

        Raises `Denied` where models are called for real and this one has no price.
        """
        cost = super().usage(model, tokens_in=tokens_in, tokens_out=tokens_out)
        held = self._rehearsal
        if held.purse is not None and cost is not None:
            held.purse.spend(cost)
        elif held.access.live and cost is None:
            raise held.deny(f"the model {model} has no price in the model part, so no ceiling can be held")
        return cost

    def event(self, name: str, **detail: Any) -> None:
        """Note a named event."""
        self._rehearsal.log.events.append((name, detail))

    def action(
        self, kind: str, target: str = "", undo: dict[str, Any] | None = None
    ) -> AbstractContextManager[str]:
        """Note an external effect. What is denied inside ends the block, as if it were done."""
        del undo
        self._seam.check_kind(kind)
        self._rehearsal.log.actions.append(Act(kind, target))
        return self._acting(kind, target)

    @contextmanager
    def _acting(self, kind: str, target: str) -> Iterator[str]:
        with inside(Inside(f"{kind} {target}".strip(), effect=True)), contextlib.suppress(Denied):
            yield f"act_rehearsed{len(self._rehearsal.log.actions)}"

    def reopen(self) -> None:
        """Go on after it was suspended."""
        self._open, self._suspended = True, False

    def _end(self, error: BaseException | None) -> None:
        if not self._suspended:
            self._rehearsal.log.outcomes.append(self._settled(error))


def begin(rehearsal: Rehearsal, agent: str, environment: str, tools: tuple[str, ...] | None) -> Run:
    """Begin a run of an agent in a rehearsal; raises `Refused` for another agent's."""
    if agent != rehearsal.agent:
        raise Refused(
            f"a run of {agent} in a rehearsal of {rehearsal.agent}: it has no bundle of {agent}; replay that "
            "agent on its own"
        )
    return RehearsedRun(rehearsal, environment, tools)


def resume(rehearsal: Rehearsal, run_id: str) -> Run:
    """Go on with a run that was suspended in this rehearsal; raises `NotFound`, `InvalidMove`."""
    run: RehearsedRun | None = rehearsal.runs.get(run_id)
    if run is None:
        raise NotFound(f"no run {run_id!r} in this rehearsal: a replay resumes none of the store's")
    if not run.suspended:
        raise InvalidMove(f"run {run_id} of this rehearsal was not suspended")
    run.reopen()
    return run


def report(rehearsal: Rehearsal, run_id: str, event: str | None, fields: dict[str, Any]) -> None:
    """Note what is reported of a run of this rehearsal; raises `NotFound`, `InvalidInput`."""
    run: RehearsedRun | None = rehearsal.runs.get(run_id)
    if run is None:
        raise NotFound(f"no run {run_id!r} in this rehearsal: a replay reports to none of the store's")
    if event is None:
        run.report(**fields)
    else:
        run.event(event, **fields)


def sample(schema: Any) -> Any:
    """Return a small value of a JSON schema: an example, a default, or the least that its types allow."""
    if not isinstance(schema, Mapping):
        return None
    for name in ("const", "default"):
        if name in schema:
            return as_json(schema[name])
    for name in ("examples", "enum"):
        if schema.get(name):
            return as_json(schema[name][0])
    for name in ("oneOf", "anyOf", "allOf"):
        if schema.get(name):
            return sample(schema[name][0])
    return _least(schema)


def _least(schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "object" if "properties" in schema or "required" in schema else None)
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        known = schema.get("properties", {})
        return {name: sample(known.get(name, {})) for name in schema.get("required", ())}
    if kind == "array":
        return [sample(schema.get("items"))] * int(schema.get("minItems", 0))
    if kind in {"integer", "number"}:
        return max(schema.get("minimum", 0), 0)
    if kind == "string":
        return "x" * int(schema.get("minLength", 0))
    return False if kind == "boolean" else None


__all__ = ["RehearsedRun", "begin", "report", "resume", "sample"]
