"""Bundles: the whole runtime of an agent as one immutable value.

A bundle's id is the sha256 of canonical [[kind, digest], ...] in order of kind. Versions, names and people
stand beside it and do not enter it. The agent side imports this module, so it needs the standard library
alone.
"""

import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lastgood.canonical import canonical_json, sha256_hex
from lastgood.errors import CorruptRow, InvalidBundle, InvalidInput, NotFound
from lastgood.part import KINDS, MAX_FILES, Part

#: bytes of content of one bundle: file names, files as they are, inline values as canonical JSON
MAX_BUNDLE_BYTES: Final = 1_000_000

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str, what: str) -> str:
    """`name` if it may name an agent or a bundle; else InvalidBundle, which calls it `what`."""
    if not _NAME.fullmatch(name):
        raise InvalidBundle(
            f"{what} {name!r} is no name; use 1 to 64 of a-z, 0-9, dot, dash and underscore,"
            " beginning with a letter or digit"
        )
    return name


def readable_name(agent: str, created_us: int, taken: Collection[str]) -> str:
    """The first free name of a day, `support-2026-11-23.1`.

    Args:
        agent: the agent's name.
        created_us: microseconds UTC.
        taken: names in use.
    """
    day = time.strftime("%Y-%m-%d", time.gmtime(created_us // 1_000_000))
    number = 1
    while True:
        tail = f"-{day}.{number}"
        name = agent[: 64 - len(tail)] + tail
        if name not in taken:
            return name
        number += 1


@dataclass(frozen=True, init=False)
class Bundle:
    """An immutable set of exactly the five parts."""

    #: the parts in order of kind; may be given in any order
    parts: tuple[Part, ...]

    def __init__(self, parts: Iterable[Part]) -> None:
        ordered = tuple(sorted(parts, key=lambda part: part.kind))
        object.__setattr__(self, "parts", ordered)
        _check_kinds([part.kind for part in ordered])
        _check_size(ordered)

    @classmethod
    def verified(cls, parts: Iterable[Part], expected_id: str) -> "Bundle":
        """A stored bundle; CorruptRow when its parts don't hash to `expected_id`."""
        try:
            bundle = cls(parts)
        except InvalidInput as error:
            raise CorruptRow(f"the stored bundle {expected_id[:8]} can't be used: {error}") from error
        if bundle.id != expected_id:
            raise CorruptRow(
                f"the parts stored for bundle b-{expected_id[:8]} make {bundle.short}: they were changed"
                " behind lastgood's back; restore the rows from a backup"
            )
        return bundle

    @cached_property
    def id(self) -> str:
        """The sha256 over the sorted (kind, digest), 64 hex digits."""
        return sha256_hex(canonical_json([[part.kind, part.digest] for part in self.parts]))

    @property
    def short(self) -> str:
        """`b-` and the first eight digits of the id, for people."""
        return f"b-{self.id[:8]}"

    @cached_property
    def runtimes(self) -> frozenset[str]:
        """The runtimes that its parts need."""
        return frozenset(part.runtime for part in self.parts if part.runtime is not None)

    def __getitem__(self, kind: str) -> Part:
        try:
            return self.parts[KINDS.index(kind)]
        except ValueError:
            raise NotFound(f"a bundle has no part {kind!r}; its parts are {', '.join(KINDS)}") from None

    @property
    def prompt(self) -> Part:
        """The prompt."""
        return self["prompt"]

    @property
    def model(self) -> Part:
        """Model choice and routing rules."""
        return self["model"]

    @property
    def tools(self) -> Part:
        """The tool manifest."""
        return self["tools"]

    @property
    def memory(self) -> Part:
        """Retrieval and memory config."""
        return self["memory"]

    @property
    def policy(self) -> Part:
        """Validators, approval thresholds, fallback."""
        return self["policy"]


def _check_kinds(kinds: list[str]) -> None:
    for kind in KINDS:
        if kind not in kinds:
            raise InvalidBundle(f"part {kind} is missing; a bundle has exactly {', '.join(KINDS)}")
        if kinds.count(kind) > 1:
            raise InvalidBundle(f"part {kind} is given {kinds.count(kind)} times; give it once")


def _check_size(parts: tuple[Part, ...]) -> None:
    if sum(len(part.body) for part in parts) <= MAX_BUNDLE_BYTES:  # bodies are never smaller than content
        return
    total = sum(part.size for part in parts)
    if total > MAX_BUNDLE_BYTES:
        sizes = ", ".join(f"{part.kind} {part.size:,}" for part in sorted(parts, key=lambda p: -p.size))
        raise InvalidBundle(
            f"the bundle holds {total:,} bytes ({sizes}), {MAX_BUNDLE_BYTES:,} are allowed;"
            " keep large data elsewhere and name it here by digest"
        )


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A registered bundle with what stands beside its id."""

    bundle: Bundle
    #: readable and unique: `support-2026-11-23.1`
    name: str
    #: the agent it was registered for
    agent: str
    #: who made it; None where nobody said
    author: str | None
    #: who approved it; None where nobody has
    approver: str | None
    #: id of the bundle it was made from; None for the first
    parent: str | None
    #: microseconds UTC of its registration, by the database's clock
    created_us: int


__all__ = [
    "KINDS",
    "MAX_BUNDLE_BYTES",
    "MAX_FILES",
    "Bundle",
    "BundleRecord",
    "Part",
    "check_name",
    "readable_name",
]
