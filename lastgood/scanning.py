"""The scan at registration: bundles, policies and profiles are stored for good and hold references only.

scan("profile of support", text)      raises `InvalidInput`: what, where, and the way out
"""

import json
from collections.abc import Iterator
from typing import Any

from lastgood import shapes
from lastgood.bundle import Bundle
from lastgood.errors import InvalidBundle, InvalidInput
from lastgood.part import Part

#: finds that a message names
_SHOWN = 5


def scan_bundle(bundle: Bundle) -> None:
    """Refuse, with `InvalidBundle`, parts that hold what looks like a secret; nothing of it is shown."""
    places = [f"part {part.kind}, {place}" for part in bundle.parts for place in _in_part(part)]
    _refuse(places, "a bundle", InvalidBundle)


def scan_json(what: str, text: str, error: type[InvalidInput]) -> None:
    """Refuse, with `error`, canonical JSON whose values look like secrets.

    Args:
        what: `a policy`, `a profile`.
        text: JSON as it is to be stored.
        error: what is raised.
    """
    places = [f"{where}: {shape}" for where, value in _values(json.loads(text), "") for shape in _said(value)]
    _refuse(places, what, error)


def _in_part(part: Part) -> Iterator[str]:
    if part.form == "inline":
        value = json.loads(part.body)["value"]
        for where, text in _values(value, ""):
            for place in _said(text):
                yield f"{where or 'inline'}: {place}"
        return
    for path, content in part.files.items():
        yield from (f"{path}: {place}" for place in _said(content.decode("utf-8", "replace")))


def _said(text: str) -> Iterator[str]:
    many = "\n" in text
    for shape in shapes.found(text):
        yield f"{shape.what} in line {text.count(chr(10), 0, shape.start) + 1}" if many else shape.what


def _values(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text in a value, with its name before it where it has one: `password: hunter2` is one find."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            shown = "a key" if shapes.found(str(key)) else str(key)  # where it is must not say what it is
            inner = f"{where}.{shown}" if where else shown
            yield inner, str(key)
            if isinstance(item, str):
                yield inner, item
                yield from _named(inner, key, item)
            else:
                yield from _values(item, inner)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _values(item, f"{where}[{place}]")


def _named(where: str, key: str, item: str) -> Iterator[tuple[str, str]]:
    if not shapes.found(item) and "\n" not in item:
        yield where, f"{key}: {item}"


def _refuse(places: list[str], what: str, error: type[InvalidInput]) -> None:
    if not places:
        return
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    raise error(
        f"{'; '.join(places[:_SHOWN])}{more}: {what} is stored for good and holds no secret; put it into the "
        "environment and write the reference env:NAME (an agent reads it from there itself), or, where it is "
        f"none, write `{shapes.ALLOWED}` on its line"
    )


__all__ = ["scan_bundle", "scan_json"]
