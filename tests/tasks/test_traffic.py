"""Traffic: one control move a transition, once."""

import pytest

from evaluators.stages import Move, Transition
from lastgood.errors import StaleDriver
from lastgood.points import Expect
from lastgood.release import ReleaseState as State
from tasks import driving, traffic

MINUTE = 60_000_000
SERVING = [
    (Move.OPEN, State.CANARY, 0, 2000, "share"),
    (Move.RAMP, State.CANARY, 1, 5000, "share"),
    (Move.REOPEN, State.CANARY, 0, 2000, "share"),
    (Move.PAUSE, State.COMPARE, 0, 0, "share"),
    (Move.LAPSE, State.LAPSED, 0, 0, "lapse"),
    (Move.ASK, State.ASKING, 0, 0, "ask"),
]


@pytest.fixture
def held(world):
    release_id = world.start()
    driving.begin(world.store, release_id, "me")
    return world, release_id


def carry_out(world, release_id, move, to, *, step=0, share_bp=0, expect=None):
    expect = expect or Expect.of(driving.read(world.store, release_id)[1])
    transition = Transition(move, to, step, share_bp, "because", "evidence", ("completion",))
    traffic.carry_out(world.store, release_id, transition, lease_us=3 * MINUTE, driver="me", expect=expect)


@pytest.mark.parametrize(("move", "to", "step", "share_bp", "action"), SERVING)
def test_a_move_of_the_share_raises_the_epoch_by_one_and_is_written_down(
    held, move, to, step, share_bp, action
):
    world, release_id = held
    before = world.point()["epoch"]
    carry_out(world, release_id, move, to, step=step, share_bp=share_bp)
    point, row = world.point(), world.row(release_id)
    assert (point["share_bp"], point["epoch"]) == (share_bp, before + 1)
    assert (row["state"], row["step"]) == (to, step)
    assert world.ledger()[-1] == action


@pytest.mark.parametrize(("move", "to"), [(Move.ARM, State.CAP), (Move.COMPARE, State.COMPARE)])
def test_a_move_that_serves_nothing_differently_keeps_the_epoch(held, move, to):
    world, release_id = held
    before = world.point()["epoch"]
    carry_out(world, release_id, move, to)
    assert (world.point()["epoch"], world.row(release_id)["state"]) == (before, to)
    assert world.ledger()[-1] == move


def test_a_hold_renews_the_lease_alone(held):
    world, release_id = held
    before = world.point()
    carry_out(world, release_id, Move.HOLD, State.COMPARE)
    after = world.point()
    assert after["lease_seq"] == before["lease_seq"] + 1
    assert (after["epoch"], after["share_bp"]) == (before["epoch"], before["share_bp"])
    assert world.row(release_id)["state"] == "opened"


def test_a_promotion_makes_the_candidate_the_proven_baseline(held):
    world, release_id = held
    carry_out(world, release_id, Move.PROMOTE, State.PROMOTED)
    assert (world.point()["baseline"], world.point()["standing"]) == (world.candidate, "proven")


def test_a_revert_says_what_it_is_by(held):
    world, release_id = held
    carry_out(world, release_id, Move.REVERT, State.REVERTED)
    assert world.rows("SELECT reason FROM quarantine")[0]["reason"] == "reverted by evidence: because"
    assert world.row(release_id)["culprits"] == '["completion"]'


@pytest.mark.parametrize(
    ("move", "to"),
    [*((move, to) for move, to, *_ in SERVING), (Move.HOLD, State.COMPARE), (Move.PROMOTE, State.PROMOTED),
     (Move.REVERT, State.REVERTED), (Move.ARM, State.CAP)],
)  # fmt: skip
def test_every_move_of_a_stale_driver_is_refused(held, move, to):
    world, release_id = held
    expect = Expect.of(driving.read(world.store, release_id)[1])
    driving.begin(world.store, release_id, "another")
    before = world.dump()
    with pytest.raises(StaleDriver):
        carry_out(world, release_id, move, to, expect=expect)
    assert world.dump() == before
