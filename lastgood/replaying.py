"""Replaying: one input, one bundle, one answer, through the function or URL that an agent declares.

`replay: module:function` names a function `replay(inputs) -> output`, plain or async, that works through
`lastgood.run`, `run.tool` and the clients of `lastgood.outbound`. A URL names a service that answers a POST
with `answer(...)` in its own process.
"""

import asyncio
import contextvars
import hashlib
import inspect
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lastgood import part_reads
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.callables import imported
from lastgood.errors import InvalidInput
from lastgood.fixtures import Fixtures
from lastgood.outcome import Outcome
from lastgood.rehearsal import Access, Act, Log, Purse, Rehearsal, rehearse
from lastgood.tool_call import as_json

#: seconds that one replay may take unless somebody says otherwise
TIMEOUT_S = 60.0
Function = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Played:
    """What one replay made."""

    output: Any = None
    #: type and text of what left the replay as an exception; None where it returned
    error: str | None = None
    #: of every run that ended, as `Outcome.columns` gives it
    outcomes: tuple[Mapping[str, Any], ...] = ()
    #: effects that were wanted
    actions: tuple[Act, ...] = ()
    #: named events with their details
    events: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    #: calls that no fixture answers, and what was denied, in words
    missing: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    recorded: Fixtures = field(default_factory=Fixtures)
    #: kinds of parts that the agent read
    read: frozenset[str] = frozenset()
    seconds: float = 0.0

    @property
    def cost_usd(self) -> float | None:
        """US dollars of all its runs; None where one does not know."""
        costs = [outcome.get("cost_usd") for outcome in self.outcomes]
        return None if None in costs else float(sum(cost for cost in costs if cost is not None))

    @property
    def fingerprint(self) -> str:
        """The same for two replays that did the same; how long they took does not count."""
        outcomes = [{**outcome, "latency_s": None} for outcome in self.outcomes]
        acts = [[act.kind, act.target, act.tool, dict(act.arguments)] for act in self.actions]
        told = [self.output, self.error, outcomes, acts, list(self.events), self.missing, self.denied]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return it as a map of JSON values."""
        acts = [
            {"kind": act.kind, "target": act.target, "tool": act.tool, "arguments": dict(act.arguments)}
            for act in self.actions
        ]
        return {
            "output": self.output, "error": self.error, "outcomes": [dict(one) for one in self.outcomes],
            "actions": acts, "events": [[name, dict(detail)] for name, detail in self.events],
            "missing": list(self.missing), "denied": list(self.denied), "recorded": self.recorded.to_json(),
            "read": sorted(self.read), "seconds": self.seconds,
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Played":
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            told["output"], told["error"], tuple(told["outcomes"]),
            tuple(Act(**act) for act in told["actions"]),
            tuple((name, detail) for name, detail in told["events"]),
            tuple(told["missing"]), tuple(told["denied"]), Fixtures.from_json(told["recorded"]),
            frozenset(told["read"]), float(told["seconds"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Means:
    """What replays may use."""

    access: Access = field(default_factory=Access)
    purse: Purse | None = None
    #: seconds
    timeout_s: float = TIMEOUT_S


class Replay(Protocol):
    """How an agent is replayed."""

    @property
    def reference(self) -> str:
        """What the agent declared."""

    def play(self, bundle: Bundle, inputs: Any, fixtures: Fixtures, means: Means) -> Played:
        """Replay one input on a bundle; what the agent raises is in what it returns."""


@dataclass(frozen=True, slots=True)
class LocalReplay:
    """A function of this process."""

    agent: str
    reference: str
    function: Function

    def play(self, bundle: Bundle, inputs: Any, fixtures: Fixtures, means: Means) -> Played:
        """Replay one input in a thread of its own; one that hangs is left behind, in its rehearsal."""
        held = Rehearsal(self.agent, bundle, fixtures, means.access, means.purse)
        done: list[Played] = []
        here = contextvars.copy_context()  # what the caller set for its agent holds for the replay too
        thread = threading.Thread(
            target=lambda: done.append(here.run(_rehearsed, held, self.function, inputs)),
            daemon=True,
            name="replay",
        )
        began = time.monotonic()
        thread.start()
        thread.join(means.timeout_s)
        if done:
            return done[0]
        late = f"TimeoutError: the replay did not end within {means.timeout_s:g} s"
        return _played(held.log, None, late, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class RemoteReplay:
    """A service that replays in its own process."""

    agent: str
    reference: str

    def play(self, bundle: Bundle, inputs: Any, fixtures: Fixtures, means: Means) -> Played:
        """Post one input and its fixtures; raises `InvalidInput` where the answer is none of `answer`'s."""
        import httpx  # whoever replays at a URL has it

        from lastgood import guard

        asked = _question(self.agent, bundle, inputs, fixtures, means)
        try:
            with guard.client(timeout_s=means.timeout_s + 5, silent_s=means.timeout_s + 5) as client:
                response = client.post(self.reference, json=asked)
            response.raise_for_status()
            played = Played.from_json(response.json())
        except httpx.TimeoutException:
            return Played(error=f"TimeoutError: {self.reference} did not answer in {means.timeout_s:g} s")
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"the replay at {self.reference} did not answer a replay ({error!r}); have it return "
                "lastgood.replaying.answer(body, agent, function)"
            ) from error
        if means.purse is not None:
            means.purse.spend(played.cost_usd or 0.0)
        return played


def _question(agent: str, bundle: Bundle, inputs: Any, fixtures: Fixtures, means: Means) -> dict[str, Any]:
    access, purse = means.access, means.purse
    parts = [[part.kind, part.version, part.body.decode()] for part in bundle.parts]
    return {
        "agent": agent, "parts": parts, "inputs": inputs,
        "fixtures": fixtures.to_json(), "rules": list(fixtures.rules),
        "access": {"live": sorted(access.live), "record": access.record, "sandbox": sorted(access.sandbox)},
        "usd": None if purse is None else max(purse.ceiling_usd - purse.spent_usd, 0.0),
        "timeout_s": means.timeout_s,
    }  # fmt: skip


def answer(asked: Mapping[str, Any], agent: str, function: Function) -> dict[str, Any]:
    """Answer what a `replay` URL is posted (a JSON body) with `function(inputs) -> output` of this process.

    Raises `InvalidInput` for a body that is none of lastgood's, or asks for another agent.
    """
    try:
        bundle = Bundle(Part(kind, version, body.encode()) for kind, version, body in asked["parts"])
        given = asked["access"]
        access = Access(frozenset(given["live"]), bool(given["record"]), frozenset(given["sandbox"]))
        purse = None if asked["usd"] is None else Purse(float(asked["usd"]))
        fixtures = Fixtures.from_json(asked["fixtures"], tuple(asked["rules"]))
        means, inputs, name = Means(access, purse, float(asked["timeout_s"])), asked["inputs"], asked["agent"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"this is no question of a replay: {error!r}") from error
    if name != agent:
        raise InvalidInput(f"a replay of {name} was asked of {agent}; correct the `replay` URL of {name}")
    return LocalReplay(agent, "", function).play(bundle, inputs, fixtures, means).to_json()


def load(agent: str, reference: str) -> Replay:
    """Return the replay that an agent declares, `module:function` or a URL; raises `InvalidInput`."""
    if not reference:
        raise InvalidInput(
            f"the agent {agent} declares no replay: write `replay: package.module:function` into its "
            "profile, or name it with --replay; the function takes a run's input and returns its output"
        )
    if reference.startswith(("http://", "https://")):
        return RemoteReplay(agent, reference)
    return LocalReplay(agent, reference, function_of(reference, f"the replay of {agent}"))


def function_of(reference: str, what: str) -> Any:
    """Import `package.module:name`, from the working directory too; raises `InvalidInput` for `what`."""
    module, _, name = reference.partition(":")
    if not (module and name):
        raise InvalidInput(f"{what}: {reference!r} is no function; write package.module:function")
    try:
        found = getattr(imported(module), name, None)
    except Exception as error:
        raise InvalidInput(f"{what}: {module} can't be imported: {error!r}") from error
    if not callable(found):
        raise InvalidInput(f"{what}: {module} has no function {name}")
    return found


def find_bundle(reference: str) -> Bundle:
    """Return the bundle of a bundle.yaml, or one that is registered in the store that the environment names.

    Raises `InvalidBundle`, `NotFound` and `StoreError`.
    """
    if reference.endswith((".yaml", ".yml")) or Path(reference).is_file():
        from lastgood.bundle_file import read_bundle_file

        return read_bundle_file(reference).bundle
    from lastgood import agent, registry

    return registry.load(agent.store(), reference).bundle


def _rehearsed(held: Rehearsal, function: Function, inputs: Any) -> Played:
    given = as_json(inputs)  # a copy: the agent may change what it is given
    began, output, failure = time.monotonic(), None, None
    with rehearse(held):
        try:
            output = function(given)
            if inspect.isawaitable(output):
                output = asyncio.run(_awaited(output))
        except BaseException as error:  # noqa: BLE001  whatever the agent raises is its answer
            failure = f"{type(error).__name__}: {error}"
    if output is None and failure is None and held.runs:
        output = list(held.runs.values())[-1].output
    return _played(held.log, output, failure, time.monotonic() - began)


async def _awaited(output: Any) -> Any:
    return await output


def _played(log: Log, output: Any, error: str | None, seconds: float) -> Played:
    plain = as_json(output)
    return Played(
        output=str(output) if plain is None and output is not None else plain,
        error=error,
        outcomes=tuple(_columns(outcome) for outcome in log.outcomes),
        actions=tuple(log.actions),
        events=tuple((name, as_json(detail) or {}) for name, detail in log.events),
        missing=tuple(log.missing),
        denied=tuple(log.denied),
        recorded=Fixtures(tuple(log.recorded)),
        read=frozenset(KINDS) - frozenset(part_reads.unread(one.parts_read or 0 for one in log.outcomes)),
        seconds=seconds,
    )


def _columns(outcome: Outcome) -> dict[str, Any]:
    columns: dict[str, Any] = as_json(outcome.columns()) or {}
    return columns


__all__ = ["Means", "Played", "Replay", "answer", "find_bundle", "function_of", "load"]
