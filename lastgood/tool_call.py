"""Tool calls: the one seam between an agent and the world.

A call is checked against the manifest's schemas, gated, recorded, and replayed where it was made before. A
malformed one is the bundle's doing: it is refused before the effect and counted for the run.
"""

import functools
import inspect
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from lastgood import acting
from lastgood.acting import Effect, Gated
from lastgood.errors import InvalidInput, MalformedCall, Refused
from lastgood.outcome import Outcome
from lastgood.store.connection import Store
from lastgood.tool import Manifest, Tool
from lastgood.triggers import TOOL_MALFORMED

log = logging.getLogger("lastgood")
#: what tells one call of a run from another: a text, or what makes one of the call's arguments
Key = str | Callable[..., str] | None
#: bytes of a recorded result
MAX_RESULT = 64_000
#: modules of the standard library whose values are their text
_SCALARS = frozenset({"uuid", "decimal", "fractions", "datetime", "pathlib", "ipaddress", "enum"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is about to be made."""

    tool: Tool
    arguments: dict[str, Any]
    key: str | None


@dataclass(slots=True)
class Seam:
    """The tools of one run."""

    #: None where the run could not be recorded: its calls are checked, and go through
    store: Store | None
    run_id: str
    #: the tools that the run may call
    manifest: Manifest
    #: where a malformed call is counted
    outcome: Outcome

    def wrap(self, function: Callable[..., Any], name: str | None, key: Key) -> Callable[..., Any]:
        """Return the function behind the seam, async where it is; raises `Refused` for an undeclared one."""
        tool = self.tool(name or str(getattr(function, "__name__", "")))
        signature = inspect.signature(function)
        if _is_async(function):

            @functools.wraps(function)
            async def called_async(*args: Any, **named: Any) -> Any:
                call = self._call(tool, signature, key, args, named)
                return await self._run_async(call, lambda: function(*args, **named))

            return called_async

        @functools.wraps(function)
        def called(*args: Any, **named: Any) -> Any:
            call = self._call(tool, signature, key, args, named)
            return self._run(call, lambda: function(*args, **named))

        return called

    def tool(self, name: str) -> Tool:
        """Return a declared tool; raises `Refused`. A manifest that declares none lets every name through."""
        found = self.manifest.tools.get(name)
        if found is None and self.manifest.tools:
            msg = (
                f"the tool {name!r} of run {self.run_id} is refused: it is not among the tools that the run "
                f"may call ({', '.join(self.manifest.tools)}); declare it in the tools part"
            )
            raise Refused(msg)
        return found or Tool(name)

    def check_kind(self, kind: str) -> None:
        """Raise `Refused` for a kind of action that no tool of the run has, where any kind is declared."""
        if self.manifest.kinds and kind not in self.manifest.kinds:
            declared = ", ".join(sorted(self.manifest.kinds))
            msg = (
                f"{kind} of run {self.run_id} is refused: its bundle declares no such kind of action "
                f"(declared: {declared}); declare a tool of this kind in the tools part"
            )
            raise Refused(msg)

    def _call(
        self, tool: Tool, signature: inspect.Signature, key: Key, args: Any, named: dict[str, Any]
    ) -> Call:
        """Bind and check the arguments; raises `MalformedCall`, which is counted."""
        try:
            bound = signature.bind(*args, **named)
        except TypeError as error:
            raise self._malformed(tool, f"{error}") from error
        arguments: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                arguments |= value
            else:
                arguments[name] = value
        if tool.input is not None:
            self._check(tool, "arguments", tool.input, arguments)
        return Call(tool, arguments, _key(tool, key, arguments))

    def _check(self, tool: Tool, what: str, schema: Any, value: Any) -> None:
        from lastgood.tool_schema import misfit  # jsonschema: only who declares schemas needs it

        plain = as_json(value)
        found = "it is no JSON value" if plain is None and value is not None else misfit(schema, plain)
        if found is not None:
            raise self._malformed(tool, f"its {what} do not fit the manifest: {found}")

    def _malformed(self, tool: Tool, why: str) -> MalformedCall:
        self.outcome.metrics[TOOL_MALFORMED] = True
        return MalformedCall(f"the call of {tool.name} in run {self.run_id} is refused: {why}")

    def _gate(self, call: Call) -> Gated | None:
        """Let a call with an effect through the gate; None for one without, or of an unrecorded run."""
        if call.tool.kind is None:
            return None
        if self.store is None:
            log.warning("%s of run %s is not recorded, as the run is not", call.tool.name, self.run_id)
            return None
        return self._passed(call, acting.reserve(self.store, self.run_id, effect_of(call)))

    def _passed(self, call: Call, gated: Gated) -> Gated:
        """What the gate said; raises `Refused` where the effect happened and its result is not known."""
        if gated.done and gated.result is None:
            msg = (
                f"{call.tool.name} of run {self.run_id} with the key {call.key!r} took effect before, and "
                "what it returned could not be kept; read it where it acted"
            )
            raise Refused(msg)
        return gated

    def _settle(self, call: Call, gated: Gated | None, state: str, result: Any = None) -> None:
        if gated is not None and self.store is not None:
            keeps = state == "done" and (call.key is not None or call.tool.undo is not None)
            acting.settle(self.store, gated.id, state, kept(result) if keeps else None)

    def _accept(self, call: Call, gated: Gated | None, result: Any) -> Any:
        """Record what a call returned, then check it: its effect has happened either way."""
        self._settle(call, gated, "done", result)
        if call.tool.output is not None:
            self._check(call.tool, "results", call.tool.output, result)
        return result

    def _run(self, call: Call, make: Callable[[], Any]) -> Any:
        gated = self._gate(call)
        if gated is not None and gated.done:
            return json.loads(gated.result or "null")
        try:
            result = make()
        except BaseException:
            self._settle(call, gated, "failed")
            raise
        return self._accept(call, gated, result)

    async def _run_async(self, call: Call, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        import asyncio  # a tenth of what the package costs to import

        gated = await asyncio.to_thread(self._gate, call)
        if gated is not None and gated.done:
            return json.loads(gated.result or "null")
        try:
            result = await make()
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._settle, call, gated, "failed"))
            raise
        return await asyncio.shield(asyncio.to_thread(self._accept, call, gated, result))


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether what a call returns has to be awaited; an object may be called too."""
    called = getattr(function, "__call__", None)  # noqa: B004  what it does, not whether it can
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _key(tool: Tool, key: Key, arguments: dict[str, Any]) -> str | None:
    """Return the key of a call: what the agent gives, else the arguments that the manifest names."""
    if key is None and not tool.key:
        return None
    if isinstance(key, str):
        return f"{tool.name}:{key}"
    if key is not None:
        return f"{tool.name}:{key(**arguments)}"
    missing = [name for name in tool.key if name not in arguments]
    if missing:
        msg = f"the call of {tool.name} lacks {', '.join(missing)}, which the manifest's key names"
        raise InvalidInput(msg)
    for name in tool.key:
        if arguments[name] is not None and _told(arguments[name]) is None:
            msg = (
                f"the call of {tool.name}: its argument {name} is of type {type(arguments[name]).__name__}, "
                "which JSON lacks, and can't tell this call from another: pass a text or a number, or give a "
                "key of your own, run.tool(..., key=...)"
            )
            raise InvalidInput(msg)
    return f"{tool.name}:{json.dumps([_told(arguments[name]) for name in tool.key], sort_keys=True)}"


def _told(value: Any) -> Any:
    """A value as JSON holds it, ids, times and exact numbers as their text; None for anything else."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_text))
    except (TypeError, ValueError, RecursionError):
        return None


def _text(value: object) -> str:
    """Never of an agent's own object: that may say its address, or what nobody meant to keep."""
    kinds = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if not kinds & _SCALARS:
        msg = f"{type(value).__name__} has no text that is the same everywhere"
        raise TypeError(msg)
    return str(value)


def effect_of(call: Call) -> Effect:
    """Return what a call does outside, and what undoes it, as its tool declares."""
    tool, undo = call.tool, {}
    if isinstance(tool.undo, str):
        undo = {"tool": tool.undo, "of": tool.name, "arguments": _undoable(call.arguments)}
    elif tool.undo is not None:
        undo = {**tool.undo, "of": tool.name, "arguments": _undoable(call.arguments)}
    target = str(call.arguments.get(tool.target, "")) if tool.target else ""
    return Effect(tool.kind or "", target, undo, tool.name, call.key, tool.idempotent)


def _undoable(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that whoever undoes the call can be given; one of them must not hide the others."""
    told = {name: _told(value) for name, value in arguments.items()}
    return {name: value for name, value in told.items() if value is not None or arguments[name] is None}


def as_json(value: Any) -> Any:
    """Return a value as JSON holds it; None where it can't."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def kept(result: Any) -> str | None:
    """Return the JSON of a result; None where it has none, or a large one."""
    plain = as_json(result)
    if plain is None and result is not None:
        return None
    text = json.dumps(plain)
    return text if len(text.encode()) <= MAX_RESULT else None


__all__ = ["Call", "Key", "Seam", "as_json", "effect_of", "kept"]
