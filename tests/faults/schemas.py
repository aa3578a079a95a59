"""F18: a store whose schema is of another version than the process, in both directions, also at work."""

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

from alembic import command
from common import AGENT, ENVIRONMENT, ROOT, Line, Place, adopted, hand, main, opened, rows, serving, store_at

from lastgood import control
from lastgood.assigning import Request, assign
from lastgood.errors import LastgoodError, SchemaMismatch
from lastgood.store import connection
from lastgood.store.engine import alembic_config, upgrade

fork = multiprocessing.get_context("fork")
NEWER = "9999"
OLDER = ("0001", "0002")
WORKS = {
    "assign": lambda store: assign(serving(store), Request("u", "faq", None, None)),
    "kill": lambda store: control.kill(store, AGENT, ENVIRONMENT, actor="ann", reason="test"),
    "read": lambda store: rows(store, "SELECT * FROM run"),
}


def tried(store: connection.Store) -> Counter:
    """What becomes of each kind of work."""
    found = Counter()
    for work in WORKS.values():
        try:
            work(store)
            found["done"] += 1
        except SchemaMismatch:
            found["refused"] += 1
        except LastgoodError as error:
            found[type(error).__name__] += 1
    return found


def other_process(url: str, schema: str, ask, said) -> None:
    """A process of another version that has the store open and is at work."""
    connection.SCHEMA = schema
    store = store_at(url)
    said.put(tried(store))
    ask.get()
    said.put(tried(store))


def by_command(url: str) -> tuple[int, str]:
    """The command line's exit status and words over such a store."""
    environment = {**os.environ, "LASTGOOD_DATABASE": url}
    words = [sys.executable, "-m", "lastgood.cli", "kill", AGENT]
    ran = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stderr


def refused(place: Place) -> tuple[Counter, int]:
    """New code over older and newer stores; what it did, and commands that did not refuse in one line."""
    found, unclear = Counter(), 0
    for schema in (*OLDER, NEWER):
        url = place.empty()
        if schema == NEWER:
            upgrade(url)
            hand(store_at(url), "UPDATE alembic_version SET version_num = ?", NEWER)
        else:
            command.upgrade(alembic_config(url), schema)
        found += tried(store_at(url))
        status, said = by_command(url)
        unclear += status != 1 or "upgrade" not in said or "Traceback" in said
        if schema == NEWER:
            try:
                upgrade(url)
                found["migrated a newer store"] += 1
            except SchemaMismatch:
                found["refused"] += 1
    return found, unclear


def overtaken(place: Place) -> tuple[Counter, Counter]:
    """An old process at work while a new one migrates: what it did before, and after."""
    url = place.migrated()
    store = store_at(url)
    _, candidate = adopted(store)
    opened(store, candidate)
    store.close()
    ask, said = fork.SimpleQueue(), fork.SimpleQueue()
    old = fork.Process(target=other_process, args=(url, connection.SCHEMA, ask, said))
    old.start()
    before = said.get()
    hand(store, "UPDATE alembic_version SET version_num = ?", NEWER)
    ask.put("go on")
    after = said.get()
    old.join()
    return before, after


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Both directions, on one kind of store."""
    found, unclear = refused(place)
    before, after = overtaken(place)
    figure = (
        f"over schemas {', '.join((*OLDER, NEWER))}: {dict(found)}, commands without a clear refusal "
        f"{unclear}; a process at work during a migration: {dict(before)} before it, {dict(after)} after it"
    )
    holds = (set(found), set(before), set(after)) == ({"refused"}, {"done"}, {"refused"}) and not unclear
    yield Line("F18", "old and new processes over stores of another schema", figure, holds)


if __name__ == "__main__":
    main(run, "F18")
