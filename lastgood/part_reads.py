"""Part reads: which of the five parts an agent reads from `run.bundle`.

A part that an agent never reads is served from somewhere else, so that no rollback restores it: incidents
say so. What a run read goes out with its outcome, as bits in the order of `KINDS`.
"""

from collections.abc import Iterable
from typing import Any

from lastgood.bundle import Bundle
from lastgood.outcome import Outcome
from lastgood.part import KINDS, Part

_BIT = {kind: 1 << place for place, kind in enumerate(KINDS)}
ALL = (1 << len(KINDS)) - 1


def note(outcome: Outcome, kind: str) -> None:
    """Note that a run read a part."""
    outcome.parts_read = (outcome.parts_read or 0) | _BIT[kind]


def unread(seen: Iterable[int]) -> tuple[str, ...]:
    """Return the kinds of parts that none of several runs read, each given by its bits."""
    read = 0
    for bits in seen:
        read |= bits
    return tuple(kind for kind in KINDS if not read & _BIT[kind])


class NotedBundle(Bundle):
    """A bundle as one run's agent sees it: equal to it, and noting which parts are read."""

    def __init__(self, bundle: Bundle, outcome: Outcome) -> None:
        held = self.__dict__
        held["_bundle"], held["_outcome"] = bundle, outcome
        if outcome.parts_read is None:
            outcome.parts_read = 0

    def __getitem__(self, kind: str) -> Part:
        part = self.__dict__["_bundle"][kind]
        note(self.__dict__["_outcome"], part.kind)
        return part  # type: ignore[no-any-return]  # what the dict holds

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts in order of kind; whoever takes them all reads them all."""
        self.__dict__["_outcome"].parts_read = ALL
        return self.__dict__["_bundle"].parts  # type: ignore[no-any-return]

    @property
    def id(self) -> str:
        """The bundle's id."""
        return self.__dict__["_bundle"].id  # type: ignore[no-any-return]

    @property
    def runtimes(self) -> frozenset[str]:
        """The runtimes that its parts need."""
        return self.__dict__["_bundle"].runtimes  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        plain = other.__dict__["_bundle"] if isinstance(other, NotedBundle) else other
        return bool(self.__dict__["_bundle"] == plain)

    def __hash__(self) -> int:
        return hash(self.__dict__["_bundle"])

    def __repr__(self) -> str:
        return repr(self.__dict__["_bundle"])

    def __reduce__(self) -> tuple[type[Bundle], tuple[Any]]:
        return Bundle, (self.__dict__["_bundle"].parts,)


__all__ = ["NotedBundle", "note", "unread"]
