import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import assignment
from lastgood.clock import ManualClock, SystemClock
from lastgood.decision import Reason, Snapshot
from lastgood.epoch_word import Mark
from lastgood.moves import ControlPoint
from lastgood.release import RISKS, Terms
from lastgood.router import Router

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


@pytest.mark.parametrize("risk", ["none", "LOW", "", 7, ["low"]])
def test_an_unknown_risk_counts_as_the_highest(risk, bundles, clock):
    decision = router(bundles, clock, share_bp=10_000).route("unit", risk)
    assert (decision.arm, decision.reason, decision.risk) == ("baseline", Reason.RISK, "high")


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


def test_a_route_that_somebody_kept_follows_an_update(bundles, clock):
    found = router(bundles, clock, share_bp=10_000)
    kept = found.route
    found.update(
        Snapshot(dataclasses.replace(found.snapshot.point, killed=True), bundles[0], bundles[1], 10**15)
    )
    assert kept("unit").reason is Reason.KILLED


def test_decisions_are_made_before_anybody_asks(bundles, clock):
    found = router(bundles, clock)
    made = {id(found.route(unit, risk)) for unit in UNITS for risk in (None, *RISKS)}
    assert len(made) == 2 + 2  # low drawn or not, medium, high


def test_without_headroom_both_arms_are_refused_as_evidence(bundles, clock):
    found = router(bundles, clock, share_bp=5_000)
    found.update(dataclasses.replace(found.snapshot, headroom=False))
    assert {found.route(unit).reason for unit in UNITS} == {Reason.CAP}
    assert found.route("unit", "high").reason is Reason.RISK


@given(st.text(st.characters(), max_size=20) | st.just("x" * 1_000_000) | st.integers() | st.none())
def test_no_unit_makes_it_raise(bundles, unit):
    found = router(bundles, ManualClock(), share_bp=10_000)
    assert found.route(unit).arm == "candidate"


class Broken(str):
    """A text whose every way to be read fails."""

    __slots__ = ()

    def __str__(self):
        raise OverflowError

    def __eq__(self, other):
        raise OSError

    def __hash__(self):
        return hash("low")

    def encode(self, *_):
        raise RuntimeError


class Unhashable(str):
    __slots__ = ()
    __hash__ = None


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("risk", [None, Broken("low"), Unhashable("low"), [], 7], ids=type)
@pytest.mark.parametrize("unit", ["unit", Broken("unit"), [], b"unit"], ids=type)
def test_nothing_that_is_given_makes_it_raise(bundles, unit, risk, moved):
    words = [0, 2]
    found = watched(bundles, words)
    words[1] += moved
    decision = found.route(unit, risk)
    if moved or isinstance(unit, Broken) or risk is not None:
        assert (decision.arm, decision.eligible) == ("baseline", False)


def test_half_a_surrogate_pair_is_drawn_like_any_unit(bundles, clock):
    units = [f"{unit}\ud800" for unit in UNITS]
    arms = {unit: router(bundles, clock).route(unit).arm for unit in units}
    assert set(arms.values()) == {"baseline", "candidate"}
    for share_bp in (5_001, 7_000):
        later = router(bundles, clock, share_bp=share_bp)
        assert all(later.route(u).arm == "candidate" for u, arm in arms.items() if arm == "candidate")


@given(st.integers(0, 10_000), st.text(max_size=12))
def test_the_limit_is_the_bucket(share_bp, unit):
    hashed = assignment.begun("rel_1").copy()
    hashed.update(assignment.unit_bytes(unit))
    drawn = hashed.digest() < assignment.limit(share_bp)
    assert drawn is (assignment.bucket("rel_1", unit) < share_bp)


# -- the epoch word


def watched(bundles, words, clock=None, renew=None, deadline_us=10**15):
    found = router(bundles, clock or ManualClock(), share_bp=10_000, deadline_us=deadline_us)
    return Router(found.snapshot, clock or ManualClock(), mark=Mark.of(words, 1), renew=renew)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_candidate_is_served_only_while_an_even_word_stands(bundles, before, after):
    words = [0, before]
    found = watched(bundles, words)
    served = found.route("unit")
    assert served.arm == ("baseline" if before % 2 else "candidate")
    words[1] = after
    decision = found.route("unit")
    stands = before % 2 == 0 and after == before
    assert decision.arm == ("candidate" if stands else "baseline")
    assert decision.reason is (Reason.SPLIT if stands else Reason.MOVED)


def test_a_moved_point_is_renewed_in_the_same_decision(bundles):
    words = [0, 2]

    def renew():
        point = dataclasses.replace(found.snapshot.point, killed=True, epoch=4)
        found.update(dataclasses.replace(found.snapshot, point=point), Mark.of(words, 1))
        return True

    found = watched(bundles, words, renew=renew)
    assert found.route("unit").arm == "candidate"
    words[1] = 4
    assert (found.route("unit").reason, found.route("unit").epoch) == (Reason.KILLED, 4)


def test_a_renewal_that_fails_or_raises_serves_the_baseline(bundles, caplog):
    def broken():
        raise ZeroDivisionError

    for renew in (lambda: False, broken):
        assert watched(bundles, [0, 1], renew=renew).route("unit").reason is Reason.MOVED
    assert "could not be renewed" in caplog.text


def test_a_standing_word_is_looked_at_again_four_times_a_second(bundles, clock):
    asked = []

    def renew():
        asked.append(clock.boot_us())
        found.extend()
        return True

    found = watched(bundles, [0, 2], clock, renew)
    for _ in range(1_000):
        assert found.route("unit").arm == "candidate"
        clock.advance(1_000)
    assert len(asked) == 3


def test_a_lease_that_ends_between_two_looks_is_kept_to_the_microsecond(bundles, clock):
    def renew():
        found.extend()
        return True

    found = watched(bundles, [0, 2], clock, renew, deadline_us=clock.boot_us() + 7)
    clock.advance(6)
    assert found.route("unit").reason is Reason.SPLIT
    clock.advance(1)
    assert found.route("unit").reason is Reason.LAPSED
    assert found.route("unit").reason is Reason.LAPSED


def test_the_machines_own_clock_ends_a_lease(bundles):
    clock = SystemClock()
    found = router(bundles, clock, share_bp=10_000, deadline_us=clock.boot_us() + 20_000)
    arms = [found.route("unit").arm]
    while clock.boot_us() < found.snapshot.lease_deadline_us:
        arms.append(found.route("unit").arm)
    assert arms[0] == "candidate"
    assert found.route("unit").reason is Reason.LAPSED
