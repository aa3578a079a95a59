"""Bisecting: the failing cases on hybrids of the two bundles."""

from dataclasses import replace

import pytest

from evaluators.bisection import Shown
from lastgood import case_store, registry
from lastgood.checks import Completes
from lastgood.errors import InvalidMove, NotFound
from lastgood.replaying import Means
from tasks import bisecting, case_making


@pytest.fixture
def cased(shop):
    """Make the cases of an incident of one bad bundle."""

    def make(**bad):
        shop.bad = shop.register(**bad)
        shop.made = case_making.make(
            shop.store, shop.wanted(shop.bad, shop.fail(shop.bad), incident_id="inc_1")
        )
        return shop

    return make


def bisect(shop, reference="inc_1"):
    return bisecting.bisect(shop.store, reference, "", Means())


def bundles(shop):
    with shop.store.reading() as txn:
        return len(txn.all("SELECT id FROM bundle"))


def test_the_part_at_fault_is_named_among_others_that_changed(cased):
    shop = cased(wrapper="broken", prompt="kinder")
    before = bundles(shop)
    found = bisect(shop)
    assert (found.layer, found.changed) == ("tools", ("prompt", "tools"))
    assert found.findings[0].forward == {"tools": Shown.FAILS, "prompt": Shown.PASSES}
    assert found.findings[0].reverse == {"tools": Shown.PASSES, "prompt": Shown.FAILS}
    assert bundles(shop) == before  # hybrids are never registered


def test_parts_that_only_fail_together_are_an_interaction(cased):
    shop = cased(prompt="rude", strict=False)
    found = bisect(shop)
    assert found.layer == "interaction"
    assert found.findings[0].blame.needed == ("policy", "prompt")


def test_a_part_that_no_replay_read_is_reported(cased, monkeypatch):
    shop = cased(wrapper="broken", strict=False)
    source = (shop.folder / f"{shop.module}.py").read_text()
    (shop.folder / "deaf.py").write_text(source.replace('run.bundle.policy.data["strict"]', "True"))
    found = bisecting.bisect(shop.store, "inc_1", "deaf:replay", Means())
    assert found.unread == ("policy",)


def test_one_case_can_be_bisected_by_its_name(cased):
    shop = cased(wrapper="broken")
    assert bisect(shop, shop.made[0].case.name).layer == "tools"


def test_an_incident_without_a_case_says_what_makes_one(shop):
    with pytest.raises(NotFound, match="lastgood cases make inc_2"):
        bisect(shop, "inc_2")


def test_a_case_that_does_not_fail_on_the_bad_bundle_tells_nothing(cased):
    shop = cased(prompt="polite")
    [made] = shop.made
    case_store.put(shop.store, replace(made.draft, case=replace(made.case, checks=(Completes(),))))
    with pytest.raises(InvalidMove, match="no case of inc_1 fails"):
        bisect(shop)


def test_a_hybrid_has_one_part_of_the_other(shop):
    bad = shop.register(wrapper="broken", prompt="rude")
    one, two = registry.load(shop.store, shop.good).bundle, registry.load(shop.store, bad).bundle
    mixed = bisecting.hybrid(one, two, "tools")
    assert (mixed.tools, mixed.prompt) == (two.tools, one.prompt)
