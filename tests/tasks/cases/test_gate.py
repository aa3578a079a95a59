"""Preflight replays the regression cases: a candidate that fails one never serves a run."""

import pytest

from config.policy import Policy
from lastgood import incidents, releasing
from lastgood.errors import InvalidMove
from tasks import case_making, preflight

POLICY = """
name: small
guardrails: {completion: {margin: 20 points}}
on_undecided: ask
preflight: {min_eligible_runs: 0%s}
"""


@pytest.fixture
def start(shop):
    def begin(candidate, more=""):
        policy = Policy.load(POLICY % more)
        with shop.store.transaction() as txn:
            values = {"digest": policy.digest, "name": policy.name, "body": policy.to_json(), "author": "ann"}
            txn.insert("policy", {**values, "created_us": txn.now_us})
        wanted = preflight.Wanted("support", candidate, "small", actor="ann")
        return releasing.start(shop.store, preflight.check(shop.store, wanted))

    return begin


def releases(shop):
    with shop.store.reading() as txn:
        return len(txn.all("SELECT id FROM release"))


def test_the_same_bundle_is_refused_next_time_and_the_repaired_one_starts(shop, start):
    bad = shop.register(wrapper="broken")
    incident = shop.incident(bad)
    case_making.make(shop.store, shop.wanted(bad, shop.fail(bad), incident_id=incident))
    shop.close_crm()
    with pytest.raises(InvalidMove, match=rf"refused before any canary(.|\n)*stands for {incident}"):
        start(bad)
    assert releases(shop) == 0
    assert start(shop.register(prompt="kinder"), ", recent: 12 h").startswith("rel_")
    assert releases(shop) == 1


def test_a_policy_may_require_cases(shop, start):
    with pytest.raises(InvalidMove, match="requires regression cases"):
        start(shop.register(prompt="kinder"), ", cases: required")


def test_a_policy_may_name_a_folder(shop, start):
    folder = shop.folder / "cases"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "cases:\n- name: mine\n  inputs: {order: '7'}\n  evaluators: [Completes]\n"
        f"  metadata: {{lastgood: {{agent: support, replay: '{shop.module}:replay'}}}}\n"
    )
    with pytest.raises(InvalidMove, match=r"mine: no recorded answer to GET http://crm/orders/7"):
        start(shop.register(prompt="kinder"), f", cases: '{folder}'")


def test_an_open_incident_without_a_case_stops_the_next_release(shop, start):
    bad = shop.register(wrapper="broken")
    incident, fine = shop.incident(bad), shop.register(prompt="kinder")
    with pytest.raises(
        InvalidMove, match=rf"the open incident {incident} .* has no regression case\. `lastgood cases make"
    ):
        start(fine)
    assert releases(shop) == 0
    incidents.close(shop.store, incident, actor="ann", reason="a test of ours")
    assert start(fine, ", recent: 12 h")


def test_a_policy_may_allow_open_incidents(shop, start):
    shop.incident(shop.register(wrapper="broken"))
    assert start(shop.register(prompt="kinder"), ", open_incidents: allow")


def test_a_proven_case_stands_for_its_incident_and_a_candidate_does_not(shop, start):
    bad, polite = shop.register(wrapper="broken"), shop.register(prompt="polite")
    incident = shop.incident(bad)
    case_making.make(shop.store, shop.wanted(polite, shop.fail(polite), incident_id=incident))
    with shop.store.reading() as txn:
        assert incidents.read(txn, incident).cases == ()
    [made] = case_making.make(shop.store, shop.wanted(bad, shop.fail(bad), incident_id=incident))
    with shop.store.reading() as txn:
        assert incidents.read(txn, incident).cases == (made.id,)
        assert incidents.unproven(txn, "support", "production") == []
    assert not incidents.close(shop.store, incident, actor="ann").open
