"""What an attribute, an operation or an evaluation of telemetry means here: a tolerant table.

The conventions of OpenTelemetry for generative AI are still moving, so that each of our words has several
attributes that may hold it; the first one found counts. A team extends the table by a YAML file (JSON is
YAML) that LASTGOOD_TELEMETRY names:

    attributes: {agent: [app.agent], task_type: [app.intent]}   # tried before ours
    operations: {run_agent: run, call_api: tool}
    evaluations: {helpfulness: metric:helpful, toxic: incidents}
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lastgood.errors import InvalidInput
from lastgood.outcome import FIELDS

VARIABLE = "LASTGOOD_TELEMETRY"
#: what an operation can be: `none` is known and says nothing
MEANINGS = ("run", "model", "tool", "memory", "none")
_USAGE = "gen_ai.usage."
#: by our word: the attributes that may hold it, in order
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "agent": ("gen_ai.agent.name", "lastgood.agent"),
    "bundle": ("lastgood.bundle", "gen_ai.agent.version"),
    "run": ("lastgood.run",),
    "token": ("lastgood.token",),
    "entry": ("lastgood.entry",),
    "environment": ("lastgood.environment", "deployment.environment.name", "deployment.environment"),
    "unit": ("lastgood.unit", "gen_ai.conversation.id", "session.id"),
    "conversation": ("gen_ai.conversation.id",),
    "task_type": ("lastgood.task_type",),
    "operation": ("gen_ai.operation.name",),
    "model": ("gen_ai.request.model",),
    "answered": ("gen_ai.response.model",),
    "tokens_in": (f"{_USAGE}input_tokens", f"{_USAGE}prompt_tokens"),
    "tokens_out": (f"{_USAGE}output_tokens", f"{_USAGE}completion_tokens"),
    "error": ("error.type",),
    "tool": ("gen_ai.tool.name",),
    "call": ("gen_ai.tool.call.id",),
    "arguments": ("gen_ai.tool.call.arguments", "gen_ai.tool.arguments"),
    "record": ("gen_ai.memory.record.id",),
    "evaluation": ("gen_ai.evaluation.name",),
    "score": ("gen_ai.evaluation.score.value",),
    "label": ("gen_ai.evaluation.score.label",),
    "flag": ("feature_flag.key",),
    "flag_entry": ("feature_flag.context.id",),
    **{name: (f"lastgood.{name}",) for name in FIELDS},
}
OPERATIONS: Mapping[str, str] = {
    "invoke_agent": "run",
    "execute_tool": "tool",
    **dict.fromkeys(("chat", "text_completion", "generate_content", "inference"), "model"),
    **dict.fromkeys(("create_memory", "update_memory", "upsert_memory", "delete_memory"), "memory"),
    **dict.fromkeys(("embeddings", "search_memory", "retrieval", "create_agent"), "none"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """How telemetry is read."""

    attributes: Mapping[str, tuple[str, ...]]
    operations: Mapping[str, str]
    #: by an evaluation's name: the outcome, or `metric:NAME`, that its score is; default: its own name's
    evaluations: Mapping[str, str]

    def find(self, word: str, attributes: Mapping[str, Any]) -> Any:
        """Return what a word is by the first attribute that holds it, else None."""
        return next((attributes[name] for name in self.attributes[word] if name in attributes), None)

    def text(self, word: str, attributes: Mapping[str, Any]) -> str | None:
        """The same, as a text that is not empty."""
        found = self.find(word, attributes)
        return found[:500] if isinstance(found, str) and found else None


OURS = Table(ATTRIBUTES, OPERATIONS, {})


def table() -> Table:
    """Return the table of this process, extended by the file that LASTGOOD_TELEMETRY names."""
    path = os.environ.get(VARIABLE)
    return _read(Path(path), Path(path).stat().st_mtime_ns) if path and Path(path).exists() else _ours(path)


def _ours(path: str | None) -> Table:
    if path:
        msg = f"{VARIABLE} names {path}, which is not there; write the file, or unset it"
        raise InvalidInput(msg)
    return OURS


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int) -> Table:
    from lastgood.strict_yaml import load_yaml  # yaml: only who extends the table needs it

    return extended(load_yaml(path.read_bytes(), str(path)).value, str(path))


def extended(given: Any, name: str) -> Table:
    """Return our table with a file's additions before ours; raises `InvalidInput` naming what can't be."""
    if not isinstance(given, dict) or not set(given) <= {"attributes", "operations", "evaluations"}:
        msg = f"{name}: write a map of attributes, operations and evaluations, any of them"
        raise InvalidInput(msg)
    attributes = dict(ATTRIBUTES)
    for word, names in _map(given, "attributes", name).items():
        if word not in ATTRIBUTES:
            msg = f"{name}: attributes.{word} is no word of ours; use one of {', '.join(ATTRIBUTES)}"
            raise InvalidInput(msg)
        more = [names] if isinstance(names, str) else names
        if not isinstance(more, list) or not all(isinstance(each, str) for each in more):
            msg = f"{name}: attributes.{word} names an attribute, or is a list of them"
            raise InvalidInput(msg)
        attributes[word] = (*more, *ATTRIBUTES[word])
    operations = {**OPERATIONS, **_map(given, "operations", name)}
    for each, meaning in operations.items():
        if meaning not in MEANINGS:
            msg = f"{name}: operations.{each} is {meaning!r}; write one of {', '.join(MEANINGS)}"
            raise InvalidInput(msg)
    evaluations = _map(given, "evaluations", name)
    for each, field in evaluations.items():
        if not isinstance(field, str) or not (field in FIELDS or field.startswith("metric:")):
            msg = f"{name}: evaluations.{each} is {field!r}; write metric:NAME, or one of {', '.join(FIELDS)}"
            raise InvalidInput(msg)
    return replace(OURS, attributes=attributes, operations=operations, evaluations=evaluations)


def _map(given: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    found = given.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found):
        msg = f"{name}: {key} is a map by name"
        raise InvalidInput(msg)
    return found
