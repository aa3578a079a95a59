"""Preflight replays the regression cases: a candidate that fails one never serves a run."""

import pytest

from config.policy import Policy
from lastgood import releasing
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
    case_making.make(shop.store, shop.wanted(bad, shop.fail(bad), incident_id="inc_1"))
    shop.close_crm()
    with pytest.raises(InvalidMove, match=r"refused before any canary(.|\n)*stands for inc_1"):
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
