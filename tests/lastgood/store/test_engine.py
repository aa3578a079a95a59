import multiprocessing
import shutil
import sqlite3

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, select

from lastgood.errors import SchemaMismatch, StoreUnavailable
from lastgood.store import engine, sqlite, tables
from lastgood.store.connection import SCHEMA, Store

#: what a broken constraint raises
BROKEN = (sqlite3.IntegrityError, psycopg.IntegrityError)
IMMUTABLE = {
    "part": "kind",
    "bundle": "author",
    "bundle_part": "version",
    "policy": "author",
    "ledger": "reason",
}


TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
    "postgres": "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
}


@pytest.fixture
def content(hand):
    """Everything that a store holds, by table."""

    def read(store):
        names = hand(store, TABLES["sqlite" if store.path else "postgres"])
        return {name: sorted(hand(store, f"SELECT * FROM {name}"), key=repr) for (name,) in names}

    return read


def at(path):
    return Store(f"sqlite:///{path}")


def differences(store):
    source = engine.engine_for(store.url)
    with source.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, SQLModel.metadata)
    source.dispose()
    return found


def test_the_migrated_schema_is_the_sqlmodel_schema(store):
    assert differences(store) == []


def test_a_difference_of_the_schemas_is_seen(store, hand):
    hand(store, "ALTER TABLE run ADD COLUMN mood TEXT")
    assert [difference[0] for difference in differences(store)] == ["remove_column"]


def test_the_code_is_written_for_the_newest_migration(store, content):
    assert content(store)["alembic_version"] == [(SCHEMA,)]


def test_upgrading_again_changes_nothing(desk, content):
    before = content(desk.store)
    engine.upgrade(desk.store.url)
    assert content(desk.store) == before


@pytest.mark.only("postgres")
def test_text_sorts_by_code_point_whatever_the_language_of_the_database(store, hand):
    language = hand(
        store, "SELECT datlocprovider, daticulocale FROM pg_database WHERE datname = current_database()"
    )
    unlike = hand(
        store,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C'"
        " AND table_name <> 'alembic_version'",
    )
    assert unlike == [], language


def test_upgrade_makes_the_folder_and_logs_ahead(tmp_path):
    path = tmp_path / "a" / "b" / "lastgood.db"
    engine.upgrade(f"sqlite:///{path}")
    held = sqlite3.connect(path)
    assert held.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    held.close()


def test_a_path_with_signs_that_a_url_gives_a_meaning_is_one_file(tmp_path):
    url = f"sqlite:///{tmp_path / 'a?b%20#c.db'}"
    engine.upgrade(url)
    Store(url).check_schema()


def test_a_migration_that_breaks_off_leaves_nothing_behind(tmp_path, monkeypatch, content):
    from alembic import op

    def fail(*_args, **_named):
        raise sqlalchemy.exc.OperationalError("CREATE TRIGGER", {}, Exception("disk I/O error"))

    monkeypatch.setattr(op, "execute", fail)
    path = tmp_path / "lastgood.db"
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        engine.upgrade(f"sqlite:///{path}")
    assert content(at(path)) == {}


#: after the newest one; it can't be carried out
BROKEN_MIGRATION = """
revision, down_revision = "broken", "{newest}"


def upgrade():
    raise OSError("no space left")
"""


def test_a_migration_that_breaks_off_takes_those_before_it_with_it(tmp_path, monkeypatch, content):
    folder = tmp_path / "migrations"
    shutil.copytree(engine.MIGRATIONS, folder)
    (folder / "versions" / "broken.py").write_text(BROKEN_MIGRATION.format(newest=SCHEMA))
    monkeypatch.setattr(engine, "MIGRATIONS", folder)
    path = tmp_path / "lastgood.db"
    with pytest.raises(StoreUnavailable, match="no space left"):
        engine.upgrade(f"sqlite:///{path}")
    assert content(at(path)) == {}


@pytest.fixture
def empty(store_kind, request, tmp_path):
    """The URL of a store that nobody has made yet."""
    if store_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'new.db'}"
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.make()
    yield url
    postgres.drop(url)


def upgraded(barrier, url):
    """Upgrade a store at the same moment as others."""
    barrier.wait()
    engine.upgrade(url)


def test_many_processes_that_upgrade_a_new_store_at_once_all_find_it_ready(empty):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=upgraded, args=(barrier, empty)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    Store(empty).check_schema()


def test_a_newer_store_is_not_upgraded(store, hand, content):
    hand(store, "UPDATE alembic_version SET version_num = '9999'")
    before = content(store)
    with pytest.raises(SchemaMismatch, match=r"has schema 9999.*upgrade the lastgood package"):
        engine.upgrade(store.url)
    assert content(store) == before


def test_a_file_that_is_no_database_is_not_upgraded(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and no database at all " * 30)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"notes\.txt can't be created or written"):
        engine.upgrade(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_store_where_nothing_can_be_written_is_not_created():
    with pytest.raises(StoreUnavailable, match=r"/proc/nowhere/x.db can't be created or written"):
        engine.upgrade("sqlite:////proc/nowhere/x.db")


def test_no_store_is_created_on_a_network_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "_file_system", lambda path: "nfs4")
    with pytest.raises(StoreUnavailable, match="network file system"):
        engine.upgrade(f"sqlite:///{tmp_path / 'x.db'}")
    assert list(tmp_path.iterdir()) == []


def test_sqlmodel_reads_what_the_agent_side_wrote(desk):
    with engine.reading(desk.store) as session:
        row = session.exec(select(tables.ControlPointRow)).one()
    assert (row.agent, row.baseline, row.epoch) == ("support", desk.baseline, 1)


@pytest.mark.parametrize("table", sorted(IMMUTABLE))
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_immutable_rows_refuse_an_edit(table, verb, desk):
    one = "INSERT INTO policy (digest, name, body, author, created_us) VALUES ('d', 'n', '{}', 'ann', 1)"
    with desk.store.transaction() as txn:
        txn.run(one)
    change = f"UPDATE {table} SET {IMMUTABLE[table]} = 'x'" if verb == "UPDATE" else f"DELETE FROM {table}"
    before = desk.all(f"SELECT * FROM {table}")
    with pytest.raises(BROKEN, match=f"{table} rows are immutable"), desk.store.transaction() as txn:
        txn.run(change)
    assert desk.all(f"SELECT * FROM {table}") == before


@pytest.mark.only("postgres")
@pytest.mark.parametrize("table", sorted(IMMUTABLE))
def test_immutable_rows_refuse_to_be_truncated(table, desk):
    with pytest.raises(BROKEN, match="rows are immutable"), desk.store.transaction() as txn:
        txn.run(f"TRUNCATE {table} CASCADE")


def test_at_most_one_live_release_by_the_index_itself(desk):
    desk.start()
    columns = ", ".join(name for name in tables.ReleaseRow.model_fields if name != "id")
    with pytest.raises(BROKEN, match=r"UNIQUE|one_live_release"), desk.store.transaction() as txn:
        txn.run(f"INSERT INTO release (id, {columns}) SELECT 'rel_2', {columns} FROM release")


def test_the_schema_is_copied_whole(migrated, tmp_path, content):
    """The fixtures copy the file alone: nothing may be left in its log."""
    copied = shutil.copy(migrated, tmp_path / "copy.db")
    assert content(at(copied)) == content(at(migrated))
    assert content(at(copied))["alembic_version"] == [(SCHEMA,)]
