"""Case files under pydantic-evals (the extra `referee`): its classes of our checks, and a task that replays.

    from pydantic_evals import Dataset
    from lastgood import evals

    dataset = Dataset.from_file("cases.yaml", custom_evaluator_types=evals.EVALUATORS)
    report = dataset.evaluate_sync(evals.task("cases.yaml", "bundle.yaml", "my_agent:replay"))

The file is used as it is. A replay's log travels to the evaluators as an attribute of the case.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_evals import set_eval_attribute
from pydantic_evals.evaluators import EvaluationReason, Evaluator, EvaluatorContext

from lastgood import cases, checks
from lastgood.checks import Subject
from lastgood.errors import NotFound
from lastgood.pytest_plugin import find_bundle
from lastgood.replaying import Means, Played, load
from lastgood.tool_call import as_json

#: name of the attribute that holds a replay's log
ATTRIBUTE = "lastgood"


def _evaluate(check: Any, context: EvaluatorContext[Any, Any, Any]) -> EvaluationReason:
    told = context.attributes.get(ATTRIBUTE)
    if not isinstance(told, dict):
        return EvaluationReason(
            value=False, reason="there is no log of a replay: use the task of lastgood.evals"
        )
    played = Played.from_json(told)
    if played.missing:
        return EvaluationReason(value=False, reason=f"no recorded answer to {played.missing[0]}")
    why = check.why_not(Subject(played, context.inputs, context.expected_output))
    return EvaluationReason(value=why is None, reason=why)


def _class(kind: type[Any]) -> type[Evaluator[Any, Any, Any]]:
    """An evaluator of pydantic-evals with the fields of one of our checks."""
    made = type(kind.__name__, (kind, Evaluator), {"evaluate": _evaluate, "__doc__": kind.__doc__})
    found: type[Evaluator[Any, Any, Any]] = dataclass(made)
    return found


#: our checks that pydantic-evals has not itself: `custom_evaluator_types` of `Dataset.from_file`
EVALUATORS: Sequence[type[Evaluator[Any, Any, Any]]] = tuple(_class(kind) for kind in checks.OWN)


def task(file: str | Path, bundle: str, replay: str = "", means: Means | None = None) -> Callable[[Any], Any]:
    """Return a task that replays the inputs of a case file on a bundle, answered from the case's fixtures.

    `bundle` is a bundle.yaml or a registered bundle; `replay` is what the cases name where it is empty.
    Raises `NotFound` for inputs that are no case's.
    """
    held = {_key(case.inputs): case for case in cases.read_file(Path(file))}
    found = find_bundle(bundle)

    def play(inputs: Any) -> Any:
        case = held.get(_key(inputs))
        if case is None:
            raise NotFound(f"{file} has no case with these inputs: {str(inputs)[:200]}")
        agent = str(case.told.get("agent") or "agent")
        used = load(agent, replay or str(case.told.get("replay") or ""))
        played = used.play(found, case.inputs, case.fixtures, means or Means())
        set_eval_attribute(ATTRIBUTE, played.to_json())
        if played.error is not None and not _may_raise(case):
            raise RuntimeError(played.error)
        return played.output

    return play


def _may_raise(case: cases.Case) -> bool:
    """Whether every check of a case is ours, and so is told of an exception."""
    return all(isinstance(check, checks.OWN) for check in case.checks)


def _key(inputs: Any) -> str:
    return json.dumps(as_json(inputs), sort_keys=True)


__all__ = ["ATTRIBUTE", "EVALUATORS", "task"]
