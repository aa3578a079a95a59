"""Verification: every stored verdict of a release, recomputed from its stored evidence and frozen policy.

What is read is a release's row, its looks and its sealed blocks; nothing is written, so that a copy of the
database on another machine does.
"""

import json
import math
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from evaluators.blocks import BlockCounts
from evaluators.verdict import Verdict
from lastgood.errors import InvalidEvidence, InvalidInput, NotFound, StoreUnavailable
from lastgood.store import statements as sql
from lastgood.store.connection import Row
from lastgood.store.sqlite import sqlite_path
from tasks.comparison import Frozen, Given, recomputed

#: how far a recomputed number may be from the stored one; of large numbers the same in their 12th digit
TOLERANCE, RELATIVE = 1e-9, 1e-12
#: what a stored look holds beside its verdict
_GIVEN = frozenset({"blocks", "judges", "policy_digest"})
#: what a verdict says in sentences: another version may put the same figures into other words
_SENTENCES = frozenset({"reason", "invalid_reason"})
_FIGURE = re.compile(r"[-+]?\d+(?:[.,]\d+)*")
_COUNTS = ("share_bp", "n_c", "y_c", "n_b", "y_b")


class Rows(Protocol):
    """What verification needs of a database: named statements in, rows out."""

    def one(self, statement: str, **values: Any) -> Row | None:
        """The first row, or None."""

    def all(self, statement: str, **values: Any) -> list[Row]:
        """All rows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where what is stored is not what the evidence says."""

    #: number of the look; 0 where it is no single look's
    look: int
    #: what differs, with both values
    what: str
    #: whether only the words of a sentence do: what was decided, and every figure, is the same
    wording: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """The answer."""

    release_id: str
    #: looks that were recomputed
    looks: int
    #: decision of the last look; empty where there was none
    decision: str
    #: sealed blocks that were compared
    blocks: int
    #: in the order of looks; empty where everything is as stored, words aside
    differences: tuple[Difference, ...]
    #: looks whose verdict is the same, and which say it in other words
    worded: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {**asdict(self), "sound": not self.differences}


def verify(rows: Rows, release_id: str) -> Verified:
    """Recompute each look of a release in turn; stops at the first that differs by more than its words.

    Raises NotFound, CorruptRow where the frozen policy does not hash to its digest, InvalidInput where the
    frozen policy or history can't be used at all.
    """
    release = rows.one(sql.RELEASE, id=release_id)
    if release is None:
        msg = f"no release {release_id!r} in this database; `lastgood release status AGENT` lists them"
        raise NotFound(msg)
    try:
        frozen = Frozen.of(release)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        msg = f"the frozen history of {release_id} can't be read: {error!r}; restore its row from a backup"
        raise InvalidEvidence(msg) from error
    stored = rows.all(sql.LOOKS, release_id=release_id)
    evidence = rows.one(sql.EVIDENCE, release_id=release_id)
    sealed = rows.all(sql.BLOCKS, release_id=release_id)
    looks = list(_looks(frozen, release, stored))
    found = [*(each for each in looks if not each.wording), *_numbering(stored, evidence)]
    if not found:
        found = list(_sealed(stored, sealed))
    decision = stored[-1]["decision"] if stored else ""
    ordered = sorted(found, key=lambda difference: difference.look)
    worded = tuple(each for each in looks if each.wording)
    return Verified(release_id, len(stored), decision, len(sealed), tuple(ordered), worded)


def _looks(frozen: Frozen, release: Row, stored: list[Row]) -> Iterator[Difference]:
    """The first look that differs, and by what; before it those that are only worded otherwise."""
    given, said = [], list[dict[str, Any]]()
    for row in stored:
        try:
            verdict = json.loads(row["verdict"])
            given.append(Given.read(verdict))
            said.append(verdict)
        except (ValueError, AttributeError) as error:
            yield Difference(row["seq"], f"it can't be read: {error}")
            break
    yield from _older(stored, said)
    again = recomputed(frozen, given)
    for row, verdict in zip(stored, said, strict=False):
        if verdict.get("policy_digest", release["policy_digest"]) != release["policy_digest"]:
            yield Difference(row["seq"], "it was made under another policy than the release's")
            return
        try:
            made = next(again)
        except InvalidEvidence as error:
            yield Difference(row["seq"], f"its evidence can't be: {error}")
            return
        differs = None if _is_older(verdict) else _compared(made, verdict, row)
        if differs is not None:
            yield differs
            if not differs.wording:
                return


def _is_older(verdict: Mapping[str, Any]) -> bool:
    """Whether a look was made before schema 0002: every later one names the policy it was made under."""
    return "policy_digest" not in verdict


def _older(stored: list[Row], said: list[dict[str, Any]]) -> Iterator[Difference]:
    """That looks can't be recomputed, since the statistics are others by now."""
    numbers = [row["seq"] for row, verdict in zip(stored, said, strict=False) if _is_older(verdict)]
    if numbers:
        which = f"looks {numbers[0]} to {numbers[-1]} were" if len(numbers) > 1 else "it was"
        yield Difference(
            numbers[0],
            f"{which} judged by an older version of lastgood, with statistics that this one does not have: "
            "verify a copy from before the upgrade with that version",
        )


def _compared(made: Verdict, stored: Mapping[str, Any], look: Row) -> Difference | None:
    """What differs first between a recomputed verdict and a stored one, words last."""
    number, decision = look["seq"], look["decision"]
    if decision != str(made.decision):
        return Difference(number, f"decision: stored {decision}, recomputed {made.decision}")
    ours = json.loads(json.dumps(made.to_json()))
    theirs = {name: value for name, value in stored.items() if name not in _GIVEN}
    found = [
        Difference(
            number,
            f"{place}: stored {_short(other)}, recomputed {_short(mine)}",
            wording=_is_wording(place, mine, other),
        )
        for place, mine, other in _unlike("", ours, theirs)
    ]
    return min(found, key=lambda each: each.wording, default=None)


def _is_wording(place: str, ours: Any, theirs: Any) -> bool:
    """Whether two values that differ are sentences with the same figures."""
    sentences = isinstance(ours, str) and isinstance(theirs, str) and place.rpartition(".")[2] in _SENTENCES
    return sentences and sorted(_FIGURE.findall(ours)) == sorted(_FIGURE.findall(theirs))


def _unlike(place: str, ours: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """Places at which two plain values differ, numbers by more than TOLERANCE, with both."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in (*ours, *(name for name in theirs if name not in ours)):
            yield from _unlike(f"{place}.{name}".removeprefix("."), ours.get(name), theirs.get(name))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            label = mine["name"] if isinstance(mine, dict) and "name" in mine else index
            yield from _unlike(f"{place}[{label}]", mine, other)
    elif not _alike(ours, theirs):
        yield place, ours, theirs


def _alike(ours: Any, theirs: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (ours, theirs))
    if not numbers:
        return type(ours) is type(theirs) and bool(ours == theirs)
    return ours == theirs or math.isclose(ours, theirs, rel_tol=RELATIVE, abs_tol=TOLERANCE)


def _short(value: Any) -> str:
    return repr(value)[:200]


def _numbering(stored: list[Row], evidence: Row | None) -> Iterator[Difference]:
    """Looks are numbered from 1 without a gap, and the evidence counts them."""
    for expected, row in enumerate(stored, start=1):
        if row["seq"] != expected:
            yield Difference(expected, "it is missing")
            return
    counted = evidence["looks"] if evidence is not None else 0
    if counted != len(stored):
        yield Difference(len(stored) + 1, f"it is missing: the evidence counts {counted} looks")


def _sealed(stored: list[Row], sealed: list[Row]) -> Iterator[Difference]:
    """Sealed blocks are those that the looks were given."""
    left = {(row["guardrail"], row["stratum"], row["block"]): row for row in sealed}
    for row in stored:
        given = Given.read(json.loads(row["verdict"]))
        for name, blocks in given.blocks.items():
            for block in (found for found in blocks if found.closed):
                held = left.pop((name, block.stratum, block.block), None)
                differs = _block_differs(block, held)
                if differs:
                    place = f"sealed block {block.block} of {name}, stratum {block.stratum}"
                    yield Difference(row["seq"], f"{place}: {differs}")
    for name, stratum, number in left:
        yield Difference(0, f"sealed block {number} of {name}, stratum {stratum}: no look was given it")


def _block_differs(block: BlockCounts, held: Row | None) -> str:
    if held is None:
        return "it is missing"
    unlike = [name for name in _COUNTS if getattr(block, name) != held[name]]
    parts = [f"{name} stored {held[name]}, the look was given {getattr(block, name)}" for name in unlike]
    return "; ".join(parts)


class _ReadOnly:
    """A SQLite file that is read and never written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def one(self, statement: str, **values: Any) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._connection.execute(statement, values).fetchone()
        return row

    def all(self, statement: str, **values: Any) -> list[Row]:
        """All rows."""
        return self._connection.execute(statement, values).fetchall()


@contextmanager
def read_only(database: str) -> Iterator[Rows]:
    """Open a copied database by its path or `sqlite:///` URL; no byte beside or in it is written.

    A write-ahead log that was copied with it is read in a copy of both. Raises StoreUnavailable.
    """
    path = sqlite_path(database) if database.startswith("sqlite:") else Path(database)
    if not path.is_file():
        msg = f"there is no database at {path}; give the path of a copied lastgood.db"
        raise StoreUnavailable(msg)
    log = path.with_name(path.name + "-wal")
    with tempfile.TemporaryDirectory(prefix="lastgood-verify-") as place:
        if log.exists() and log.stat().st_size:
            copy = Path(place) / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name(log.name))
            path, how = copy, "mode=rw"
        else:
            how = "mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True)) as connection:
                connection.row_factory = sqlite3.Row
                yield _ReadOnly(connection)
        except sqlite3.Error as error:
            msg = f"{path} can't be read as a database of lastgood: {error}; copy it anew, with its -wal file"
            raise StoreUnavailable(msg) from error


__all__ = ["TOLERANCE", "Difference", "Rows", "Verified", "read_only", "verify"]
