"""Payload mappings: how a bundle's tool wrapper turns arguments into a request and an answer into a result.

A mapping is plain data. Text that begins with `$.` is a path into what is given (`$.refund.id`); a path that
leads nowhere is null. Anything else stands for itself; lists and maps are mapped inside.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

_PATH = "$."


def mapped(shape: Any, given: Mapping[str, Any]) -> Any:
    """Fill a shape from what is given."""
    if isinstance(shape, str):
        return at(shape, given) if shape.startswith(_PATH) else shape
    if isinstance(shape, Mapping):
        return {name: mapped(inner, given) for name, inner in shape.items()}
    if isinstance(shape, list):
        return [mapped(inner, given) for inner in shape]
    return shape


def at(path: str, given: Mapping[str, Any]) -> Any:
    """What a path leads to; None where it leads nowhere."""
    found: Any = given
    for step in path.removeprefix(_PATH).split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def filled(template: str, given: Mapping[str, Any]) -> str:
    """A path of a URL with `{names}` filled and quoted; KeyError for a name that is not given."""
    return template.format_map({name: quote(str(value), safe="") for name, value in given.items()})
