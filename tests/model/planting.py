"""Planted bugs: each breaks one promise, by a patch, and the model has to find it.

Code that was imported by name is patched where it is used; statements are patched in `statements`.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from lastgood.store import statements as sql

FOREVER_US = 10**15


@dataclass(frozen=True)
class Bug:
    name: str
    #: the invariant of the design that it breaks
    breaks: int
    plant: Callable[[], contextlib.AbstractContextManager[Any]]


BUGS: list[Bug] = []


def bug(name: str, breaks: int) -> Callable[[Callable[[], Iterator[None]]], None]:
    def add(function: Callable[[], Iterator[None]]) -> None:
        BUGS.append(Bug(name, breaks, contextmanager(function)))

    return add


def swap(name: str, breaks: int, owner: Any, attribute: str, make: Callable[[Any], Any]) -> None:
    """A bug that puts `make(original)` in the place of one attribute."""
    original = vars(owner)[attribute] if isinstance(owner, type) else getattr(owner, attribute)
    BUGS.append(Bug(name, breaks, lambda: patch.object(owner, attribute, make(original))))


def text(name: str, breaks: int, statement: str, old: str, new: str) -> None:
    """A bug in a named statement."""
    before = getattr(sql, statement)
    assert old in before, f"{statement} does not hold {old!r}"
    swap(name, breaks, sql, statement, lambda was: was.replace(old, new))
