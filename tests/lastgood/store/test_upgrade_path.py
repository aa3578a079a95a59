"""A store that an older version filled, upgraded to this one with all that is in it."""

import json

import pytest
from click.testing import CliRunner
from sqlalchemy import MetaData, select

from lastgood import agent as agents
from lastgood import control, incidents, ledger, points, recorder
from lastgood.assigning import Request, assign
from lastgood.cli import main
from lastgood.errors import Refused, SchemaMismatch
from lastgood.running import Run
from lastgood.snapshot import Serving
from lastgood.store import engine
from lastgood.store.connection import SCHEMA
from tests import upgrading
from tests.lastgood.store.test_engine import differences
from tests.lastgood.test_tallies import live, recount
from tests.upgrading import opened_fixture, templates_fixture  # noqa: F401  fixtures

AGENT, PRODUCTION = "support", "production"


@pytest.fixture(params=upgrading.SCHEMAS)
def old(request, opened):
    """A store as the old version left it."""
    return opened(request.param, upgraded=False)


@pytest.fixture(params=upgrading.SCHEMAS)
def upgraded(request, opened):
    """The same after `lastgood db upgrade`."""
    return opened(request.param, upgraded=True)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No store that another test has opened."""
    for name in ("_stores", "_serving", "_configured", "_fallbacks"):
        monkeypatch.setattr(agents, name, {})


@pytest.fixture
def call(monkeypatch):
    """The command line over a store."""
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")

    def run(where, *words, code=0):
        monkeypatch.setenv("LASTGOOD_DATABASE", where.url)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output
        return result.output

    return run


def read(url, columns=None):
    """Every table's rows, sorted, of these columns or of all; and the columns."""
    source = engine.engine_for(url)
    known = MetaData()
    known.reflect(source)
    found, names = {}, {}
    with source.connect() as connection:
        for table in known.sorted_tables:
            if columns is None or table.name in columns:
                names[table.name] = (
                    columns[table.name] if columns else [column.name for column in table.columns]
                )
                rows = connection.execute(select(*(table.columns[name] for name in names[table.name])))
                found[table.name] = sorted(map(tuple, rows), key=repr)
    source.dispose()
    return found, names


def test_no_row_is_lost_or_changed(old):
    before, columns = read(old.url)
    assert [name for name, rows in before.items() if not rows] == []
    engine.upgrade(old.url)
    after, _ = read(old.url, columns)
    del before["alembic_version"], after["alembic_version"]
    assert after == before


def test_it_has_the_schema_of_a_new_store(upgraded):
    assert differences(upgraded.store) == []
    upgraded.store.check_schema()


def test_until_then_it_is_refused_with_the_way_out(old, call):
    with pytest.raises(SchemaMismatch, match=f"has schema {old.schema}, this process needs {SCHEMA}"):
        old.store.check_schema()
    assert "run `lastgood db upgrade`" in call(old, "status", AGENT, code=1)
    assert "this version's schema" in call(old, "db", "upgrade")
    assert "serves" in call(old, "status", AGENT)


def test_an_agent_of_this_version_is_refused_on_an_old_store(old):
    agents.configure(database=old.url)
    with pytest.raises(SchemaMismatch, match="run `lastgood db upgrade`"), agents.run(AGENT, "u-1"):
        pass


def test_an_agent_of_this_version_that_has_a_fallback_serves_it_on_an_old_store(old, build, caplog):
    agents.configure(database=old.url, fallback={AGENT: build("known")})
    with agents.run(AGENT, "u-2") as run:
        assert (run.recorded, run.bundle.id) == (False, build("known").id)
    assert "run `lastgood db upgrade`" in caplog.text
    assert read(old.url)[0]["alembic_version"] == [(old.schema,)]


def test_its_ledger_verifies_and_goes_on(upgraded, call):
    assert "support in production: sound, row" in call(upgraded, "audit", "verify")
    begun = upgraded.all("SELECT max(seq) AS seq FROM ledger WHERE environment = 'production'")[0]["seq"]
    call(upgraded, "kill", AGENT, "--reason", "a test")
    call(upgraded, "audit", "verify", AGENT)
    assert (
        upgraded.all("SELECT max(seq) AS seq FROM ledger WHERE environment = 'production'")[0]["seq"]
        == begun + 1
    )


def test_who_serves_is_who_served(upgraded, call):
    before = upgraded.live
    said = json.loads(call(upgraded, "status", AGENT, "--json"))
    assert before["id"] in json.dumps(said)
    assert before["baseline"][:4] in call(upgraded, "status", AGENT)


def test_a_rollback_ends_the_release_that_was_under_way(upgraded):
    release = upgraded.live
    row = upgraded.under_way("candidate")
    control.rollback(upgraded.store, AGENT, PRODUCTION, actor="ann", reason="back")
    with upgraded.store.reading() as txn:
        point = points.read(txn, AGENT, PRODUCTION)
        opened = incidents.listed(txn, AGENT, PRODUCTION)
    assert (point.baseline, point.candidate) == (release["baseline"], None)
    assert [found.bad for found in opened] == [release["candidate"]]
    ledger.verify(upgraded.store, AGENT, PRODUCTION)
    with (
        pytest.raises(Refused, match="reverted"),
        resumed(upgraded, row["id"]) as run,
        run.action("message", "c"),
    ):
        pass


def resumed(old, run_id):
    """A run of another process, gone on with in this one."""
    agents._stores[old.url] = old.store
    agents._configured["database"] = old.url
    return agents.resume(run_id)


def test_a_rollback_after_it_goes_to_the_last_known_good_of_before(upgraded):
    first = upgraded.all("SELECT bundle_id FROM served WHERE environment = 'production' ORDER BY epoch")[0]
    for _ in range(2):
        control.rollback(upgraded.store, AGENT, PRODUCTION, actor="ann", reason="back")
    with upgraded.store.reading() as txn:
        assert points.read(txn, AGENT, PRODUCTION).baseline == first["bundle_id"]


def test_the_sums_equal_a_recount_of_what_was_there_and_of_what_comes(upgraded):
    counted = recount(upgraded)
    assert live(upgraded) == counted
    assert {cell[0] for cell in counted} == {row["id"] for row in upgraded.all("SELECT id FROM release")}
    recorder.record_late(
        upgraded.store, upgraded.all("SELECT run_id FROM late_report")[-1]["run_id"], {"incidents": 2}
    )
    served = Serving(upgraded.store, AGENT, PRODUCTION)
    for number in range(20):
        with Run(upgraded.store, assign(served, Request(f"new-{number}", "faq", None, None))) as run:
            run.report(completed=number % 2 == 0, cost_usd=0.1)
    assert live(upgraded) == recount(upgraded) != counted


def test_a_run_that_was_under_way_reports_and_gives_its_reservation_back(upgraded):
    row = upgraded.under_way("candidate")
    held = "SELECT * FROM reservation WHERE run_id = :id"
    assert upgraded.all(held, id=row["id"])
    with resumed(upgraded, row["id"]) as run:
        run.report(completed=True, cost_usd=0.1)
    assert upgraded.all(held, id=row["id"]) == []
    assert upgraded.all("SELECT completed FROM outcome WHERE run_id = :id", id=row["id"])[0]["completed"]


def test_a_suspended_run_is_gone_on_with_where_it_stood(upgraded):
    (row,) = upgraded.all("SELECT * FROM run WHERE unit = 'suspended'")
    with resumed(upgraded, row["id"]) as run:
        assert run.input == {"order": 7}
        assert run.bundle.id == row["bundle_id"]
    found = upgraded.all("SELECT * FROM outcome WHERE run_id = :id", id=row["id"])[0]
    assert (bool(found["validated"]), json.loads(found["usage"])[0]["tokens_in"]) == (True, 100)


def test_what_was_immutable_stays_so(upgraded):
    for table, column in (("ledger", "reason"), ("bundle", "author"), ("part", "kind"), ("policy", "author")):
        for change in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}"):
            with pytest.raises(Exception, match="rows are immutable"), upgraded.store.transaction() as txn:
                txn.run(change)
