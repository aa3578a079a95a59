"""The parameters of a statement: named where it is written, numbered where a driver takes them."""

import re
from functools import cache

#: text in quotes, or the name of a parameter
_PARAMETER = re.compile(r"'(?:[^']|'')*'|(?<![:\w]):([a-z_]\w*)")


@cache
def numbered(statement: str, mark: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with `?1` or `$1`, by `mark`, in place of `:name`; and the names in order."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"{mark}{names.setdefault(found[1], len(names) + 1)}" if found[1] else found[0]

    return _PARAMETER.sub(number, statement), tuple(names)


__all__ = ["numbered"]
