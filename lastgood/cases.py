"""Regression cases: an input with checks that failed on a bad bundle and passed on a good one, as YAML files.

A file is a Dataset of pydantic-evals. What is lastgood's own stands under `metadata.lastgood` of each case:
where it comes from, how it was proven, how often it is tried, and the recorded calls that answer its replay.
Loaded on demand: it reads YAML.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from lastgood import checks
from lastgood.canonical import canonical_json, sha256_hex
from lastgood.checks import Check, Subject
from lastgood.errors import InvalidInput, LastgoodError, NotFound
from lastgood.fixtures import Fixtures
from lastgood.frozen import thaw
from lastgood.records import scrubber
from lastgood.replaying import Played
from lastgood.strict_yaml import Document, load_yaml

#: tries of a case at most, for agents that are not deterministic
MAX_ATTEMPTS: Final = 50
_CASE_KEYS = frozenset({"name", "inputs", "expected_output", "metadata", "evaluators"})
_FILE_KEYS = frozenset({"name", "cases", "evaluators", "report_evaluators", "$schema"})


@dataclass(frozen=True, slots=True)
class Judged:
    """What one replay of a case showed."""

    #: why it fails, in words; empty where it passes
    why: tuple[str, ...] = ()
    #: whether a recorded answer was missing: it shows nothing of the bundle
    unanswered: bool = False

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.why


@dataclass(frozen=True)
class Case:
    """One regression case."""

    name: str
    inputs: Any
    checks: tuple[Check, ...]
    #: what the output has to be, for `EqualsExpected`; None: nothing is known
    expected: Any = None
    fixtures: Fixtures = field(default_factory=Fixtures)
    #: `agent`, `incident`, `run`, `signature`, `bad`, `good`, `replay`, `proof`, ...
    told: Mapping[str, Any] = field(default_factory=dict)
    #: tries, and how many of them have to pass
    attempts: int = 1
    needed: int = 1
    #: metadata that are the team's own
    own: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The sha256 of what is replayed and checked, 64 hex digits."""
        entry = self.to_entry()
        kept = [
            entry.get("inputs"),
            entry.get("expected_output"),
            entry["evaluators"],
            self.fixtures.to_json(),
        ]
        return sha256_hex(canonical_json(kept, name=f"case {self.name}"))

    def judge(self, played: Played) -> Judged:
        """Judge one replay by every check."""
        if played.missing:
            said = tuple(f"no recorded answer to {what}" for what in dict.fromkeys(played.missing))
            return Judged(said, unanswered=True)
        found = [(type(check).__name__, self.why_not(check, played)) for check in self.checks]
        return Judged(tuple(f"{name}: {why}" for name, why in found if why is not None))

    def why_not(self, check: Check, played: Played) -> str | None:
        """Say why one of its checks fails on a replay, None where it passes."""
        if played.missing:
            return f"no recorded answer to {played.missing[0]}"
        return check.why_not(Subject(played, self.inputs, self.expected))

    def to_entry(self) -> dict[str, Any]:
        """Return it as an entry of a file's `cases`."""
        told = {**self.told, "attempts": self.attempts, "needed": self.needed}
        if self.fixtures.rules:
            told["redact"] = list(self.fixtures.rules)
        if self.fixtures.entries:
            told["fixtures"] = self.fixtures.to_json()
        entry = {"name": self.name, "inputs": thaw(self.inputs)}
        if self.expected is not None:
            entry["expected_output"] = thaw(self.expected)
        entry["metadata"] = {**self.own, "lastgood": told}
        entry["evaluators"] = [checks.write(check) for check in self.checks]
        return entry


@dataclass(frozen=True, slots=True)
class Tried:
    """What a case showed on one bundle, all attempts together."""

    passed: bool
    #: judgements in order
    judged: tuple[Judged, ...]

    @property
    def why(self) -> tuple[str, ...]:
        """Why the last failing attempt failed; empty where none did."""
        return next((one.why for one in reversed(self.judged) if not one.passed), ())

    @property
    def unanswered(self) -> bool:
        """Whether a recorded answer was missing in any attempt."""
        return any(one.unanswered for one in self.judged)


def attempt(case: Case, play: Callable[[], Played]) -> Tried:
    """Replay a case until it is decided: `needed` of `attempts` passes, or no longer possible."""
    judged: list[Judged] = []
    while True:
        passes = sum(one.passed for one in judged)
        left = case.attempts - len(judged)
        if passes >= case.needed or passes + left < case.needed:
            return Tried(passes >= case.needed, tuple(judged))
        judged.append(case.judge(play()))
        if judged[-1].unanswered:
            return Tried(passed=False, judged=tuple(judged))


# -- files


def read_folder(folder: Path, known: checks.Known = checks.KNOWN) -> list[Case]:
    """Return the cases of every .yaml and .yml file below a folder, in order of path.

    Raises `NotFound` where there is none, InvalidInput for a file that is no case file.
    """
    files = files_in(folder)
    if not files:
        raise NotFound(f"no case file (*.yaml) is in {folder}; `lastgood cases export` writes them")
    return [case for path in files for case in read_file(path, known)]


def files_in(folder: Path) -> list[Path]:
    """Return the case files below a folder, or the one that it is; promptfoo's own are left out."""
    if folder.is_file():
        return [folder]
    found = sorted(path for path in folder.rglob("*.y*ml") if path.suffix in {".yaml", ".yml"})
    return [path for path in found if not path.stem.startswith("promptfoo")]


def read_file(path: Path, known: checks.Known = checks.KNOWN) -> list[Case]:
    """Return the cases of a file; raises InvalidInput, which names the file, the line and the case."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the case file {path} can't be read: {error}") from error
    return read_text(text, str(path), known)


def read_text(text: str | bytes, name: str, known: checks.Known = checks.KNOWN) -> list[Case]:
    """Return the cases of a file's text; `name` is what messages call it."""
    document = load_yaml(text, name)
    data = document.value
    if not isinstance(data, dict) or not isinstance(data.get("cases"), list):
        raise InvalidInput(f"{name}:1: no case file: a map with a list `cases` is wanted")
    _only(data, _FILE_KEYS, document)
    shared = _checks(data.get("evaluators") or [], document, ("evaluators",), known)
    found = [_case(entry, document, at, shared, known) for at, entry in enumerate(data["cases"])]
    names = [case.name for case in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{name}: two cases are called {twice!r}; rename one")
    return found


def _only(data: Mapping[str, Any], keys: frozenset[str], document: Document, *place: str | int) -> None:
    for key in data:
        if key not in keys:
            where = document.where(*place, key)
            raise InvalidInput(f"{where}: unknown key {key!r}; known: {', '.join(sorted(keys))}")


def _checks(
    entries: Any, document: Document, place: tuple[str | int, ...], known: checks.Known
) -> tuple[Check, ...]:
    if not isinstance(entries, list):
        raise InvalidInput(f"{document.where(*place)}: `evaluators` is a list")
    return tuple(checks.read(entry, document.where(*place, at), known) for at, entry in enumerate(entries))


def _case(entry: Any, document: Document, at: int, shared: tuple[Check, ...], known: checks.Known) -> Case:
    place = ("cases", at)
    where = document.where(*place)
    if not isinstance(entry, dict) or "inputs" not in entry:
        raise InvalidInput(f"{where}: a case has at least `inputs`")
    _only(entry, _CASE_KEYS, document, *place)
    metadata = entry.get("metadata") or {}
    if not isinstance(metadata, dict) or not isinstance(metadata.get("lastgood", {}), dict):
        raise InvalidInput(f"{where}: `metadata` and `metadata.lastgood` are maps")
    own = _checks(entry.get("evaluators") or [], document, (*place, "evaluators"), known)
    if not (own or shared):
        raise InvalidInput(f"{where}: the case has no evaluators, so nothing could fail; add one")
    case = Case(
        name=str(entry.get("name") or f"case {at + 1}"),
        inputs=entry["inputs"],
        checks=own + shared,
        expected=entry.get("expected_output"),
        own={name: value for name, value in metadata.items() if name != "lastgood"},
    )
    return _told(case, dict(metadata.get("lastgood", {})), where)


def _told(case: Case, told: dict[str, Any], where: str) -> Case:
    """The case with what stands under `metadata.lastgood`."""
    what = f"{where}: case {case.name!r}"
    rules = told.pop("redact", [])
    if not (isinstance(rules, list) and all(isinstance(rule, str) for rule in rules)):
        raise InvalidInput(f"{what}: `redact` is a list of rules")
    try:
        scrubber(tuple(rules))
    except LastgoodError as error:
        raise InvalidInput(f"{what}: {error}") from error
    fixtures = Fixtures.from_json(told.pop("fixtures", []), tuple(rules), what=f"{what}: fixtures")
    attempts, needed = told.pop("attempts", 1), told.pop("needed", 1)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (attempts, needed))
    if not whole or not 1 <= needed <= attempts <= MAX_ATTEMPTS:
        raise InvalidInput(f"{what}: `needed` of `attempts` is at least 1 of 1, at most {MAX_ATTEMPTS}")
    return replace(case, fixtures=fixtures, told=told, attempts=attempts, needed=needed)


class _Dumper(yaml.SafeDumper):
    """Writes text that any YAML, 1.1 or 1.2, reads as text: what is not plainly a word is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never write an alias: a reader of a case should find everything in its place."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    if "\n" in text and text.isprintable() is False and all(c.isprintable() or c == "\n" for c in text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    plain = text.replace("_", "a").replace("-", "a").isalpha() and text.isascii()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def to_yaml(value: Any) -> str:
    """Return a value as YAML, in the order of its keys."""
    text: str = yaml.dump(thaw(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def write(cases: Iterable[Case], name: str) -> str:
    """Return a case file: a Dataset of pydantic-evals called `name`."""
    return to_yaml({"name": name, "cases": [case.to_entry() for case in cases]})


def to_json(case: Case) -> str:
    """Return a case as the store keeps it."""
    return json.dumps(case.to_entry(), ensure_ascii=False, sort_keys=True)


def from_json(text: str, name: str, known: checks.Known = checks.KNOWN) -> Case:
    """Read what `to_json` wrote; `name` is what messages call it."""
    document = Document(name, {"cases": [json.loads(text)]}, {})
    return _case(document.value["cases"][0], document, 0, (), known)


def by_name(cases: Sequence[Case], name: str) -> Case:
    """Return the case of a name; raises `NotFound`."""
    for case in cases:
        if case.name == name:
            return case
    raise NotFound(f"no case {name!r}; there are {', '.join(case.name for case in cases) or 'none'}")


__all__ = [
    "MAX_ATTEMPTS", "Case", "Judged", "Tried", "attempt", "by_name", "files_in", "from_json", "read_file",
    "read_folder", "read_text", "to_json", "to_yaml", "write",
]  # fmt: skip
