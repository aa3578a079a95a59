import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import moves
from lastgood.caps import Caps
from lastgood.errors import CorruptRow, InvalidMove
from lastgood.moves import ControlPoint, Lease
from lastgood.records import Records
from lastgood.release import OTHER, ReleaseState, Terms
from lastgood.triggers import RateTrigger, Triggers

IDS = st.sampled_from(["a" * 64, "b" * 64, "c" * 64])
LEASES = st.builds(Lease, st.integers(0, 10**16), st.sampled_from(["", "boot-1"]), st.integers(0, 10**13))
RATES = st.builds(
    RateTrigger, st.sampled_from(["completion", "incidents"]), st.floats(0.01, 0.9), st.floats(1e-6, 0.1)
)
TERMS = st.builds(
    Terms,
    eligible_risks=st.lists(st.sampled_from(["low", "medium", "high"]), unique=True).map(tuple),
    cooldown_us=st.integers(0, 10**12),
    strata=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    caps=st.builds(
        Caps,
        spend_usd_per_hour=st.none() | st.floats(0, 100),
        actions_per_run=st.lists(st.tuples(st.text(max_size=5), st.integers(0, 9)), max_size=2).map(tuple),
    ),
    triggers=st.builds(Triggers, rates=st.lists(RATES, max_size=2).map(tuple)),
    records=st.builds(Records, keep=st.sampled_from(["inline", "reference", "none"])),
)


@st.composite
def points(draw):
    live = draw(st.booleans())
    return ControlPoint(
        agent=draw(st.sampled_from(["support", "sales"])),
        environment="production",
        baseline=draw(IDS),
        standing=draw(st.sampled_from(["vouched", "proven"])),
        candidate=draw(IDS) if live else None,
        release_id="rel_1" if live else None,
        share_bp=draw(st.integers(0, 10_000)) if live else 0,
        epoch=draw(st.integers(1, 10**9)),
        lease_seq=draw(st.integers(0, 10**6)),
        lease=draw(LEASES) if live else Lease(),
        driver_term=draw(st.integers(0, 10**6)),
        killed=draw(st.booleans()),
        terms=draw(TERMS),
    )


#: every move with arguments of its own
MOVES = {
    "claim": lambda p: moves.claim(p, release_id="rel_2", candidate="b" * 64, terms=Terms()),
    "share": lambda p: moves.share(p, release_id="rel_1", share_bp=500, lease=Lease(5)),
    "renew": lambda p: moves.renew(p, release_id="rel_1", lease=Lease(5)),
    "take_over": lambda p: moves.take_over(p, release_id="rel_1"),
    "promote": lambda p: moves.promote(p, release_id="rel_1", standing="proven"),
    "revert": lambda p: moves.revert(p, release_id="rel_1"),
    "restore": lambda p: moves.restore(p, bundle_id="b" * 64, standing="vouched"),
    "kill": moves.kill,
    "clear": moves.clear,
}


def served(point):
    """Who or how much is served."""
    return point.baseline, point.candidate if point.share_bp else None, point.share_bp, point.killed


def tried(name, point):
    try:
        return MOVES[name](point)
    except InvalidMove:
        return None


@given(points(), st.sampled_from(sorted(MOVES)))
def test_the_epoch_rises_by_one_with_every_serving_move_and_never_otherwise(point, name):
    now = tried(name, point)
    if now is None:
        return
    serving = name not in {"claim", "renew", "take_over"}
    assert now.epoch - point.epoch == int(serving)
    if served(now) != served(point):
        assert now.epoch == point.epoch + 1


@given(points(), st.sampled_from(sorted(MOVES)))
def test_no_counter_ever_falls(point, name):
    now = tried(name, point) or point
    assert (now.lease_seq, now.driver_term) >= (point.lease_seq, point.driver_term)
    assert now.lease_seq >= point.lease_seq
    assert now.driver_term >= point.driver_term


@given(points())
def test_a_revert_is_allowed_from_every_live_state_and_leaves_the_baseline_alone(point):
    if point.release_id is None:
        with pytest.raises(InvalidMove):
            MOVES["revert"](point)
        return
    now = MOVES["revert"](point)
    assert (now.baseline, now.standing, now.killed) == (point.baseline, point.standing, point.killed)
    assert (now.candidate, now.release_id, now.share_bp, now.lease) == (None, None, 0, Lease())
    assert now.driver_term == point.driver_term + 1


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("claim", {"release_id": "rel_1"}, "holds rel_1, which is still live"),
        ("claim", {"baseline": "b" * 64}, "the candidate is the baseline"),
        ("claim", {"killed": True}, "kill switch .* is on; `lastgood clear support`"),
        ("share", {}, "support in production holds no release; see"),
        ("share", {"release_id": "rel_9"}, "can't set the share of rel_1: .* holds rel_9"),
        ("renew", {}, "can't renew the lease of rel_1"),
        ("take_over", {}, "can't take over rel_1"),
        ("promote", {}, "can't promote rel_1"),
        ("promote", {"release_id": "rel_9", "candidate": "b" * 64}, "can't promote rel_1: .* holds rel_9"),
        ("promote", {"release_id": "rel_1"}, "has no candidate"),
        ("promote", {"release_id": "rel_1", "candidate": "b" * 64, "killed": True}, "kill switch .* is on"),
        ("revert", {}, "can't revert rel_1"),
        ("revert", {"release_id": "rel_9"}, "holds rel_9"),
        ("restore", {"release_id": "rel_1"}, "revert it first"),
        ("restore", {"baseline": "b" * 64}, "already serves that bundle"),
        ("kill", {"killed": True}, "is on already"),
        ("clear", {}, "is not on"),
    ],
)
def test_a_move_that_the_state_does_not_allow(name, changes, said):
    point = dataclasses.replace(ControlPoint("support", "production", "a" * 64, "vouched"), **changes)
    with pytest.raises(InvalidMove, match=said):
        MOVES[name](point)


IDLE = ControlPoint("support", "production", "a" * 64, "proven", epoch=7, lease_seq=5, driver_term=3)
LIVE = dataclasses.replace(
    IDLE,
    candidate="b" * 64,
    release_id="rel_1",
    share_bp=250,
    lease=Lease(9, "boot-1", 8),
    terms=Terms(watch_us=4),
)

#: what is gone with a release
OVER = {
    "candidate": None,
    "release_id": None,
    "share_bp": 0,
    "lease": Lease(),
    "driver_term": 4,
    "epoch": 8,
}


@pytest.mark.parametrize(
    ("name", "point", "changes"),
    [
        ("claim", IDLE, {"release_id": "rel_2", "candidate": "b" * 64, "terms": Terms(), "driver_term": 4}),
        ("share", LIVE, {"share_bp": 500, "lease": Lease(5), "lease_seq": 6, "epoch": 8}),
        ("renew", LIVE, {"lease": Lease(5), "lease_seq": 6}),
        ("take_over", LIVE, {"driver_term": 4}),
        (
            "promote",
            dataclasses.replace(LIVE, standing="vouched"),
            {**OVER, "baseline": "b" * 64, "standing": "proven"},
        ),
        ("revert", LIVE, OVER),
        ("restore", IDLE, {"baseline": "b" * 64, "standing": "vouched", "epoch": 8}),
        ("kill", LIVE, {"killed": True, "epoch": 8}),
        ("clear", dataclasses.replace(LIVE, killed=True), {"killed": False, "epoch": 8}),
    ],
)
def test_what_a_move_makes_of_a_point_and_what_it_leaves_alone(name, point, changes):
    assert MOVES[name](point) == dataclasses.replace(point, **changes)


def test_a_claim_takes_the_terms_of_its_release():
    terms = Terms(watch_us=9)
    assert moves.claim(IDLE, release_id="rel_2", candidate="b" * 64, terms=terms).terms == terms


@pytest.mark.parametrize("share_bp", [0, 10_000])
def test_a_share_may_be_nobody_and_everybody(share_bp):
    assert moves.share(LIVE, release_id="rel_1", share_bp=share_bp, lease=Lease()).share_bp == share_bp


@pytest.mark.parametrize("share_bp", [-1, 10_001])
def test_an_impossible_share(share_bp):
    point = ControlPoint("support", "production", "a" * 64, "vouched", release_id="rel_1", candidate="b" * 64)
    with pytest.raises(InvalidMove, match="give 0 to 10000"):
        moves.share(point, release_id="rel_1", share_bp=share_bp, lease=Lease())


@given(points())
def test_a_point_survives_json(point):
    assert ControlPoint.from_json(point.to_json()) == point
    assert json.loads(point.to_json())["terms"] == json.loads(point.terms.to_json())


def test_an_agent_s_first_point_is_written_in_canonical_json():
    """Every ledger row holds it, and its seal hangs on every byte."""
    written = ControlPoint("support", "production", "a" * 64, "vouched").to_json()
    plain = json.loads(written)
    assert written == json.dumps(plain, sort_keys=True, separators=(",", ":"))
    del plain["terms"]
    assert plain == {
        "agent": "support",
        "environment": "production",
        "baseline": "a" * 64,
        "standing": "vouched",
        "candidate": None,
        "release_id": None,
        "share_bp": 0,
        "epoch": 1,
        "lease_seq": 0,
        "lease": {"until_us": 0, "boot_id": "", "boot_until_us": 0},
        "driver_term": 0,
        "killed": False,
    }


@given(TERMS)
def test_terms_survive_json(terms):
    assert Terms.from_json(terms.to_json()) == terms


@given(points(), st.sampled_from([field.name for field in dataclasses.fields(ControlPoint)]))
def test_the_seal_differs_when_any_field_differs(point, name):
    old = getattr(point, name)
    if isinstance(old, bool):
        new = not old
    elif isinstance(old, int):
        new = old + 1
    elif isinstance(old, Lease):
        new = Lease(old.until_us + 1, old.boot_id, old.boot_until_us)
    elif isinstance(old, Terms):
        new = dataclasses.replace(old, cooldown_us=old.cooldown_us + 1)
    else:
        new = f"{old}x"
    changed = dataclasses.replace(point, **{name: new})
    assert changed.seal != point.seal
    assert dataclasses.replace(changed, **{name: old}).seal == point.seal


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", '"x"', "null", "{}", '{"caps": 1, "triggers": {}, "records": {}}']
)
def test_terms_that_can_not_be_read_are_corrupt(text):
    with pytest.raises(CorruptRow, match="lastgood rollback"):
        Terms.from_json(text)


def test_a_lease_is_held_to_the_clock_of_its_own_boot():
    lease = Lease(until_us=1_000, boot_id="one", boot_until_us=50)
    assert lease.left_us(now_us=999_999, boot_id="one", boot_us=20) == 30
    assert lease.left_us(now_us=400, boot_id="two", boot_us=20) == 600
    assert Lease(until_us=1_000).left_us(now_us=400, boot_id="", boot_us=20) == 600


def test_a_task_type_that_the_policy_does_not_list_is_other():
    terms = Terms(strata=("faq", "refund"))
    assert [terms.stratum(name) for name in ("faq", "refund", "poem")] == ["faq", "refund", OTHER]


def test_only_promoted_and_reverted_have_ended():
    assert {state for state in ReleaseState if not state.live} == {
        ReleaseState.PROMOTED,
        ReleaseState.REVERTED,
    }
