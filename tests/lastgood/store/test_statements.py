import importlib
import pkgutil
import re

import psycopg
import pytest

from lastgood import store as package
from lastgood.errors import StoreUnavailable
from lastgood.store import statements, tables
from lastgood.store.connection import Store


def _is_statement(value):
    return isinstance(value, str) and value.split()[:1] in (
        ["SELECT"],
        ["INSERT"],
        ["UPDATE"],
        ["DELETE"],
        ["WITH"],
    )


#: every named statement of the store's modules
SQL = {
    name: value
    for module in pkgutil.iter_modules(package.__path__)
    for name, value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).items()
    if name.isupper() and not name.startswith(("_", "OLD_")) and _is_statement(value)
}
#: parameters that are no column's name, and are no number
TEXTS = {"low", "high", "among"}
SAMPLES = {"VARCHAR": "x", "TEXT": "{}", "BOOLEAN": True, "BLOB": b"", "FLOAT": 0.5}


def sample(name, statement):
    """A value of the type that the column of this name has, in a table that the statement names."""
    if name in TEXTS:
        return "x"
    every = tables.SQLModel.metadata.tables.items()
    columns = [(known in words(statement), table.columns.get(name)) for known, table in every]
    found = sorted((not named, str(column.type)) for named, column in columns if column is not None)
    return SAMPLES.get(found[0][1], 1) if found else 1


def words(statement):
    return set(re.findall(r"\w+", statement))


def explain(store, statement):
    values = {name: sample(name, statement) for name in re.findall(r":([a-z_]+)", statement)}
    with store.reading() as txn:
        txn.all(f"EXPLAIN {statement}", **values)


@pytest.fixture(scope="module")
def checked(request, migrated):
    """Stores of this module: a statement that is only explained changes nothing."""
    made = {}

    def of(kind):
        if kind not in made:
            url = f"sqlite:///{migrated}"
            if kind == "postgres":
                url = request.getfixturevalue("postgres").make(request.getfixturevalue("migrated_postgres"))
            made[kind] = Store(url)
        return made[kind]

    yield of
    for store in made.values():
        store.close()


def test_the_statements_are_found():
    assert len(SQL) > 50
    assert {"POINT", "MOVE_POINT", "RESERVE", "NEXT_BLOCK", "LEDGER_TAIL"} <= set(SQL)


@pytest.mark.parametrize("name", sorted(SQL))
def test_a_statement_fits_the_migrated_schema(name, store_kind, checked):
    explain(checked(store_kind), SQL[name])


def test_a_statement_that_does_not_fit_is_seen(store_kind, checked):
    with pytest.raises(
        (StoreUnavailable, psycopg.errors.UndefinedColumn), match=r"no such column|does not exist"
    ):
        explain(checked(store_kind), "SELECT who FROM control_point")


def test_an_insert_names_its_columns():
    assert statements.insert("stage", ("release_id", "key")) == (
        "INSERT INTO stage (release_id, key) VALUES (:release_id, :key)"
    )


def test_an_insert_of_several_rows_says_once_what_they_share():
    assert statements.insert_tuples("stage", ("release_id", "key"), 2, (("detail", "NULL"),)) == (
        "INSERT INTO stage (release_id, key, detail) VALUES (?, ?, NULL), (?, ?, NULL) ON CONFLICT DO NOTHING"
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
    statements.insert_tuples.cache_clear()
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
