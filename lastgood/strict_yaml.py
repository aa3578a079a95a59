"""YAML read strictly: safe types, no duplicate keys, lines for messages, and a bound on what a text may cost.

Loaded on demand; an agent that reads no YAML part never imports it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from lastgood.errors import InvalidInput

#: bytes of one YAML text
MAX_BYTES = 2_000_000
#: nested lists and maps
MAX_DEPTH = 64
#: values and keys, every alias counted with all that it stands for
MAX_NODES = 200_000
#: characters of a number or a time; base-60 numbers (1:30:00) cost the square of their length
MAX_NUMBER = 400

_PLAIN_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:binary", "tag:yaml.org,2002:null"})
_MERGE = "tag:yaml.org,2002:merge"

#: libyaml where PyYAML was built with it: ten times as fast
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML document with the lines of its keys."""

    #: what messages call the text, usually its path
    name: str
    #: plain Python values: maps, lists, text, numbers, booleans, None, dates
    value: Any
    #: line (from 1) of each key and list item, by its way from the top
    lines: Mapping[Keys, int]

    def where(self, *keys: str | int) -> str:
        """`name:line` of a place, or of the nearest known place around it."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.name}:{self.lines.get(keys, 1)}"


def load_yaml(text: str | bytes, name: str, error: type[InvalidInput] = InvalidInput) -> Document:
    """Read one YAML document.

    Args:
        text: the document; bytes are read as UTF-8.
        name: what messages call it.
        error: the error to raise, a kind of `InvalidInput`.

    Raises:
        InvalidInput: (as `error`) not UTF-8, not YAML, more than one document, an unknown tag, a duplicate
            key, or past one of this module's limits. The message begins with `name:line`.
    """
    reader = _Reader(name, error)
    plain = reader.decode(text)
    loader = _Loader(plain)
    try:
        reader.check_events(plain)
        node = loader.get_single_node()
        if node is None:
            return Document(name, None, MappingProxyType({(): 1}))
        reader.walk(node, ())
        return Document(name, loader.construct_document(node), MappingProxyType(reader.lines))
    except yaml.MarkedYAMLError as problem:
        reader.fail(problem.problem_mark, f"{problem.problem or problem}; correct the YAML")
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as problem:
        if isinstance(problem, InvalidInput):
            raise
        reader.fail(None, f"a value does not fit its type ({problem}); quote it if it is text")
    finally:
        loader.dispose()


@dataclass
class _Reader:
    """The checks of one document before its values are built."""

    name: str
    error: type[InvalidInput]
    lines: dict[Keys, int] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)

    def fail(self, mark: Any, message: str) -> NoReturn:
        line = mark.line + 1 if mark is not None else 1
        raise self.error(f"{self.name}:{line}: {message}") from None

    def decode(self, text: str | bytes) -> str:
        if len(text) > MAX_BYTES:
            self.fail(None, f"{len(text):,} bytes, {MAX_BYTES:,} are allowed; move content into files")
        try:
            if isinstance(text, bytes):
                return text.decode("utf-8-sig")
            text.encode()  # half a surrogate pair is no text, and libyaml would fail on it
        except UnicodeDecodeError as problem:
            line = problem.object.count(b"\n", 0, problem.start) + 1
            raise self.error(f"{self.name}:{line}: not UTF-8; save the file as UTF-8") from None
        except UnicodeEncodeError as problem:
            line = problem.object.count("\n", 0, problem.start) + 1
            raise self.error(
                f"{self.name}:{line}: half a character (a lone surrogate); take it out"
            ) from None
        return text

    def check_events(self, text: str) -> None:
        """Count before anything recursive sees the text: its depth must not reach Python's stack."""
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            if depth > MAX_DEPTH:
                self.fail(event.start_mark, f"nested deeper than {MAX_DEPTH} levels; make it flatter")
            if count > 2 * MAX_NODES:
                self.fail(event.start_mark, f"more than {MAX_NODES:,} values; move content into files")

    def walk(self, node: Any, keys: Keys) -> int:
        """Check a node, note its lines, and return how many nodes it stands for."""
        self.lines.setdefault(keys, node.start_mark.line + 1)
        if id(node) in self._sizes:
            if self._sizes[id(node)] == 0:  # still open: it is inside itself
                self.fail(node.start_mark, "an anchor holds itself; write the content out")
            return self._sizes[id(node)]
        self._sizes[id(node)] = 0
        size = self._inside(node, keys)
        if size > MAX_NODES:
            self.fail(node.start_mark, f"aliases stand for more than {MAX_NODES:,} values; write them out")
        self._sizes[id(node)] = size
        return size

    def _inside(self, node: Any, keys: Keys) -> int:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return 1 + sum(self.walk(item, (*keys, index)) for index, item in enumerate(node.value))
        if len(node.value) > MAX_NUMBER and node.tag not in _PLAIN_TAGS:
            self.fail(node.start_mark, f"a number of {len(node.value):,} characters; quote it if it is text")
        return 1

    def _mapping(self, node: Any, keys: Keys) -> int:
        size, first = 1, dict[tuple[str, str], int]()
        for key, item in node.value:
            step = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in first:
                    line = first[key.tag, key.value]
                    self.fail(
                        key.start_mark, f"the key {key.value!r} stands on line {line} already; drop one"
                    )
                first[key.tag, key.value] = key.start_mark.line + 1
            self.lines.setdefault((*keys, step), key.start_mark.line + 1)
            size += self.walk(key, (*keys, "?")) + self.walk(item, (*keys, step))
        return size
