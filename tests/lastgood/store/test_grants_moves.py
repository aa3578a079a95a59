"""Every move by every Postgres role, by the real code to its end: it commits, or nothing is written.

A move is made in an environment of its own, prepared by who owns the tables. All share one database.
"""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from lastgood import ledger
from lastgood.clock import ManualClock
from lastgood.errors import StoreUnavailable
from lastgood.store import grants
from lastgood.store.connection import Store
from lastgood.store.tables import SQLModel
from tests.lastgood.store.moves_of_roles import MAY, MOVES
from tests.lastgood.store.moves_prepared import NUMBERS

PAGE = Path(__file__).parents[3] / "docs" / "security.md"


@pytest.fixture(scope="module")
def granted(postgres, migrated_postgres) -> Iterator[Any]:
    """The database, its roles, and a store of each."""
    url, clock = postgres.make(migrated_postgres), ManualClock()
    with psycopg.connect(url, autocommit=True) as held:
        for statement in grants.statements(SQLModel.metadata.tables):
            held.execute(statement)
        stores = {
            role: Store(f"{url}?options=-c%20role%3Dlastgood_{role}", clock) for role in grants.ROLES
        } | {"owner": Store(url, clock)}
        yield SimpleNamespace(stores=stores, clock=clock, held=held)
    for store in stores.values():
        store.close()
    postgres.drop(url)


@pytest.fixture
def owners(granted, tools) -> Callable[[], Any]:
    """`owners()`: a desk in an environment of its own, as who owns the tables."""
    first = tools.Desk(granted.stores["owner"], granted.clock)
    first.third = first.register("third")

    def another() -> Any:
        desk = copy.copy(first)
        desk.environment = f"place-{next(NUMBERS)}"
        desk.place = (desk.agent, desk.environment)
        return desk

    return another


def as_role(desk: Any, granted: Any, role: str) -> Any:
    """The same desk with the role's store in hand."""
    its = copy.copy(desk)
    its.store = granted.stores[role]
    return its


def written(granted: Any) -> list[tuple[Any, ...]]:
    """What is in every table, as digests."""
    each = (
        f"SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} AS t"
        for table in SQLModel.metadata.tables
    )
    return granted.held.execute(" UNION ALL ".join(each)).fetchall()


MOVES.sort(key=lambda each: each.name != "prunes")  # which goes through every place there is


@pytest.mark.parametrize("tried", MOVES, ids=lambda each: each.name)
def test_who_may_makes_the_move_and_who_may_not_writes_nothing(tried, granted, owners):
    may = [*MAY[tried.kind].split(), "service"]
    desk = owners()
    given = tried.prepare(desk)
    before = written(granted)
    for role in sorted({*grants.ROLES} - {*may}):
        with pytest.raises(StoreUnavailable, match=r"permission denied|may not") as refused:
            tried.make(as_role(desk, granted, role), given)
        assert "nothing was written" in str(refused.value), role
        assert written(granted) == before, role
    for place, role in enumerate(may):
        if place:
            desk = owners()
            given = tried.prepare(desk)
        tried.make(as_role(desk, granted, role), given)
        ledger.verify(desk.store, *desk.place)


def test_the_page_on_security_has_the_same_table():
    rows = re.findall(r"^\| ([^|]+?) \| ([a-z, -]+?) \|$", PAGE.read_text(), re.MULTILINE)
    told = {what: {*who.split(", ")} - {"-"} for what, who in rows}
    assert {what: told.get(what) for what in MAY} == {what: {*who.split()} for what, who in MAY.items()}


def test_every_kind_of_move_is_walked():
    assert {each.kind for each in MOVES} == {*MAY}
