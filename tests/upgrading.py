"""Stores that older versions of lastgood filled, as these versions left them; see tests/data/upgrade/."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Boolean, MetaData, create_engine, text

from lastgood.clock import ManualClock
from lastgood.store.connection import Store
from lastgood.store.engine import alembic_config, engine_for, upgrade
from lastgood.store.sqlite import sqlite_path

FOLDER = Path(__file__).parent / "data" / "upgrade"
#: the schemas of which there is such a store
SCHEMAS = ("0001", "0003")


def clock_of(schema: str) -> ManualClock:
    """The clock as it stood when the store was left."""
    with (FOLDER / f"{schema}.sql").open() as lines:
        wall_us, boot_us = re.findall(r"\d{10,}", next(lines))
    return ManualClock(int(wall_us), int(boot_us))


def on_sqlite(schema: str, path: Path) -> str:
    """Make the store as a file; its URL."""
    held = sqlite3.connect(path)
    held.executescript((FOLDER / f"{schema}.sql").read_text())
    held.close()
    return f"sqlite:///{path}"


def on_postgres(schema: str, path: Path, url: str) -> str:
    """Bring the same rows into an empty database, migrated to the same schema; its URL."""
    on_sqlite(schema, path)
    command.upgrade(alembic_config(url), schema)
    source, target = create_engine(f"sqlite:///{path}"), engine_for(url)
    known = MetaData()
    known.reflect(target)
    with source.connect() as held, target.begin() as txn:
        for table in known.sorted_tables:
            if table.name != "alembic_version":
                rows = [dict(row) for row in held.execute(text(f"SELECT * FROM {table.name}")).mappings()]
                flags = [column.name for column in table.columns if isinstance(column.type, Boolean)]
                for row in rows:
                    row |= {name: None if row[name] is None else bool(row[name]) for name in flags}
                if rows:
                    txn.execute(table.insert(), rows)
        for name in ("run", "late_report", "event"):
            txn.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'seq'), max(seq)) FROM {name}"))
    source.dispose()
    target.dispose()
    return url


class Old:
    """A store at an old schema, and what tests ask of it."""

    def __init__(self, schema, url):
        self.schema, self.url, self.clock = schema, url, clock_of(schema)
        self.store = Store(url, self.clock)

    def all(self, query, **values):
        with self.store.reading() as txn:
            return [dict(row) for row in txn.all(query, **values)]

    @property
    def live(self):
        """The release under way."""
        (found,) = self.all("SELECT * FROM release WHERE ended_us IS NULL")
        return found

    def under_way(self, arm):
        """A run that the old version began and that has not ended."""
        return self.all(
            "SELECT run.* FROM run LEFT JOIN outcome ON run_id = id WHERE run_id IS NULL"
            " AND unit LIKE 'open-%' AND arm = :arm",
            arm=arm,
        )[0]


@pytest.fixture(scope="session", name="templates")
def templates_fixture(request, tmp_path_factory):
    """Old stores and upgraded ones to copy, by schema, kind of store and whether it was upgraded."""
    folder, made = tmp_path_factory.mktemp("upgrading"), {}

    def make(schema, kind, upgraded):
        if (schema, kind, upgraded) in made:
            return made[schema, kind, upgraded]
        path = folder / f"{schema}-{kind}-{upgraded}.db"
        url = (
            on_sqlite(schema, path)
            if kind == "sqlite"
            else on_postgres(schema, path, request.getfixturevalue("postgres").make())
        )
        if upgraded:
            upgrade(url)
        made[schema, kind, upgraded] = url
        return url

    return make


@pytest.fixture(name="opened")
def opened_fixture(templates, store_kind, tmp_path, request):
    """`opened(schema, upgraded)`: a store of one's own."""
    made = []

    def make(schema, upgraded):
        template = templates(schema, store_kind, upgraded)
        if store_kind == "sqlite":
            url = f"sqlite:///{shutil.copy(sqlite_path(template), tmp_path / 'lastgood.db')}"
        else:
            url = request.getfixturevalue("postgres").make(template)
        made.append(Old(schema, url))
        return made[-1]

    yield make
    for each in made:
        each.store.close()
        if store_kind == "postgres":
            request.getfixturevalue("postgres").drop(each.url)
