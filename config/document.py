"""A policy's text as plain values: YAML that people write, or the JSON of a frozen policy."""

import hashlib
import json
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lastgood.errors import CorruptRow, InvalidInput, InvalidPolicy
from lastgood.strict_yaml import Document, load_yaml

#: characters of a policy; the default with all its comments has a quarter of it
MAX_CHARS = 20_000
#: values and keys of a policy, each alias counted with all that it stands for
MAX_VALUES = 3_000
#: endings of a one-line `str` that make it a file's name
SUFFIXES = (".yaml", ".yml", ".json")
#: bytes of one character of UTF-8 at most
_UTF8 = 4


@dataclass(frozen=True, slots=True)
class What:
    """A kind of document, in the words of its messages."""

    #: what messages call a text without a file
    word: str
    #: the same with its article
    said: str
    #: a first line of one
    example: str
    #: what is raised for one that can't be used
    error: type[InvalidInput]


POLICY = What("policy", "a policy", "name: default", InvalidPolicy)


def read_yaml(source: Path | str, what: What = POLICY) -> Document:
    """Read a file, or YAML text: a `str` that is no single name ending in .yaml, .yml or .json.

    Raises `what.error`, which names the file and line, for what can't be read or is no mapping.
    """
    named = isinstance(source, str) and source.endswith(SUFFIXES) and not set("\n:{") & set(source)
    name, text = (
        (str(source), _content(Path(source), what))
        if named or isinstance(source, Path)
        else (what.word, source)
    )
    _check_length(name, text, what)
    document = load_yaml(text, name, what.error)
    if not isinstance(document.value, dict):
        raise what.error(f"{name}:1: {what.said} is a mapping of keys to values, such as '{what.example}'")
    _check_keys(document, what)
    if _count(document.value, MAX_VALUES) > MAX_VALUES:
        raise what.error(
            f"{name}:1: {what.said} may have {MAX_VALUES:,} values, this has more; write a shorter one"
        )
    return document


def read_frozen(text: str, digest: str | None) -> Document:
    """Parse the JSON of a frozen policy.

    Raises CorruptRow where the text does not hash to the digest, InvalidPolicy where it is no JSON object.
    """
    if digest is not None and digest_of(text) != digest:
        raise CorruptRow(f"policy {digest[:12]} does not hash to its digest; restore its row from a backup")
    _check_length("policy", text, POLICY)
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except InvalidPolicy:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidPolicy(f"policy: not valid JSON: {str(error)[:100]}") from error
    if not isinstance(data, dict):
        raise InvalidPolicy("policy: a frozen policy is a JSON object, as Policy.to_json writes it")
    return Document("policy", data, MappingProxyType({}))


def digest_of(text: str) -> str:
    """Sha256 of a text in UTF-8, 64 hex digits. A stored policy is verified by its text, not written anew."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _content(path: Path, what: What) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CHARS * _UTF8 + 1)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise what.error(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise what.error(f"{path}: can't be read: {reason}") from error


def _check_length(name: str, text: str, what: What) -> None:
    if len(text) > MAX_CHARS:
        raise what.error(
            f"{name}: {what.said} may have {MAX_CHARS:,} characters, this has {len(text):,} or more"
        )


def _check_keys(document: Document, what: What) -> None:
    """Refuse keys that YAML reads as something else than text: no, on, 3, 2026-11-23."""
    for path in document.lines:
        box = reduce(_inside, path[:-1], document.value)
        # '<<' is merged away, '?' is the reader's word for a key itself
        if isinstance(box, dict) and path and path[-1] not in {*box, "<<", "?"}:
            raise what.error(f"{document.where(*path)}: YAML reads the key {path[-1]} as no text; quote it")


def _inside(box: Any, step: str | int) -> Any:
    try:
        return box[step]
    except (LookupError, TypeError):
        return None


def _count(value: object, most: int) -> int:
    """Values inside `value`, counted no further than past `most`."""
    found, waiting = 0, [value]
    while waiting and found <= most:
        item = waiting.pop()
        found += 1
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidPolicy("policy: a key stands twice; a frozen policy is what Policy.to_json writes")
    return found


__all__ = ["POLICY", "Document", "What", "digest_of", "read_frozen", "read_yaml"]
