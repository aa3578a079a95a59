import re
import sqlite3

import pytest

from lastgood.store import statements, tables

SQL = {name: value for name, value in vars(statements).items() if name.isupper() and isinstance(value, str)}


@pytest.fixture
def connection(path):
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def test_the_statements_are_found():
    assert len(SQL) > 50
    assert {"POINT", "MOVE_POINT", "RESERVE", "NEXT_BLOCK", "LEDGER_TAIL"} <= set(SQL)


@pytest.mark.parametrize("name", sorted(SQL))
def test_a_statement_fits_the_migrated_schema(name, connection):
    values = dict.fromkeys(re.findall(r":([a-z_]+)", SQL[name]), 0)
    connection.execute(f"EXPLAIN {SQL[name]}", values).fetchall()


def test_a_statement_that_does_not_fit_is_seen(connection):
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        connection.execute("EXPLAIN SELECT who FROM control_point")


def test_an_insert_names_its_columns():
    assert statements.insert("stage", ("release_id", "key")) == (
        "INSERT INTO stage (release_id, key) VALUES (:release_id, :key)"
    )


def test_inserts_use_only_columns_of_the_tables(desk, monkeypatch):
    """Everything that a release does is done once; every table that it writes is checked."""
    seen: dict[str, set[str]] = {}
    real = statements.insert

    def insert(table, columns):
        seen.setdefault(table, set()).update(columns)
        return real(table, columns)

    monkeypatch.setattr(statements, "insert", insert)
    statements.insert_new.cache_clear()
    from lastgood import acting, recorder
    from lastgood.assigning import Request, assign
    from lastgood.caps import Caps
    from lastgood.outcome import Outcome
    from lastgood.release import Terms
    from lastgood.snapshot import Serving

    desk.register("a third bundle")
    desk.live(terms=Terms(caps=Caps()))
    run = assign(Serving(desk.store, "support", "production"), Request("u", "faq", None, "c"))
    recorder.record_event(desk.store, run.run_id, "note", {})
    with acting.action(desk.store, run.run_id, "message", "x", None):
        pass
    recorder.record(desk.store, run.run_id, "candidate", Outcome(), None, None)
    recorder.record_late(desk.store, run.run_id, {"edits": 1})
    desk.rollback()

    by_name = tables.SQLModel.metadata.tables
    assert {"bundle", "part", "bundle_part", "release", "run", "outcome", "late_report", "event"} <= set(seen)
    assert {"action", "reservation", "ledger", "stage"} <= set(seen)
    for table, columns in seen.items():
        assert columns <= set(by_name[table].columns.keys()), table
