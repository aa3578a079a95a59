"""Pinned: the models that a bundle's model part names, wherever in it."""

from collections.abc import Iterator, Mapping
from typing import Any

from lastgood.bundle import Bundle
from lastgood.errors import InvalidBundle


def models(bundle: Bundle) -> tuple[str, ...]:
    """Every name that a bundle's model part holds: its values, and the keys of its prices."""
    try:
        data = bundle.model.data
    except InvalidBundle:  # text, or several files: it pins nothing that could be compared
        return ()
    return tuple(sorted(set(_named(data))))


def _named(data: Any, key: str = "") -> Iterator[str]:
    if isinstance(data, Mapping):
        for name, value in data.items():
            if key == "prices":
                yield str(name)
            else:
                yield from _named(value, str(name))
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _named(value, key)
    elif isinstance(data, str):
        yield data


__all__ = ["models"]
