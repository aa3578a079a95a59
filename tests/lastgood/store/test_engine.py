import shutil
import sqlite3

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, select

from lastgood.errors import SchemaMismatch, StoreUnavailable
from lastgood.store import connection as connecting
from lastgood.store import engine, tables
from lastgood.store.connection import SCHEMA, Store

IMMUTABLE = {
    "part": "kind",
    "bundle": "author",
    "bundle_part": "version",
    "policy": "author",
    "ledger": "reason",
}


def content(path):
    """Everything that a store's file holds, by table."""
    held = sqlite3.connect(path)
    names = [
        name for (name,) in held.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    found = {name: held.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    held.close()
    return found


def test_the_migrated_schema_is_the_sqlmodel_schema(path):
    source = engine.engine_for(f"sqlite:///{path}")
    with source.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    source.dispose()


def test_a_difference_of_the_schemas_is_seen(path):
    held = sqlite3.connect(path)
    held.execute("ALTER TABLE run ADD COLUMN mood TEXT")
    held.close()
    source = engine.engine_for(f"sqlite:///{path}")
    with source.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)
    source.dispose()
    assert [difference[0] for difference in found] == ["remove_column"]


def test_the_code_is_written_for_the_newest_migration(path):
    assert content(path)["alembic_version"] == [(SCHEMA,)]


def test_upgrading_again_changes_nothing(desk):
    before = content(desk.store.path)
    engine.upgrade(desk.store.url)
    assert content(desk.store.path) == before


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


def test_a_migration_that_breaks_off_leaves_nothing_behind(tmp_path, monkeypatch):
    from alembic import op

    def fail(*_args, **_named):
        raise sqlalchemy.exc.OperationalError("CREATE TRIGGER", {}, Exception("disk I/O error"))

    monkeypatch.setattr(op, "execute", fail)
    path = tmp_path / "lastgood.db"
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        engine.upgrade(f"sqlite:///{path}")
    assert content(path) == {}


def test_a_newer_store_is_not_upgraded(path):
    held = sqlite3.connect(path)
    held.execute("UPDATE alembic_version SET version_num = '9999'")
    held.commit()
    held.close()
    before = content(path)
    with pytest.raises(SchemaMismatch, match=r"has schema 9999.*upgrade the lastgood package"):
        engine.upgrade(f"sqlite:///{path}")
    assert content(path) == before


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
    monkeypatch.setattr(connecting, "_file_system", lambda path: "nfs4")
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
    held = sqlite3.connect(desk.store.path)
    held.execute(
        "INSERT INTO policy (digest, name, body, author, created_us) VALUES ('d', 'n', '{}', 'ann', 1)"
    )
    held.commit()
    before = content(desk.store.path)
    change = f"UPDATE {table} SET {IMMUTABLE[table]} = 'x'" if verb == "UPDATE" else f"DELETE FROM {table}"
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} rows are immutable"):
        held.execute(change)
    held.close()
    assert content(desk.store.path) == before


def test_at_most_one_live_release_by_the_index_itself(desk):
    desk.start()
    held = sqlite3.connect(desk.store.path)
    columns = ", ".join(name for name in tables.ReleaseRow.model_fields if name != "id")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        held.execute(f"INSERT INTO release (id, {columns}) SELECT 'rel_2', {columns} FROM release")
    held.close()


def test_the_schema_is_copied_whole(migrated, tmp_path):
    """The fixtures copy the file alone: nothing may be left in its log."""
    copied = shutil.copy(migrated, tmp_path / "copy.db")
    assert content(copied) == content(migrated)
    assert content(copied)["alembic_version"] == [(SCHEMA,)]
