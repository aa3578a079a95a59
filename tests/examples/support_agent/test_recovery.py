"""After recovery the CRM is, row by row, as had the bad bundle never acted, but for what is listed."""

import contextlib
import time
from dataclasses import replace

import httpx
import pytest

from config.profile import Profile
from examples.support_agent import http, shop
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.faults import Faults
from examples.support_agent.crm.server import serving
from examples.support_agent.crm.service import Service
from lastgood import incidents, points, profile, registry, releasing
from lastgood.caps import Caps
from lastgood.incidents import Recovery
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Ending, Stage, Start
from tasks import recovery, recovery_report

HOUR = 3_600_000_000
OPEN = Terms(
    caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None),
    eligible_risks=("low", "medium", "high"),
    on_revert="finish",
)
#: a CRM that fails a fifth of all requests, hangs over some and takes some twice
BAD_DAY = Faults(fail=0.2, hang=0.02, twice=0.1, hang_s=0.4, seed=3)


@pytest.fixture
def asked(monkeypatch):
    """Every request that changed a CRM, in the order of their effects: noted under the CRM's own lock."""
    found, routed = [], Service._routed

    def noted(self, request):
        given = routed(self, request)
        if request.method != "GET":
            found.append(request)
        return given

    monkeypatch.setattr(Service, "_routed", noted)
    return found


def release(store, name):
    """Half of the traffic goes to one of the bundles."""
    candidate = registry.register(store, "support", shop.bundle(name), author="ana")[0].bundle.id
    body = Profile.load(shop.HERE / "agent.yaml").to_json()
    with store.transaction() as txn:
        profile.store_body(txn, "support", body, actor="ana")
    given = ("support", "production", candidate, "p", "d" * 64, "{}", "{}", OPEN, "ana")
    release_id = releasing.start(store, Start(*given))
    with store.reading() as txn:
        expect = Expect.of(points.read(txn, "support", "production"))
    stage, entry = Stage("canary", ReleaseState.CANARY, 0), Entry("share", "ana", "half", release_id)
    moved = {"share_bp": 5_000, "lease_us": 100 * HOUR, "entry": entry, "expect": expect}
    releasing.set_share(store, release_id, stage, **moved)
    return release_id, candidate


@pytest.mark.parametrize(
    ("name", "waits_s", "faults"),
    [
        ("garbage", 3_600.0, Faults()),
        ("malformed", 0.0, Faults()),
        ("overspend", 3_600.0, BAD_DAY),
        ("garbage", 0.0, BAD_DAY),
    ],
)
def test_the_crm_is_as_had_the_bad_bundle_never_acted(desk_of, monkeypatch, asked, name, waits_s, faults):
    monkeypatch.setattr(http, "TIMEOUT_S", 0.2)
    desk = desk_of()
    place, store = desk.shop, desk.shop.store
    with serving(Books(deliver_after_s=waits_s)) as crm:
        monkeypatch.setenv(http.URL, crm.url)
        release_id, candidate = release(store, name)
        crm.faults = replace(faults)
        for _ in range(60):
            place.clock.advance(shop.EVERY_US)
            _served(place)
        releasing.revert(store, release_id, Ending("ana", "it is bad", "trigger"))
        bad = {row["id"] for row in desk.rows("SELECT id FROM run WHERE bundle_id = :b", b=candidate)}
        assert bad
        place.clock.advance(HOUR)
        with store.reading() as txn:
            incident = incidents.listed(txn, "support", "production")[0].id
        done = recovery.recover(store, incident, sleep=lambda s: place.clock.advance(round(s * 1_000_000)))
        assert done.state.ended
        time.sleep(2 * faults.hang_s if faults.hang else 0)  # what hangs comes in, and finds itself barred
        after = crm.books.shown()
        report = recovery_report.build(store, incident)
        never = Books()
        for request in asked[:]:
            if request.path.startswith("/undo/") or str(request.key).partition(":")[0] in bad:
                continue
            Service(never).answer(request)
        wanted = never.shown()
        never.close()
    listed = {left.run_id for left in report.residue}
    assert {left.kind for left in report.residue} <= {"message"}
    corrected = {row["corrects"] for row in after["messages"] if row["corrects"]}
    assert len(corrected) == len(report.residue)
    assert listed <= bad
    left = [row for row in after["messages"] if not row["corrects"] and row["id"] not in corrected]
    assert {**after, "messages": left} == wanted
    assert done.state is (Recovery.RESIDUE if report.residue else Recovery.DONE)
    assert (waits_s > 0) != bool(report.residue)


def _served(place):
    """Serve a ticket; a CRM that fails ends the run, as in life."""
    with contextlib.suppress(httpx.HTTPError):
        place.traffic.one()
