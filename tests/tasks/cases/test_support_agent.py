"""The support agent end to end: failing runs become cases, and the bundle is refused from then on."""

from dataclasses import replace

import pytest

from examples.support_agent import http, shop
from examples.support_agent.crm.service import Service
from lastgood import incidents, registry
from lastgood.replaying import Means
from tasks import bisecting, case_making, regression
from tasks.regression import Options

REPLAY = "examples.support_agent.replay:replay"
#: where the agent's CRM is: recording may send to it, as to a sandbox
CRM = frozenset({"127.0.0.1:8070"})


@pytest.mark.parametrize(
    ("bad", "culprits", "layer"),
    [("malformed", (), "tools"), ("garbage", ("garbage_memory",), "memory")],
)
def test_an_incident_becomes_cases_that_refuse_the_bundle_and_let_the_repaired_one_pass(
    bad, culprits, layer, tmp_path
):
    made = shop.opened(tmp_path, seed=5, baseline=bad)
    made.serve(12)
    bundles = {
        name: registry.register(made.store, "support", shop.bundle(name), author="ana")[0].bundle.id
        for name in (bad, "good", "better")
    }
    opening = incidents.Opening(
        "support", "production", bundles[bad], bundles["good"], 0, "person", "it went wrong", "ana",
        culprits=culprits,
    )  # fmt: skip
    with made.store.transaction() as txn:
        incident = incidents.open_in(txn, opening)
    wanted = case_making.allowed(case_making.wanted_of_incident(made.store, incident), frozenset(), CRM, 1.0)
    with http.through(http.InProcess(Service(made.books))):
        cases = case_making.make(made.store, replace(wanted, replay=REPLAY))
    assert cases
    assert [each.draft.reason for each in cases] == [""] * len(cases)
    assert bisecting.bisect(made.store, incident, REPLAY, Means()).layer == layer
    passes = {
        name: regression.run(made.store, "support", "production", bundle, Options(replay=REPLAY)).passed
        for name, bundle in bundles.items()
    }
    assert passes == {bad: False, "good": True, "better": True}
    assert not incidents.close(made.store, incident, actor="ana").open
    made.close()
