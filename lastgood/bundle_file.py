"""Reading bundle.yaml: which five parts make a bundle, and where their content lies.

    agent: support                                    # optional
    author: ann                                       # optional
    parts:
      prompt: {version: "12", file: prompt.md}
      model:  {version: "3", inline: {default: gpt-4o}}
      tools:  {version: "7", folder: tools/, runtime: "sha256:..."}
      memory: {version: "2", inline: "text"}
      policy: {version: "5", git: "policies/support.yaml@3f2a91c"}     # or langfuse: "support-reply@7"

A file counts by its bare name, a folder by the paths in it: where they lie beside bundle.yaml does not enter
the digest. Everything is read and checked before anything is returned.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from lastgood.bundle import KINDS, Bundle, Part, check_name
from lastgood.bundle_git import read_git
from lastgood.bundle_langfuse import read_langfuse
from lastgood.bundle_sources import read_file, read_folder
from lastgood.errors import InvalidBundle, InvalidInput
from lastgood.part import check_version
from lastgood.part_data import is_data, parse_file
from lastgood.strict_yaml import MAX_BYTES, Document, load_yaml

_TOP: Final = ("agent", "author", "approver", "parent", "name", "parts")
_SOURCES: Final[dict[str, Callable[[Path, str], dict[str, bytes]]]] = {
    "file": read_file,
    "folder": read_folder,
    "git": read_git,
}
#: sources that give a value, not files
_VALUES: Final[dict[str, Callable[[str], Any]]] = {"langfuse": read_langfuse}
_PART: Final = ("version", "inline", *_SOURCES, *_VALUES, "runtime")
_PERSON = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]([^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,126}[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff])?"
)


@dataclass(frozen=True, slots=True)
class BundleDraft:
    """What a bundle.yaml says; nothing is stored yet."""

    #: the agent it is for, or None where the command says so
    agent: str | None
    #: the five parts
    parts: tuple[Part, ...]
    #: who made it
    author: str | None = None
    #: who approved it
    approver: str | None = None
    #: name, short id or id of the bundle it was made from
    parent: str | None = None
    #: readable name it asks for; None lets the store choose
    name: str | None = None

    @property
    def bundle(self) -> Bundle:
        """The parts as a bundle."""
        return Bundle(self.parts)


def read_bundle_file(path: str | Path) -> BundleDraft:
    """Read bundle.yaml and the content that it names.

    Args:
        path: bundle.yaml; content is looked for in its folder.

    Raises:
        InvalidBundle: the message names the file, the line, the part and the way out.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidBundle(f"{file} can't be read: {error.strerror}; name a bundle.yaml") from None
    return _Reader(load_yaml(text, str(file), InvalidBundle), file.parent).draft()


@dataclass(frozen=True, slots=True)
class _Reader:
    """One bundle.yaml."""

    document: Document
    #: the folder that content is looked for in
    base: Path

    def fail(self, message: object, *keys: str) -> NoReturn:
        raise InvalidBundle(f"{self.document.where(*keys)}: {message}") from None

    def draft(self) -> BundleDraft:
        top = self._mapping(self.document.value, _TOP)
        parts = self._parts(top)
        try:
            Bundle(parts)
        except InvalidInput as error:
            self.fail(error, "parts")
        return BundleDraft(
            agent=self._name(top, "agent"),
            parts=parts,
            author=self._person(top, "author"),
            approver=self._person(top, "approver"),
            parent=self._name(top, "parent"),
            name=self._name(top, "name"),
        )

    def _mapping(self, value: Any, known: Iterable[str], *keys: str) -> dict[str, Any]:
        """`value` as a map of known keys."""
        what = f"part {keys[-1]}" if len(keys) == 2 else keys[-1] if keys else "the file"
        if not isinstance(value, dict):
            self.fail(f"{what} is no map; write {', '.join(f'{key}:' for key in known)}", *keys)
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(str(key), list(known), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.fail(f"{what} has the unknown key {key!r}; {hint}", *keys, str(key))
        return value

    def _parts(self, top: dict[str, Any]) -> tuple[Part, ...]:
        if "parts" not in top:
            self.fail(f"`parts:` is missing; name the five parts under it: {', '.join(KINDS)}")
        parts = self._mapping(top["parts"], KINDS, "parts")
        for kind in KINDS:
            if kind not in parts:
                self.fail(f"part {kind} is missing; a bundle has exactly {', '.join(KINDS)}", "parts")
        return tuple(self._part(kind, parts[kind]) for kind in KINDS)

    def _part(self, kind: str, value: Any) -> Part:
        spec = self._mapping(value, _PART, "parts", kind)
        self._version(kind, spec)
        source = self._source(kind, spec)
        try:
            return self._content(kind, source, spec)
        except InvalidInput as error:
            said = str(error).removeprefix(f"part {kind}: ").removeprefix(f"part {kind}.")
            self.fail(f"part {kind}: {said}", "parts", kind, source)

    def _version(self, kind: str, spec: dict[str, Any]) -> None:
        if "version" not in spec:
            self.fail(f'part {kind} has no version; write `version: "1"`', "parts", kind)
        version = spec["version"]
        if not isinstance(version, str):
            said = f"the version {version} is {_kind(version)}, not text"
            self.fail(
                f"part {kind}: {said}; quote it as it stands there, since 1.10 without quotes is 1.1",
                "parts",
                kind,
                "version",
            )
        try:
            check_version(kind, version)
        except InvalidBundle as error:
            self.fail(error, "parts", kind, "version")

    def _source(self, kind: str, spec: dict[str, Any]) -> str:
        found = [key for key in ("inline", *_SOURCES, *_VALUES) if key in spec]
        if len(found) != 1:
            said = f"names both {' and '.join(found)}; keep one" if found else "names no content; write one"
            self.fail(
                f"part {kind} {said} of file, folder, inline, git, langfuse", "parts", kind, *found[1:2]
            )
        return found[0]

    def _content(self, kind: str, source: str, spec: dict[str, Any]) -> Part:
        version, runtime, value = spec["version"], spec.get("runtime"), spec[source]
        if "runtime" in spec and runtime is None:
            raise InvalidBundle("the runtime is empty; write an image digest or a commit, or leave it out")
        if not isinstance(runtime, str | None):
            raise InvalidBundle(f'the runtime {runtime} is not text; quote it: `runtime: "{runtime}"`')
        if value is None:
            raise InvalidBundle(f"`{source}:` is empty; write the content, or `inline: {{}}` for none")
        if source == "inline":
            return Part.of_value(kind, version, value, runtime)
        if not isinstance(value, str):
            raise InvalidBundle(f"`{source}: {value}` is {_kind(value)}, not text; quote it")
        if source in _VALUES:
            return Part.of_value(kind, version, _VALUES[source](value), runtime)
        files = _SOURCES[source](self.base, value)
        if len(files) == 1:
            _check_data(*next(iter(files.items())))
        return Part.of_files(kind, version, files, runtime)

    def _name(self, top: dict[str, Any], key: str) -> str | None:
        value = top.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fail(f'{key} is {_kind(value)}, not text; quote it: `{key}: "{value}"`', key)
        try:
            return check_name(value, key)
        except InvalidBundle as error:
            self.fail(error, key)

    def _person(self, top: dict[str, Any], key: str) -> str | None:
        value = top.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not _PERSON.fullmatch(value):
            self.fail(f"{key} {value!r} is no name of a person; write 1 to 128 characters on one line", key)
        return value


def _kind(value: object) -> str:
    """What a person calls the type of a YAML value."""
    words = {int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "a map"}
    return words.get(type(value), f"a {type(value).__name__}")


def _check_data(path: str, content: bytes) -> None:
    """A single JSON or YAML file is read as data by the agent, so it must parse now, not in production."""
    if is_data(path):
        try:
            parse_file(path, content)
        except InvalidBundle as error:
            raise InvalidBundle(
                f"{error} (or give it another suffix, if it is no {path.rpartition('.')[2]})"
            ) from None
