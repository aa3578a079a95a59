"""Case files under pydantic-evals (the extra `referee`): its classes of our checks, and a task that replays.

    from pydantic_evals import Dataset
    from lastgood import evals

    dataset = Dataset.from_file("cases.yaml", custom_evaluator_types=evals.EVALUATORS)
    report = dataset.evaluate_sync(evals.task("cases.yaml", "bundle.yaml", "my_agent:replay"))

The file is used as it is. A replay's log travels to the evaluators as an attribute of the case.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic_evals import set_eval_attribute
from pydantic_evals.evaluators import EvaluationReason, Evaluator, EvaluatorContext

from lastgood import cases, checks
from lastgood.checks import Check, Subject
from lastgood.errors import NotFound
from lastgood.replaying import Means, Played, find_bundle, load
from lastgood.tool_call import as_json

#: name of the attribute that holds a replay's log
ATTRIBUTE = "lastgood"


def _evaluate(check: Check, context: EvaluatorContext[Any, Any, Any]) -> EvaluationReason:
    told = context.attributes.get(ATTRIBUTE)
    if not isinstance(told, dict):
        return EvaluationReason(
            value=False, reason="no log of a replay is here: use the task of lastgood.evals"
        )
    played = Played.from_json(told)
    if played.missing:
        return EvaluationReason(value=False, reason=f"no recorded answer to {played.missing[0]}")
    why = check.why_not(Subject(played, context.inputs, context.expected_output))
    return EvaluationReason(value=why is None, reason=why)


def _class(kind: type[Any]) -> type[Evaluator[Any, Any, Any]]:
    """An evaluator of pydantic-evals with the name and the fields of one of our checks."""
    hints = get_type_hints(kind)
    fields = [(each.name, hints[each.name], _default(each)) for each in dataclasses.fields(kind)]
    names = [each.name for each in dataclasses.fields(kind)]

    def evaluate(self: Any, ctx: EvaluatorContext[Any, Any, Any]) -> EvaluationReason:
        return _evaluate(kind(**{name: getattr(self, name) for name in names}), ctx)

    made: type[Evaluator[Any, Any, Any]] = dataclasses.make_dataclass(
        kind.__name__, fields, bases=(Evaluator,), namespace={"evaluate": evaluate, "__doc__": kind.__doc__}
    )
    return made


def _default(each: "dataclasses.Field[Any]") -> Any:
    missing = each.default is dataclasses.MISSING
    return dataclasses.field() if missing else dataclasses.field(default=each.default)


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
