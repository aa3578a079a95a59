"""Parts: the five independently versioned components of a bundle.

A part's `body` is canonical JSON and hashes to its digest:

    {"form":"inline","value":...}                 text, or any JSON value
    {"files":{path: base64},"form":"files"}       one file or a folder, byte-exact
    ... with "runtime":"..." where the part names the runtime it needs

The agent side imports this module, so it needs the standard library alone.
"""

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from lastgood.canonical import canonical_json, nfc, sha256_hex
from lastgood.errors import CorruptRow, InvalidBundle, NotFound
from lastgood.frozen import freeze

#: the kinds of parts, in the order of ids; a bundle has exactly one of each
KINDS: Final = ("memory", "model", "policy", "prompt", "tools")
#: files of one part
MAX_FILES: Final = 1_000

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_RUNTIME = re.compile(r"[!-~]{1,200}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def check_version(kind: str, version: str) -> None:
    """Refuse, with InvalidBundle, a version that is no short plain word."""
    if not _VERSION.fullmatch(version):
        raise InvalidBundle(
            f"part {kind}: the version {version!r} is none; write a string of 1 to 64 letters, digits, dots,"
            " dashes, pluses and underscores"
        )


@dataclass(frozen=True)
class Part:
    """One independently versioned component of a bundle; its content is parsed when it is first asked for."""

    #: one of `KINDS`
    kind: str
    #: the version that people call it by; stands beside the digest and does not enter it
    version: str
    #: canonical JSON of the content and the runtime; hashes to `digest`
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidBundle(f"{self.kind!r} is no kind of part; the kinds are {', '.join(KINDS)}")
        check_version(self.kind, self.version)

    @classmethod
    def of_value(cls, kind: str, version: str, value: Any, runtime: str | None = None) -> "Part":
        """A part that holds text or a JSON value; InvalidInput where it has no canonical JSON."""
        return cls(kind, version, _body(kind, {"form": "inline", "value": value}, runtime))

    @classmethod
    def of_files(
        cls, kind: str, version: str, files: Mapping[str, bytes], runtime: str | None = None
    ) -> "Part":
        """A part that holds files, by relative POSIX path; InvalidBundle for a bad path or number."""
        if not 0 < len(files) <= MAX_FILES:
            raise InvalidBundle(f"part {kind}: {len(files):,} files; a part has 1 to {MAX_FILES:,}")
        coded: dict[str, str] = {}
        for path, content in files.items():
            normal = _file_path(path)
            if normal in coded:
                raise InvalidBundle(f"part {kind}: two paths are the same in NFC: {normal!r}; rename one")
            coded[normal] = binascii.b2a_base64(content, newline=False).decode()
        return cls(kind, version, _body(kind, {"form": "files", "files": coded}, runtime))

    @classmethod
    def from_body(cls, kind: str, version: str, body: bytes, expected_digest: str) -> "Part":
        """A stored part.

        Raises:
            CorruptRow: `body` does not hash to `expected_digest`, or the row holds no part.
        """
        found = sha256_hex(body)
        if found != expected_digest:
            raise CorruptRow(
                f"the stored part {kind} (version {version}) hashes to {found[:12]}, not to"
                f" {expected_digest[:12]}: it was changed behind lastgood's back; restore the row from"
                " a backup"
            )
        try:
            part = cls(kind, version, body)
        except InvalidBundle as error:
            raise CorruptRow(f"a stored part was changed behind lastgood's back: {error}") from error
        part.__dict__["digest"] = found
        return part

    @cached_property
    def digest(self) -> str:
        """The sha256 of `body`, 64 hex digits."""
        return sha256_hex(self.body)

    @cached_property
    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self.body)
            if content["form"] in {"inline", "files"}:
                return dict(content)
        except (ValueError, KeyError, TypeError):
            pass
        raise CorruptRow(f"the body of {self} is none that lastgood wrote; restore the row from a backup")

    @property
    def form(self) -> str:
        """`inline` or `files`."""
        return str(self._content["form"])

    @property
    def runtime(self) -> str | None:
        """The runtime it needs (image digest or commit), or None."""
        runtime: str | None = self._content.get("runtime")
        return runtime

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """Content by relative POSIX path, in order of path as the body is; empty for an inline part."""
        coded = self._content.get("files", {})
        return MappingProxyType({path: binascii.a2b_base64(text) for path, text in coded.items()})

    def file(self, path: str) -> bytes:
        """The content of one file; NotFound when there is none of that path."""
        try:
            return self.files[nfc(path)]
        except KeyError:
            known = ", ".join(list(self.files)[:10]) or "none, its content is inline"
            raise NotFound(f"{self} has no file {path!r}; its files are: {known}") from None

    @cached_property
    def text(self) -> str:
        """Inline text, or the only file as UTF-8; InvalidBundle for any other content."""
        if self.form == "inline":
            value = self._content["value"]
            if isinstance(value, str):
                return value
            raise InvalidBundle(f"{self} holds a value, not text; read .data")
        path, content = self._only_file()
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidBundle(f"{self}: {path} is not UTF-8 text; read .file({path!r})") from None

    @cached_property
    def data(self) -> Any:
        """The inline value, or the parsed only file (.json, .yaml, .yml); `copy.deepcopy` thaws it.

        Raises:
            InvalidBundle: the content is several files, or one of another kind.
        """
        if self.form == "inline":
            return freeze(self._content["value"])
        from lastgood.part_data import is_data, parse_file

        path, content = self._only_file()
        if not is_data(path):
            raise InvalidBundle(f"{self}: {path} is neither .json nor .yaml; read .text or .file({path!r})")
        return parse_file(path, content)

    @cached_property
    def size(self) -> int:
        """Bytes of content: paths and files as they are, an inline value as canonical JSON."""
        if self.form == "inline":
            return len(canonical_json(self._content["value"]))
        return sum(len(path.encode()) + len(content) for path, content in self.files.items())

    def _only_file(self) -> tuple[str, bytes]:
        if len(self.files) == 1:
            return next(iter(self.files.items()))
        raise InvalidBundle(f"{self} holds {len(self.files)} files; read .files or .file(path)")

    def __reduce__(self) -> tuple[type["Part"], tuple[str, str, bytes]]:
        return type(self), (self.kind, self.version, self.body)  # without what was parsed

    def __str__(self) -> str:
        return f"part {self.kind} (version {self.version})"


def _body(kind: str, content: dict[str, Any], runtime: str | None) -> bytes:
    if runtime is not None:
        if not _RUNTIME.fullmatch(runtime):
            raise InvalidBundle(
                f"part {kind}: the runtime {runtime!r} is none; write an image digest or a commit"
            )
        content = {**content, "runtime": runtime}
    return canonical_json(content, name=f"part {kind}")


def _file_path(path: str) -> str:
    if _CONTROL.search(path):
        raise InvalidBundle(f"the path {path!r} has a backslash or a control character; rename the file")
    if not path or any(step in {"", ".", ".."} for step in path.split("/")):
        raise InvalidBundle(f"the path {path!r} is not relative and plain; write it like tools/search.py")
    return nfc(path)
