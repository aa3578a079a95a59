"""A failing run of the malformed wrapper becomes a case, though the store kept what that wrapper misread."""

import json
from dataclasses import replace

import pytest

from config.profile import Profile
from examples.support_agent import http, shop
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.server import serving
from examples.support_agent.tickets import cases
from lastgood import profile, registry
from lastgood.case_store import State
from lastgood.fixtures import ToolFixture
from tasks import case_making, regression


@pytest.fixture
def made(desk_of, monkeypatch):
    """A desk on the malformed bundle, and the case that was made of its run."""
    desk = desk_of("malformed")
    store = desk.shop.store
    told = Profile.load(shop.HERE / "agent.yaml")
    with store.transaction() as txn:
        profile.store_body(txn, told.agent, told.to_json(), actor="ana")
    good, _ = registry.register(store, "support", shop.bundle("good"), author="ana")
    ticket = next(f.ticket.id for f in cases(7, 500) if f.truth.refund_cents is not None)
    found, run = desk.serve(ticket)
    with serving(Books()) as sandbox:
        monkeypatch.setenv(http.URL, sandbox.url)
        desk.shop.traffic.load(found)
        wanted = case_making.wanted_of_runs(store, "support", "production", [run.id], good=good.bundle.id)
        (stored,) = case_making.make(
            store, replace(wanted, sandbox=frozenset({sandbox.url.removeprefix("http://")}))
        )
    return desk, run, stored


def test_the_case_is_proven_on_both_bundles(made):
    _, _, stored = made
    assert stored.draft.state is State.ADMITTED, stored.draft.reason
    assert stored.draft.proof["bad_failed"] == stored.draft.proof["pairs"] > 0


def test_an_answer_that_the_bad_wrapper_misread_is_no_fixture(made):
    desk, run, stored = made
    rows = desk.rows("SELECT tool, result FROM action WHERE run_id = :id", id=run.id)
    kept = {row["tool"]: json.loads(row["result"]) for row in rows}
    assert kept["refund"] == {"refund": None, "amount_cents": None}
    tools = {each.tool for each in stored.draft.case.fixtures.entries if isinstance(each, ToolFixture)}
    assert "refund" not in tools


def test_the_suite_takes_no_conftest_that_is_about(made, tmp_path, monkeypatch):
    """A team's conftest may clear the environment, as this checkout's own does for its tests."""
    desk, _, _ = made
    (tmp_path / "tests").mkdir(exist_ok=True)
    (tmp_path / "tests" / "conftest.py").write_text("import os\nos.environ.pop('LASTGOOD_DATABASE', None)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(shop.HERE.parents[1]))
    good, bad = (
        regression.run(desk.shop.store, "support", "production", shop.bundle(name).id, regression.Options())
        for name in ("good", "malformed")
    )
    assert [result.passed for result in good.results] == [True], good.results
    assert [result.passed for result in bad.results] == [False]
