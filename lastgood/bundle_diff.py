"""What changed between two bundles: which parts, which files in them, and how."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lastgood.bundle import KINDS, Bundle, Part
from lastgood.canonical import sha256_hex

#: lines of one file beyond which it is shown by size and digest; comparing costs the square of them
MAX_LINES = 5_000
#: control characters, which could steer the terminal, and invisible ones
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Change(StrEnum):
    """What happened to a file."""

    ADDED = "added"  #: only the second bundle has it
    REMOVED = "removed"  #: only the first bundle has it
    CHANGED = "changed"  #: both have it, with different bytes


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file, or the inline value, that differs."""

    #: relative POSIX path; `inline` for an inline value
    path: str
    change: Change
    #: content in the first bundle; None where it was added. An inline value as text or indented JSON
    before: bytes | None
    #: content in the second bundle; None where it was removed
    after: bytes | None


@dataclass(frozen=True, slots=True)
class PartDiff:
    """One part that differs in content, runtime or version."""

    #: kind of the part
    kind: str
    #: (version in the first bundle, version in the second)
    versions: tuple[str, str]
    #: (digest in the first bundle, digest in the second), 64 hex digits
    digests: tuple[str, str]
    #: (runtime in the first bundle, runtime in the second), None where none is named
    runtimes: tuple[str | None, str | None]
    #: the files that differ, in order of path; empty where only version or runtime do
    files: tuple[FileDiff, ...]

    @property
    def same_content(self) -> bool:
        """Whether only the version's name differs: the agent runs the same."""
        return self.digests[0] == self.digests[1]


def diff(a: Bundle, b: Bundle) -> tuple[PartDiff, ...]:
    """The parts in which `b` differs from `a`, in order of kind; empty where none does."""
    pairs = ((a[kind], b[kind]) for kind in KINDS)
    return tuple(
        _part_diff(before, after)
        for before, after in pairs
        if (before.digest, before.version) != (after.digest, after.version)
    )


def render(parts: Sequence[PartDiff]) -> str:
    """The differences as text for a terminal, ending in a newline."""
    if not parts:
        return "no part differs\n"
    return "\n".join("".join(f"{line}\n" for line in _part_lines(part)) for part in parts)


def _part_diff(before: Part, after: Part) -> PartDiff:
    olds, news = _contents(before, after), _contents(after, before)
    files: list[FileDiff] = []
    for key in sorted(olds.keys() | news.keys()):
        old, new = olds.get(key), news.get(key)
        if old != new:
            change = Change.ADDED if old is None else Change.REMOVED if new is None else Change.CHANGED
            files.append(FileDiff(key[1], change, old, new))
    return PartDiff(
        kind=before.kind,
        versions=(before.version, after.version),
        digests=(before.digest, after.digest),
        runtimes=(before.runtime, after.runtime),
        files=tuple(files),
    )


def _contents(part: Part, other: Part) -> dict[tuple[str, str], bytes]:
    """Content by (form, path), so that an inline value and a file are never taken for one another."""
    if part.form == "files":
        return {("files", path): content for path, content in part.files.items()}
    if isinstance(part.data, str) and (other.form == "files" or isinstance(other.data, str)):
        return {("inline", "inline"): part.data.encode()}
    # as JSON on both sides, or the text 1 and the number 1 would look the same
    pretty = json.dumps(part.data, ensure_ascii=False, indent=2, sort_keys=True)
    return {("inline", "inline"): pretty.encode()}


def _part_lines(part: PartDiff) -> Iterator[str]:
    old, new = part.versions
    name = f"{part.kind} {old} -> {new}" if old != new else f"{part.kind} {old}"
    if part.same_content:
        yield f"{name}: the same content under another version"
        return
    note = " (different content under the same version)" if old == new else ""
    yield f"{name}: {part.digests[0][:12]} -> {part.digests[1][:12]}{note}"
    if part.runtimes[0] != part.runtimes[1]:
        yield f"  runtime: {part.runtimes[0] or 'none'} -> {part.runtimes[1] or 'none'}"
    for file in part.files:
        yield f"  {file.change}: {_visible(file.path)}"
        yield from _file_lines(file)


def _file_lines(file: FileDiff) -> Iterator[str]:
    before, after = _lines(file.before), _lines(file.after)
    if before is None or after is None:
        yield f"    {_summary(file.before)} -> {_summary(file.after)}"
        return
    for line in list(difflib.unified_diff(before, after, lineterm=""))[2:]:  # without the two file names
        yield f"    {_visible(line)}"


def _lines(content: bytes | None) -> list[str] | None:
    """The lines of a text; None for a binary or very long one."""
    if content is None:
        return []
    if b"\0" in content or content.count(b"\n") > MAX_LINES:
        return None
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        return None
    last = lines.pop()
    return [*lines, f"{last} (no newline at the end)"] if last else lines


def _summary(content: bytes | None) -> str:
    return "none" if content is None else f"{len(content):,} bytes {sha256_hex(content)[:12]}"


def _visible(line: str) -> str:
    return _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", line)
