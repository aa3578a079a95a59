"""Lists and maps that refuse a change, and are still lists and maps to everybody else.

All runs of a process share one bundle. A tool list that one run appends to would change what the next one
serves under the same id, so the content of a part is handed out like this. `json.dumps`, pydantic and the
SDKs of model vendors take a subclass of `dict` and `list` for what it is.
"""

from typing import Any, NoReturn

from lastgood.errors import Refused


def _refuse(*_args: Any, **_named: Any) -> NoReturn:
    raise Refused("the content of a bundle never changes; change a copy: copy.deepcopy(...)")


class FrozenDict(dict[Any, Any]):
    """A map that refuses a change; a copy of it is a plain dict."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, _memo: dict[int, Any]) -> dict[Any, Any]:
        return {key: thaw(item) for key, item in self.items()}

    def __reduce__(self) -> tuple[type[dict[Any, Any]], tuple[dict[Any, Any]]]:
        return dict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses a change; a copy of it is a plain list."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = remove = pop = clear = sort = reverse = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, _memo: dict[int, Any]) -> list[Any]:
        return [thaw(item) for item in self]

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)


def freeze(value: Any, _seen: dict[int, Any] | None = None) -> Any:
    """`value` with every list and map in it frozen; what is shared stays shared, as YAML aliases are."""
    seen = {} if _seen is None else _seen
    if not isinstance(value, (dict, list, set, tuple)):
        return value
    if id(value) not in seen:
        if isinstance(value, dict):
            seen[id(value)] = FrozenDict((key, freeze(item, seen)) for key, item in value.items())
        elif isinstance(value, list):
            seen[id(value)] = FrozenList(freeze(item, seen) for item in value)
        elif isinstance(value, tuple):
            seen[id(value)] = tuple(freeze(item, seen) for item in value)
        else:
            seen[id(value)] = frozenset(value)
    return seen[id(value)]


def thaw(value: Any) -> Any:
    """A plain copy of `value` that may be changed."""
    if isinstance(value, FrozenDict):
        return value.__deepcopy__({})
    if isinstance(value, FrozenList):
        return value.__deepcopy__({})
    return value
