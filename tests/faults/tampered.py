"""F13 and F15: bundles, policies, control points, ledgers edited by hand; the baseline broken or missing."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from common import AGENT, ENVIRONMENT, Line, Place, again, hand, main, rows, seasoned, shown

import lastgood
from lastgood import agent as agents
from lastgood import ledger, points, registry, releasing
from lastgood.errors import CorruptRow, InvalidMove, LastgoodError, NotFound
from lastgood.store.connection import Store
from tasks import driving, preflight
from tasks.comparison import Frozen
from tests.tasks.conftest import World

TAMPERS = 200
#: what is edited, and how often beside the others
SHARES = {
    "bundle": 2,
    "bundle_part": 1,
    "part": 2,
    "policy": 1,
    "release": 1,
    "ledger": 3,
    "control_point": 2,
}
#: columns that nothing is read from: when a point was touched, and which kind of part first had a content
FREE = {"control_point": {"changed_us"}, "part": {"kind"}}
#: the frozen policy is what a release's row is held to
ONLY = {"release": {"policy", "policy_digest"}, "policy": {"body", "digest"}}


@dataclass(frozen=True)
class Tamper:
    """One edit."""

    table: str
    what: str
    #: rows that it changed
    changed: int
    #: the first bad row of the ledger; None where the end alone is missing, or another table was edited
    first: int | None = None


def other(value: object, draw: random.Random) -> object:
    """A value a little different from another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + draw.choice([1, -1, 1_000])
    if isinstance(value, bytes | memoryview):
        body = bytearray(value)
        body[draw.randrange(len(body))] ^= 1
        return bytes(body)
    text = str(value or "")
    if not text:
        return "x"
    place = draw.randrange(len(text))
    return text[:place] + chr(ord(text[place]) ^ 1 or 65) + text[place + 1 :]


#: what tells one row from another
KEYS = {
    "bundle": ("id",), "bundle_part": ("bundle_id", "kind"), "part": ("digest",), "policy": ("digest",),
    "release": ("id",), "ledger": ("agent", "environment", "seq"), "control_point": ("agent", "environment"),
}  # fmt: skip


def choices(store: Store, table: str, candidate: str) -> list[dict]:
    """Rows of a table that the release depends on: of bundles and parts those of the candidate alone."""
    found = rows(store, f"SELECT * FROM {table}")
    if table == "part":
        held = rows(store, "SELECT * FROM bundle_part")
        others = {row["digest"] for row in held if row["bundle_id"] != candidate}
        return [row for row in found if row["digest"] not in others]
    ours = {"bundle": "id", "bundle_part": "bundle_id"}.get(table)
    return sorted((row for row in found if ours is None or row[ours] == candidate), key=repr)


def edited(store: Store, table: str, candidate: str, draw: random.Random) -> Tamper:
    """Change a column of one row, or take the row away."""
    found = choices(store, table, candidate)
    row = draw.choice(found)
    key = {name: row[name] for name in KEYS[table]}
    where = " AND ".join(f"{name} = ?" for name in key)
    place = row["seq"] if table == "ledger" else None
    last = table == "ledger" and place == max(each["seq"] for each in found)
    if table not in ONLY and draw.random() < 0.2:
        changed = hand(store, f"DELETE FROM {table} WHERE {where}", *key.values())
        return Tamper(table, "deleted", changed, None if last else place)
    column = draw.choice(sorted(ONLY.get(table, set(row) - FREE.get(table, set()))))
    value = row["seq"] + 1_000 if column == "seq" else other(row[column], draw)
    value = bool(value) if column == "killed" and store.path is None else value
    changed = hand(store, f"UPDATE {table} SET {column} = ? WHERE {where}", value, *key.values())
    gone = last and column in {"agent", "environment"}  # the row is another chain's now
    return Tamper(table, column, changed, None if gone else place)


def found_by(store: Store, tamper: Tamper, world: World, head: tuple[int, str]) -> bool:
    """Whether what has to notice an edit does, and names the row where that is promised."""
    try:
        if tamper.table == "ledger":
            return ledger.verify(store, AGENT, ENVIRONMENT) != head and tamper.first is None
        with store.reading() as txn:
            if tamper.table == "control_point":
                points.read(txn, AGENT, ENVIRONMENT)
            elif tamper.table == "policy":
                preflight.find_policy(txn, "small")
            elif tamper.table == "release":
                Frozen.of(txn.one("SELECT * FROM release"))
            else:
                registry.read(txn, world.candidate)
    except CorruptRow as error:
        return tamper.table != "ledger" or f"at row {tamper.first}:" in str(error)
    except NotFound:
        return tamper.what in {"deleted", "id", "agent", "environment", "name"}
    return False


def to_baseline(store: Store, warm: bool) -> bool:
    """Whether runs of a process go to the baseline, or none is served by one that has just come."""
    lastgood.configure(database=store.url)
    agents._stores[store.url] = store
    for turn in range(8):
        try:
            with lastgood.run(AGENT, f"unit-{turn}") as run:
                if run.arm != "baseline":
                    return False
        except LastgoodError:
            if warm:
                return False
    return True


#: after an edit of these nobody may be served the candidate
SERVED_BY = {"bundle", "bundle_part", "part", "control_point"}


def tampered(place: Place, tampers: int) -> Line:
    """F13: every edit is found, and what is served by what was edited is the baseline."""
    ready = seasoned(place.migrated())
    release_id = ready.start()
    ready.until(driving.begin(ready.store, release_id, "me"), "compare")
    head = ledger.verify(ready.store, AGENT, ENVIRONMENT)
    draw, kinds, missed, served = random.Random(13), Counter(), Counter(), Counter()
    tables = [table for table, share in SHARES.items() for _ in range(share)]
    for turn in range(tampers):
        world = again(ready, place.copy(ready.store))
        warm = turn % 2 == 0 and tables[turn % len(tables)] == "control_point"
        if warm:
            to_baseline(world.store, warm)
        tamper = edited(world.store, tables[turn % len(tables)], world.candidate, draw)
        assert tamper.changed == 1, tamper
        kinds[tamper.table] += 1
        if not found_by(world.store, tamper, world, head):
            missed[f"{tamper.table}.{tamper.what}"] += 1
        if tamper.table in SERVED_BY and not to_baseline(world.store, warm):
            served[f"{tamper.table}.{tamper.what}"] += 1
        place.drop(world.store)
    figure = f"{sum(kinds.values())} tampers {dict(kinds)}: missed {shown(missed)}; "
    figure += f"candidate served after one {shown(served)}"
    what = "columns and rows of bundles, parts, policies, releases, control points and ledgers edited by SQL"
    return Line("F13", what, figure, not missed and not served)


#: what becomes of the baseline
BREAKAGES = {
    "its row deleted": "DELETE FROM bundle WHERE id = ?",
    "a part's row deleted": "DELETE FROM bundle_part WHERE kind = 'prompt' AND bundle_id = ?",
    "all parts deleted": "DELETE FROM bundle_part WHERE bundle_id = ?",
    "its author edited": "UPDATE bundle SET author = 'eve' WHERE id = ?",
    "another part's content": """
        UPDATE bundle_part SET digest = (SELECT digest FROM bundle_part AS b WHERE b.kind = 'prompt'
          AND b.bundle_id <> bundle_part.bundle_id) WHERE kind = 'prompt' AND bundle_id = ?""",
    "the point names nobody": "UPDATE control_point SET baseline = 'none' WHERE baseline = ?",
    "the point deleted": "DELETE FROM control_point WHERE baseline = ?",
}


def broken(place: Place) -> Line:
    """F15: no canary starts from a baseline that is broken or missing."""
    ready, started, refused = seasoned(place.migrated()), Counter(), Counter()
    ready.policy()
    wanted = preflight.check(ready.store, ready.wanted())  # before the break: a start must look itself
    for name, statement in BREAKAGES.items():
        world = again(ready, place.copy(ready.store))
        assert hand(world.store, statement, world.baseline), name
        for begin in (
            lambda w=world: preflight.check(w.store, w.wanted()),
            lambda w=world: releasing.start(w.store, wanted),
        ):
            try:
                begin()
                started[name] += 1
            except (CorruptRow, NotFound, InvalidMove) as error:
                refused[type(error).__name__] += 1
        started += Counter(name for _ in rows(world.store, "SELECT id FROM release"))
        place.drop(world.store)
    figure = f"{len(BREAKAGES)} ways x preflight and start: canaries started {shown(started)}"
    return Line("F15", "the baseline broken or missing", f"{figure}; refused {dict(refused)}", not started)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both, on one kind of store."""
    yield tampered(place, 24 if quick else TAMPERS)
    yield broken(place)


if __name__ == "__main__":
    main(run, "F13, F15")
