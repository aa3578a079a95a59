"""Auditing: who did what, when, and on which evidence, as JSON lines that stand without the database.

An export is one line that says where it begins, one a row of the ledger with what the row rests on, and one
with the head. The head alone is enough to find a tail that was cut off or written anew; against the rows the
first one that differs is named, and a look or an approval that was changed after it. Keep either where
nobody who can write the store can.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lastgood import ledger
from lastgood.errors import CorruptRow, InvalidInput, NotFound
from lastgood.store import auditing, pruning
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

#: version of the lines
VERSION = 1
_RESTS = "rests_on"
_ROW = (
    *("agent", "environment", "seq", "at_us", "actor", "action", "reason", "epoch"),
    *("release_id", "point", "previous", "hash"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of a chain: all that stands before it is bound by its hash."""

    agent: str
    environment: str
    #: place of the last row, 0 for a chain without rows
    seq: int
    hash: str
    #: microseconds UTC at which it was read
    read_us: int

    def line(self) -> str:
        """Return the line of an export that holds it."""
        return json.dumps({"head": asdict(self)})


@dataclass(frozen=True, slots=True)
class Kept:
    """What was exported before: a head, and the rows where it is a whole export."""

    head: Head
    rows: tuple[dict[str, Any], ...] = ()
    #: place and hash of the last row that was pruned before it
    after: int = 0
    previous: str = ""


class Grounds:
    """What rows of the ledger rest on, by the store: policy, last look, answer of a person."""

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self._looks: dict[str, list[tuple[int, int, str]]] = {}
        self._answers: dict[str, dict[int, Row]] = {}
        self._releases: dict[str, Row | None] = {}

    def of(self, row: Row) -> dict[str, Any]:
        """Return what one row rests on; empty for one that concerns no release.

        `look` and `verdict` (sha256 of what it said) are those of the last look before the row.
        """
        release_id = row["release_id"]
        release = None if release_id is None else self._release(release_id)
        if release is None:
            return {}
        found: dict[str, Any] = {"candidate": release["candidate"], "policy": release["policy_digest"]}
        looks = self._looks[release_id]
        place = bisect_right(looks, row["at_us"], key=lambda look: look[0])
        if place:
            found |= {"look": looks[place - 1][1], "verdict": looks[place - 1][2]}
        answer = self._answers[release_id].get(row["at_us"])
        if answer is not None:
            names = ("id", "what", "evidence", "level", "decision", "who")
            found["approval"] = {name: answer[name] for name in names}
        return found

    def pruned(self, release_id: str) -> bool:
        """Whether a release's evidence is past its limit and may be gone."""
        release = self._release(release_id)
        return release is not None and release["pruned_us"] is not None

    def _release(self, release_id: str) -> Row | None:
        if release_id not in self._releases:
            self._releases[release_id] = self._txn.one(sql.RELEASE, id=release_id)
            looks = self._txn.all(auditing.LOOKS_SAID, release_id=release_id)
            self._looks[release_id] = [(row["at_us"], row["seq"], _sha(row["verdict"])) for row in looks]
            answers = self._txn.all(auditing.ANSWERS, release_id=release_id)
            self._answers[release_id] = {row["decided_us"]: row for row in answers}
        return self._releases[release_id]


def _sha(text: str) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def head(txn: Transaction, agent: str, environment: str) -> Head:
    """Return the head of a chain that holds; raises `CorruptRow` for one that does not, and `NotFound`."""
    last, digest = ledger.verify_in(txn, agent, environment)
    if not last:
        raise NotFound(f"no ledger of {agent} in {environment}: nothing was ever adopted there")
    return Head(agent, environment, last, digest, txn.now_us)


def export(store: Store, agent: str, environment: str) -> Iterator[str]:
    """Yield the lines of an export, of a chain that holds. Raises as `head`."""
    with store.reading() as txn:
        found, grounds = head(txn, agent, environment), Grounds(txn)
        anchor = txn.one(pruning.LEDGER_ANCHOR, agent=agent, environment=environment)
        after, previous = (anchor["seq"], anchor["hash"]) if anchor else (0, "")
        begin = {"audit": VERSION, "agent": agent, "environment": environment}
        yield json.dumps({**begin, "after": after, "previous": previous})
        for row in txn.all(sql.LEDGER, agent=agent, environment=environment):
            if row["seq"] > after:
                yield json.dumps({**{name: row[name] for name in _ROW}, _RESTS: grounds.of(row)})
        yield found.line()


def read(lines: Iterable[str], source: str) -> Kept:
    """Read an export, or a head alone; its own chain is checked.

    Raises `InvalidInput` for what is none, `CorruptRow` where a row of it does not hold.
    """
    begin: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    found: Head | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        said = _said(line, f"line {number} of {source}")
        if found is not None:
            raise InvalidInput(f"{source} goes on after its head, at line {number}: give one export")
        if "head" in said:
            found = _head(said["head"], source)
        elif "audit" in said:
            begin = said
        else:
            rows.append(said)
    if found is None:
        raise InvalidInput(f"{source} has no head: it is no export of `lastgood audit export`, or was cut")
    kept = Kept(found, tuple(rows), begin.get("after", 0), begin.get("previous", ""))
    if begin or rows:
        _check_file(kept, source)
    return kept


def _said(line: str, where: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is no JSON: give a file of `lastgood audit export`") from error
    if not isinstance(said, dict):
        raise InvalidInput(f"{where} is no object: give a file of `lastgood audit export`")
    return said


_HEAD = {"agent": str, "environment": str, "seq": int, "hash": str, "read_us": int}


def _head(said: Any, source: str) -> Head:
    fits = isinstance(said, dict) and set(said) == set(_HEAD)
    if not fits or any(not isinstance(said[name], kind) for name, kind in _HEAD.items()):
        raise InvalidInput(f"the head of {source} can't be read: it needs {', '.join(_HEAD)}")
    return Head(**said)


def _check_file(kept: Kept, source: str) -> None:
    """Check the chain of an exported file by itself."""
    place, previous = kept.after, kept.previous
    for row in kept.rows:
        place += 1
        whole = all(name in row for name in _ROW)
        if not whole or row["seq"] != place or row["previous"] != previous:
            raise _in_file(source, place)
        if row["hash"] != ledger.row_hash(row) or (row["agent"], row["environment"]) != _place(kept):
            raise _in_file(source, place)
        previous = row["hash"]
    if (place, previous) != (kept.head.seq, kept.head.hash):
        raise CorruptRow(
            f"{source} ends at row {place}, and its head is row {kept.head.seq}: rows were taken away"
        )


def _place(kept: Kept) -> tuple[str, str]:
    return kept.head.agent, kept.head.environment


def _in_file(source: str, place: int) -> CorruptRow:
    return CorruptRow(f"{source} is broken at row {place}: it was edited, removed or added in the file")


def verify(store: Store, agent: str, environment: str, kept: Kept | None = None) -> Head:
    """Check a chain, and against what was exported before; return its head now.

    Raises `CorruptRow` naming the first bad row, `InvalidInput` where `kept` is another chain's or older
    than what is still kept.
    """
    with store.reading() as txn:
        found = head(txn, agent, environment)
        if kept is not None:
            _compare(txn, found, kept)
    return found


def _compare(txn: Transaction, found: Head, kept: Kept) -> None:
    name = f"the ledger of {found.agent} in {found.environment}"
    if _place(kept) != (found.agent, found.environment):
        raise InvalidInput(f"that export is of {kept.head.agent} in {kept.head.environment}, not of {name}")
    start = ledger.anchored(txn, found.agent, found.environment)
    if kept.head.seq < start:
        msg = (
            f"{name} was pruned up to row {start}, and the export ends at row {kept.head.seq}: nothing of it"
            " is left to compare; keep a newer one"
        )
        raise InvalidInput(msg)
    stored = {
        row["seq"]: row for row in txn.all(sql.LEDGER, agent=found.agent, environment=found.environment)
    }
    for row in kept.rows:  # the rows name the first one that differs; without them the head says it
        if row["seq"] > start and (row["seq"] not in stored or stored[row["seq"]]["hash"] != row["hash"]):
            raise _differs(name, found, row["seq"])
    if kept.head.seq > found.seq:
        raise _differs(name, found, found.seq + 1)
    at = stored.get(kept.head.seq)
    if at is not None and at["hash"] != kept.head.hash:
        msg = f"{name} was written anew at row {kept.head.seq} or before it: an export of its rows says where"
        raise CorruptRow(msg)
    _compare_grounds(Grounds(txn), [row for row in kept.rows if row["seq"] > start], name)


def _differs(name: str, found: Head, place: int) -> CorruptRow:
    if place > found.seq:
        return CorruptRow(
            f"{name} is broken at row {place}: it ends at row {found.seq}, its tail was cut off"
        )
    return CorruptRow(f"{name} is broken at row {place}: it was written anew since it was exported")


def _compare_grounds(grounds: Grounds, rows: list[dict[str, Any]], name: str) -> None:
    """What a row rests on must be what it was, where it is not past its limit."""
    for row in rows:
        was, now = row.get(_RESTS) or {}, grounds.of(row)
        if was == now or (row["release_id"] and grounds.pruned(row["release_id"])):
            continue
        changed = sorted(key for key in {*was, *now} if was.get(key) != now.get(key))
        raise CorruptRow(f"what row {row['seq']} of {name} rests on was changed since: {', '.join(changed)}")


__all__ = ["Grounds", "Head", "Kept", "export", "head", "read", "verify"]
