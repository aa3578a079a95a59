"""After a recovery the CRM is, row by row, what it had been had the bad release never acted."""

import json

import pytest

from config.policy import Policy
from config.profile import Profile
from examples.support_agent import http, shop, tickets
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.server import serving
from lastgood import incidents, profile
from tasks import recovery, recovery_report

ACTED = "SELECT action.run_id FROM action JOIN run ON run.id = action.run_id WHERE run.arm = 'candidate'"


@pytest.fixture
def harmed(desk, monkeypatch):
    """A shop with few customers, whose notes many runs write over, after a release that answered wrong."""
    monkeypatch.setattr(tickets, "CUSTOMERS", 6)
    made = desk.shop
    told = Profile.load(shop.HERE / "agent.yaml")
    with made.store.transaction() as txn:
        profile.store_body(txn, told.agent, told.to_json(), actor="ana")
    policy = Policy.load((shop.HERE / "policy.yaml").read_text("utf-8") + "\non_undecided: ask\n")
    made.serve(150)
    made.clock.advance(15 * shop.MINUTE)
    release_id = made.release("confidently_wrong", policy)
    assert made.drive(release_id, policy, most_tickets=1_500)
    made.serve(60)
    return desk


def had_it_never_acted(desk, bad):
    """The CRM that the other runs' changes make, applied in their order to an empty one."""
    books = Books()
    source = desk.shop.books
    for table in ("orders", "tickets"):
        rows = source.shown()[table]
        with books.changing():
            books.load(table, rows)
    for change in source.all("SELECT * FROM changes ORDER BY seq"):
        if change["key"].partition(":")[0] in bad or change["key"].startswith("undo-"):
            continue
        value = json.loads(change["after"])
        with books.changing():
            if change["field"]:
                books.write(change["key"], change["place"], change["row"], change["field"], value)
            else:
                books.make(change["key"], change["place"], change["row"], value)
    return books


def test_the_crm_is_as_if_the_bad_release_had_never_acted(harmed, monkeypatch):
    made = harmed.shop
    bad = {row["run_id"] for row in harmed.rows(ACTED)}
    assert len(bad) > 10
    with made.store.reading() as txn:
        (incident,) = incidents.listed(txn, "support", "production")
    expected = had_it_never_acted(harmed, bad)
    before = made.books.shown()
    assert before != expected.shown()
    with serving(made.books) as crm:
        monkeypatch.setenv(http.URL, crm.url)
        recovery.recover(
            made.store, incident.id, sleep=lambda seconds: made.clock.advance(round(seconds * 1e6))
        )
        after, wanted = made.books.shown(), expected.shown()
    expected.close()
    assert {**after, "messages": []} == {**wanted, "messages": []}
    left = recovery_report.build(made.store, incident.id).residue
    assert {each.kind for each in left} == {"message"}
    known = {row["id"] for row in wanted["messages"]}
    corrections = {row["corrects"] for row in after["messages"] if row["corrects"]}
    assert {row["id"] for row in after["messages"] if not row["corrects"]} - known == corrections
    assert len(corrections) == len(left)
