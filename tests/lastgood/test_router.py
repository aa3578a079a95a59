import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import assignment
from lastgood.clock import ManualClock
from lastgood.errors import CorruptRow, InvalidInput, NotFound, Refused, StoreUnavailable
from lastgood.moves import ControlPoint
from lastgood.release import RISKS, Terms
from lastgood.router import Reason, Router, Snapshot
from lastgood.snapshot import Serving, announced_runtimes
from lastgood.store.connection import Store

HOUR = 3_600_000_000
UNITS = [f"unit-{i}" for i in range(300)]


@pytest.fixture(scope="module")
def bundles():
    from lastgood.bundle import Bundle, Part

    def make(prompt, runtime=None):
        return Bundle(
            [
                Part.of_value(kind, "1", prompt, runtime)
                for kind in ("prompt", "model", "tools", "memory", "policy")
            ]
        )

    return make("first"), make("second"), make("third", "image:2")


def router(bundles, clock, runtimes=frozenset(), *, candidate=1, deadline_us=10**15, **changes):
    fields = {
        "agent": "support",
        "environment": "production",
        "baseline": bundles[0].id,
        "standing": "vouched",
        "candidate": bundles[candidate].id,
        "release_id": "rel_1",
        "share_bp": 5_000,
        "epoch": 3,
    }
    point = ControlPoint(**{**fields, **changes})
    served = bundles[candidate] if point.candidate and point.share_bp else None
    return Router(Snapshot(point, bundles[0], served, deadline_us), clock, runtimes)


def reason(found):
    return found.route("unit").reason


def test_an_eligible_run_is_drawn_by_the_hash(bundles, clock):
    found = router(bundles, clock)
    decisions = [found.route(unit) for unit in UNITS]
    assert {d.arm for d in decisions} == {"baseline", "candidate"}
    assert all(d.eligible and d.reason is Reason.SPLIT and d.share_bp == 5_000 for d in decisions)
    assert all(d.bundle is bundles[d.arm == "candidate"] for d in decisions)
    assert decisions[0].release_id == "rel_1"
    assert decisions[0].epoch == 3


def test_a_unit_meets_the_candidate_from_the_first_share_above_its_bucket(bundles, clock):
    bucket = assignment.bucket("rel_1", "unit")
    assert router(bundles, clock, share_bp=bucket).route("unit").arm == "baseline"
    assert router(bundles, clock, share_bp=bucket + 1).route("unit").arm == "candidate"


def test_the_same_unit_is_drawn_the_same_way_again(bundles, clock):
    one, two = router(bundles, clock), router(bundles, ManualClock(), epoch=9)
    assert [one.route(u).arm for u in UNITS] == [two.route(u).arm for u in UNITS]


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_ramp_moves_no_unit_back(bundles, one, two):
    low, high = (router(bundles, ManualClock(), share_bp=share) for share in sorted([one, two]))
    for unit in UNITS[:40]:
        assert low.route(unit).arm == "baseline" or high.route(unit).arm == "candidate"


def test_the_reasons_come_in_their_order(bundles, clock):
    """Each check is lifted in turn, and the next one answers."""
    state = {
        "share_bp": 0,
        "killed": True,
        "candidate": 2,
        "deadline_us": 0,
        "terms": Terms(risk_default="high"),
    }
    assert reason(router(bundles, clock, **state)) is Reason.NO_RELEASE
    del state["share_bp"]
    assert reason(router(bundles, clock, **state)) is Reason.KILLED
    del state["killed"]
    assert reason(router(bundles, clock, **state)) is Reason.RUNTIME
    runtimes = frozenset({"image:2"})
    assert reason(router(bundles, clock, runtimes, **state)) is Reason.LAPSED
    del state["deadline_us"]
    assert reason(router(bundles, clock, runtimes, **state)) is Reason.RISK
    del state["terms"]
    assert reason(router(bundles, clock, runtimes, **state)) is Reason.SPLIT


@given(st.sampled_from(RISKS), st.booleans(), st.integers(0, 10_000), st.integers(0, 2), st.text(max_size=8))
def test_only_eligible_units_reach_the_candidate(bundles, risk, killed, share_bp, left, unit):
    clock = ManualClock()
    found = router(bundles, clock, killed=killed, share_bp=share_bp, deadline_us=clock.boot_us() + left)
    decision = found.route(unit, risk)
    allowed = risk == "low" and not killed and share_bp > 0 and left > 0
    assert decision.eligible is allowed
    assert decision.arm == "baseline" or allowed


@pytest.mark.parametrize("risk", ["medium", "high"])
def test_a_risky_run_stays_on_the_baseline(risk, bundles, clock):
    found = router(bundles, clock, share_bp=10_000)
    assert found.route("unit", risk).reason is Reason.RISK
    assert found.route("unit", risk).risk == risk
    assert found.route("unit").risk == "low"


@pytest.mark.parametrize("risk", ["none", "LOW", ""])
def test_an_unknown_risk_is_refused(risk, bundles, clock):
    with pytest.raises(
        InvalidInput, match=r"risk .* of a run of support is unknown; use one of low, medium, high"
    ):
        router(bundles, clock).route("unit", risk)


def test_a_lapsed_lease_serves_the_baseline_from_the_very_microsecond(bundles, clock):
    found = router(bundles, clock, share_bp=10_000, deadline_us=clock.boot_us() + 5)
    clock.advance(4)
    assert found.route("unit").arm == "candidate"
    clock.advance(1)
    assert found.route("unit").reason is Reason.LAPSED


def test_an_update_is_seen_whole(bundles, clock):
    found = router(bundles, clock, share_bp=10_000)
    reverted = dataclasses.replace(found.snapshot.point, candidate=None, release_id=None, share_bp=0, epoch=4)
    found.update(Snapshot(reverted, bundles[0], None, 0))
    decision = found.route("unit")
    assert (decision.arm, decision.reason, decision.epoch) == ("baseline", Reason.NO_RELEASE, 4)


# -- snapshots from the store


def serving(desk, **how):
    return Serving(desk.store, desk.agent, desk.environment, **how)


def arms(desk, served):
    with desk.store.reading() as txn:
        found = served.refresh(txn)
    return {found.route(unit).arm for unit in UNITS[:20]}


@pytest.mark.parametrize("jump_us", [HOUR, 24 * HOUR, -HOUR, -24 * HOUR, 365 * 24 * HOUR])
def test_a_jump_of_the_wall_clock_changes_nothing_on_the_same_boot(jump_us, desk, clock):
    desk.live(10_000)
    before = serving(desk)
    assert arms(desk, before) == {"candidate"}
    clock.wall_us += jump_us
    assert arms(desk, before) == {"candidate"}
    assert arms(desk, serving(desk)) == {"candidate"}
    clock.since_boot_us += HOUR
    assert arms(desk, before) == {"baseline"}
    assert arms(desk, serving(desk)) == {"baseline"}


def test_on_another_boot_the_wall_clock_counts(desk):
    desk.live(10_000)
    clock = ManualClock(since_boot_us=5, boot_id="another")
    other = Serving(Store(desk.store.url, clock), desk.agent, desk.environment)
    assert arms(desk, other) == {"candidate"}
    clock.advance(HOUR - 1)
    assert arms(desk, other) == {"candidate"}
    clock.advance(1)
    assert arms(desk, other) == {"baseline"}
    other.store.close()


def test_a_kill_is_seen_at_the_next_run(desk):
    desk.live(10_000)
    served = serving(desk)
    assert arms(desk, served) == {"candidate"}
    desk.kill()
    assert arms(desk, served) == {"baseline"}


def test_a_renewal_goes_on_serving_the_candidate(desk, clock):
    release_id = desk.live(10_000)
    served = serving(desk)
    arms(desk, served)
    clock.advance(HOUR - 1)
    desk.serve(release_id, 10_000)
    clock.advance(HOUR - 1)
    assert arms(desk, served) == {"candidate"}


def test_a_candidate_whose_runtime_is_not_announced_is_not_served(desk):
    desk.live(10_000, candidate=desk.register("needs", "image:2"))
    served = serving(desk)
    assert arms(desk, served) == {"baseline"}
    assert served.router.route("unit").reason is Reason.RUNTIME
    assert arms(desk, serving(desk, runtimes=frozenset({"image:2"}))) == {"candidate"}


def test_a_baseline_whose_runtime_is_not_announced_is_refused(desk):
    desk.promote(desk.live(candidate=desk.register("needs", "image:2")))
    with pytest.raises(
        Refused, match=r"needs the runtime image:2, which this process does not announce.*LASTGOOD_RUNTIME"
    ):
        arms(desk, serving(desk))


def test_runtimes_are_announced_by_the_environment(monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUNTIME", " image:1, commit:abc ,")
    assert announced_runtimes() == {"image:1", "commit:abc"}


def test_a_bundle_is_read_once_a_process(desk, monkeypatch):
    from lastgood import registry

    served, reads = serving(desk), []
    real = registry.read
    monkeypatch.setattr(
        registry, "read", lambda txn, bundle_id: reads.append(bundle_id) or real(txn, bundle_id)
    )
    release_id = desk.start()
    for share_bp in (100, 200, 300):
        desk.serve(release_id, share_bp)
        reads.clear() if share_bp == 100 else None
        arms(desk, served)
    assert len(reads) <= 2


def spoil(desk, bundle_id):
    import sqlite3

    held = sqlite3.connect(desk.store.path, isolation_level=None)
    held.execute("DROP TRIGGER bundle_no_update")
    held.execute("UPDATE bundle SET author = 'mallory' WHERE id = ?", [bundle_id])
    held.close()


def test_a_changed_candidate_is_not_served_and_the_baseline_goes_on(desk, caplog):
    desk.live(10_000)
    spoil(desk, desk.candidate)
    assert arms(desk, serving(desk)) == {"baseline"}
    assert "the candidate of support in production is not served" in caplog.text


def test_a_changed_baseline_is_never_served(desk):
    spoil(desk, desk.baseline)
    with pytest.raises(CorruptRow, match="changed behind lastgood's back"):
        arms(desk, serving(desk))


def test_a_router_that_has_never_seen_a_bundle_raises_clearly(desk, tmp_path):
    with pytest.raises(NotFound, match="no agent 'sales' in production"):
        _ = Serving(desk.store, "sales", "production").router
    with pytest.raises(StoreUnavailable, match="there is no store"):
        _ = Serving(Store(f"sqlite:///{tmp_path / 'none.db'}"), "support", "production").router
