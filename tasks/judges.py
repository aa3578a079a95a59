"""Judges: a policy's referee as something that can be called, with the digest of what it is.

A referee is a callable `(input, output, **settings)` that returns a mark (true or false, or a number), or a
`Judgement` that also tells its price; or an evaluator of pydantic-evals. It is told nothing of the arm.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from config.referee import RefereeSpec
from lastgood.callables import imported
from lastgood.errors import InvalidPolicy

#: what a referee says of one run
Mark: TypeAlias = bool | float
#: sources of referees by module, as they were when this process loaded them
_sources: dict[str, str] = {}
#: calls that hang at most before no further one is begun: each holds a thread, and often a connection
MOST_HANGING = 32
_hanging: list[threading.Thread] = []


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a referee may return instead of a bare mark."""

    mark: Mark
    #: US dollars that it cost; None: the policy's price
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """A referee that is ready to be called."""

    call: Callable[[Any, Any], Any]
    #: sha256 over its name, version, settings and source, 64 hex digits
    digest: str
    #: seconds that a judgement may take
    timeout_s: float

    def judge(self, given: Any, made: Any) -> Judgement:
        """Judge one run by its input and output; raises whatever the referee raises, or TimeoutError."""
        found = within(self.timeout_s, lambda: self.call(given, made))
        return found if isinstance(found, Judgement) else Judgement(found)


def digest_of(spec: RefereeSpec) -> str:
    """What tells a referee from another one: the policy's words on it, and its source where it has one."""
    source = "" if spec.call is None else _source(_module(spec.call))
    told = {**spec.model_dump(include={"column", "call", "version", "rubric", "settings"}), "source": source}
    if spec.scores is not None:
        told["scores"] = spec.scores.model_dump(mode="json", exclude_none=True, by_alias=True)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def load(spec: RefereeSpec) -> Judge:
    """Import a referee; InvalidPolicy where there is none of that name, or it can't be called."""
    assert spec.call is not None  # noqa: S101  people judge otherwise, and nobody loads them
    module, name = _module(spec.call), spec.call.partition(":")[2]
    found = getattr(module, name, None)
    call = found if callable(found) and not isinstance(found, type) else None
    if isinstance(found, type) and hasattr(found, "evaluate"):
        found = found(**spec.settings)
    if hasattr(found, "evaluate_sync"):
        evaluate = _pydantic_evals(found)
        return Judge(evaluate, digest_of(spec), spec.timeout / 1_000_000)
    if call is None:
        raise InvalidPolicy(f"referee: {spec.call} is nothing that can be called; name a function")
    return Judge(
        lambda given, made: call(given, made, **spec.settings), digest_of(spec), spec.timeout / 1_000_000
    )


def _module(call: str) -> ModuleType:
    name = call.partition(":")[0]
    try:
        return imported(name)
    except Exception as error:
        msg = f"referee: {name} can't be imported: {error!r}; name it as package.module:function"
        raise InvalidPolicy(msg) from error


def _source(module: ModuleType) -> str:
    """The sha256 of a module's file as it was when it was loaded; empty where it has none."""
    if module.__name__ not in _sources:
        path = getattr(module, "__file__", None)
        content = Path(path).read_bytes() if path and Path(path).is_file() else b""
        _sources[module.__name__] = hashlib.sha256(content).hexdigest() if content else ""
    return _sources[module.__name__]


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` returns; TimeoutError where it takes longer: a call that hangs is left behind.

    Where too many hang still none is begun: a source that is asked each minute would take every thread.
    """
    _hanging[:] = [thread for thread in _hanging if thread.is_alive()]
    if len(_hanging) >= MOST_HANGING:
        msg = f"not begun: {len(_hanging)} earlier calls hang still; end what they wait for, or this process"
        raise TimeoutError(msg)
    done: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001  it is raised where the result is wanted
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="asked")
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        _hanging.append(thread)
        msg = f"no answer within {seconds:g} s"
        raise TimeoutError(msg)
    return done[0]


def _pydantic_evals(evaluator: Any) -> Callable[[Any, Any], Any]:
    """An evaluator of pydantic-evals (the extra `referee`) as a callable."""
    try:
        from pydantic_evals.evaluators import EvaluatorContext
    except ModuleNotFoundError as error:
        msg = "referee: an evaluator of pydantic-evals needs it installed: pip install 'lastgood[referee]'"
        raise InvalidPolicy(msg) from error

    def call(given: Any, made: Any) -> Any:
        context = EvaluatorContext(
            name=None, inputs=given, metadata=None, expected_output=None, output=made, duration=0.0,
            _span_tree=None, attributes={}, metrics={},
        )  # fmt: skip
        found = evaluator.evaluate_sync(context)
        return getattr(found, "value", found)

    return call


__all__ = ["Judge", "Judgement", "Mark", "digest_of", "load", "within"]
