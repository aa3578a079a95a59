"""Tools: what the tools part of a bundle declares about each of them.

The part holds a list of tools, or a map with that list (or a map by name) under `tools`. A tool is a name, or

    {name: refund, kind: refund, risk: high, undo: charge_again, target: order, key: [order],
     input: {JSON schema}, output: {JSON schema}}

with `kind` where a call has an external effect. The schemas may also stand under the names that model vendors
and MCP use (`parameters`, `input_schema`, `inputSchema`, `outputSchema`), and a tool inside `function`.
Whatever else stands there is the agent's own.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from lastgood.bundle import Bundle
from lastgood.errors import InvalidBundle
from lastgood.part import Part
from lastgood.release import RISKS

_INPUTS = ("input", "input_schema", "inputSchema", "parameters")
_OUTPUTS = ("output", "output_schema", "outputSchema")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Tool:
    """One declared tool."""

    name: str
    #: kind of external action that a call is; None: a call changes nothing outside
    kind: str | None = None
    #: `low`, `medium` or `high`; None where nothing is said
    risk: str | None = None
    #: name of the tool that undoes a call, or what else does
    undo: str | Mapping[str, Any] | None = None
    #: argument that names whom or what a call acts on
    target: str | None = None
    #: arguments that make two calls of one run the same call
    key: tuple[str, ...] = ()
    #: whether the tool itself makes a repeated call take effect once
    idempotent: bool = False
    #: JSON schemas of the arguments, as an object, and of what is returned
    input: Mapping[str, Any] | None = None
    output: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """The declared tools of one bundle."""

    tools: Mapping[str, Tool]
    #: what is wrong with the declarations, in words; a tool whose risk can't be read counts as `high`
    problems: tuple[str, ...] = ()

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Kinds of actions that are declared."""
        return frozenset(tool.kind for tool in self.tools.values() if tool.kind is not None)

    @cached_property
    def checks(self) -> bool:
        """Whether any call is checked against a schema."""
        return any(tool.input is not None or tool.output is not None for tool in self.tools.values())

    def only(self, names: Collection[str] | None) -> "Manifest":
        """Return the manifest of a run that may call these tools alone; None: all."""
        if names is None:
            return self
        return Manifest({name: tool for name, tool in self.tools.items() if name in names}, self.problems)

    @property
    def risk(self) -> str | None:
        """The highest tier among the tools; None where none names one."""
        named = [tool.risk for tool in self.tools.values() if tool.risk is not None]
        return max(named, key=RISKS.index) if named else None


@lru_cache(maxsize=256)
def manifest_of(part: Part) -> Manifest:
    """Read what a tools part declares; one that is no data (text, several files) declares nothing."""
    try:
        data = part.data
    except InvalidBundle:
        return Manifest({})
    problems: list[str] = []
    tools: dict[str, Tool] = {}
    for entry in _entries(data):
        tool = _tool(entry, problems)
        if tool is not None and tool.name in tools:
            problems.append(f"the tool {tool.name!r} is declared twice; drop one")
        elif tool is not None:
            tools[tool.name] = tool
    problems += _dangling(tools.values())
    return Manifest(tools, tuple(problems))


def _entries(data: Any) -> Iterator[Any]:
    if isinstance(data, Mapping):
        data = data.get("tools", [])
    if isinstance(data, Mapping):
        for name, entry in data.items():
            yield {"name": name, **entry} if isinstance(entry, Mapping) else name
    elif isinstance(data, list):
        yield from data


def _tool(entry: Any, problems: list[str]) -> Tool | None:
    if isinstance(entry, Mapping) and isinstance(entry.get("function"), Mapping):
        entry = {**entry["function"], **{name: value for name, value in entry.items() if name != "function"}}
    if isinstance(entry, str):
        return Tool(entry)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        return None  # no tool as we know them: the agent's own
    raw = {
        "kind": entry.get("kind"),
        "risk": entry.get("risk"),
        "undo": entry.get("undo"),
        "target": entry.get("target"),
        "key": _words(entry.get("key", ())),
        "idempotent": entry.get("idempotent", False),
        "input": next((entry[at] for at in _INPUTS if at in entry), None),
        "output": next((entry[at] for at in _OUTPUTS if at in entry), None),
    }
    wrong = [f"the tool {entry['name']!r}: {problem}" for problem in _wrong(raw)]
    problems += wrong
    return Tool(entry["name"], risk=RISKS[-1]) if wrong else Tool(entry["name"], **raw)


def _words(key: Any) -> Any:
    """A single argument may stand for the list of it."""
    return (key,) if isinstance(key, str) else tuple(key) if isinstance(key, list) else key


def _wrong(raw: Mapping[str, Any]) -> Iterator[str]:
    kind, risk = raw["kind"], raw["risk"]
    if kind is not None and not (isinstance(kind, str) and _KIND.fullmatch(kind)):
        yield f"the kind {kind!r} is none; write lower-case letters, digits and '_', such as message"
    if risk is not None and risk not in RISKS:
        yield f"the risk {risk!r} is none; write one of {', '.join(RISKS)}"
    if not isinstance(raw["undo"], str | Mapping | None):
        yield "undo names the tool that undoes a call, or is a map of what does"
    if not isinstance(raw["target"], str | None):
        yield "target names one argument"
    if not isinstance(raw["key"], tuple) or not all(isinstance(name, str) for name in raw["key"]):
        yield "key names an argument, or is a list of them"
    if not isinstance(raw["idempotent"], bool):
        yield "idempotent is true or false"
    for what in ("input", "output"):
        if not isinstance(raw[what], Mapping | None):
            yield f"its {what} is no JSON schema; write a map such as {{type: object}}"


def _dangling(tools: Iterable[Tool]) -> list[str]:
    names = {tool.name for tool in tools}
    return [
        f"the tool {tool.name!r}: undo names {tool.undo!r}, which is not declared"
        for tool in tools
        if isinstance(tool.undo, str) and tool.undo not in names
    ]


def check_tools(bundle: Bundle) -> None:
    """Refuse, with InvalidBundle, declarations that could not be held to; nothing is written then."""
    manifest = manifest_of(bundle.tools)
    if manifest.problems:
        msg = f"{bundle.tools}: {'; '.join(manifest.problems)}"
        raise InvalidBundle(msg)
    if manifest.checks:
        from lastgood.tool_schema import check_schema  # jsonschema: only who declares schemas needs it

        for tool in manifest.tools.values():
            for what, schema in (("input", tool.input), ("output", tool.output)):
                if schema is not None:
                    check_schema(schema, f"{bundle.tools}: the {what} schema of the tool {tool.name!r}")


def risk_with_tools(risk: str | None, bundles: Iterable[Bundle], names: Collection[str] | None) -> str | None:
    """Return the risk of a run that may call the tools of these bundles, all or those named.

    The highest of what it says itself and what its tools say; None where neither says anything. Both arms'
    bundles count, since the risk is known before the arm is drawn.
    """
    if risk is not None and risk not in RISKS:
        return risk
    said = [risk, *(manifest_of(bundle.tools).only(names).risk for bundle in bundles)]
    known = [tier for tier in said if tier is not None]
    return max(known, key=RISKS.index) if known else None


__all__ = ["Manifest", "Tool", "check_tools", "manifest_of", "risk_with_tools"]
