"""Evidence: each run is counted once, in the order of assignment, and a sealed block never changes."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood import control, recorder, releasing
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Stage
from lastgood.running import Disconnected, Run
from tasks import comparison, driving

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
SMALL_BLOCKS = """
name: blocks
guardrails:
  completion: {margin: 15 points, matures: 10 min}
  incidents: {margin: 15 points, matures: 2 h}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%, min_runs: 10, rule_out: 4}, {share: 60%, min_runs: 10}]
block: {size: 5, time: 1 h}
lease: 6 h
reference: {incidents: 0.01}
on_undecided: ask
"""
ONE = """
name: one
guardrails: {completion: {margin: 15 points, matures: 10 min}}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 10}]
block: {size: 5, time: 1 h}
lease: 6 h
"""
WATCHED = ONE.replace("guardrails: {", "guardrails: {infra: {margin: 15 points}, ")
RUNS = """
SELECT run.*, outcome.received_us, outcome.completed, outcome.incidents, outcome.infra_failure, outcome.status
FROM run LEFT JOIN outcome ON outcome.run_id = run.id WHERE run.release_id = :id AND run.block IS NOT NULL
ORDER BY run.seq
"""


def look(world, release_id):
    """One look, and its blocks by guardrail."""
    made = comparison.look(world.store, driving.read(world.store, release_id)[0])
    stored = world.rows("SELECT verdict FROM look WHERE release_id = :id ORDER BY seq DESC", id=release_id)[0]
    return made, json.loads(stored["verdict"])["blocks"]


def sealed(world, release_id, guardrail="completion"):
    query = "SELECT * FROM block WHERE release_id = :id AND guardrail = :g ORDER BY stratum, block"
    return world.rows(query, id=release_id, g=guardrail)


def counted(world, release_id, guardrail="completion"):
    """Candidate and baseline runs, and the bad ones, in sealed blocks."""
    found = sealed(world, release_id, guardrail)
    return tuple(sum(block[name] for block in found) for name in ("n_c", "y_c", "n_b", "y_b"))


def opened(world, text=ONE, **changes):
    """A release that serves its first step."""
    release_id = world.start(text, **changes)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    return release_id


def share(world, release_id, share_bp):
    """Serve another share, as a ramp does."""
    row, point = driving.read(world.store, release_id)
    stage = Stage(f"test@{point.epoch}", ReleaseState(row["state"]), row["step"])
    entry = Entry("share", "me", "test", release_id)
    releasing.set_share(
        world.store,
        release_id,
        stage,
        share_bp=share_bp,
        lease_us=1000 * HOUR,
        entry=entry,
        expect=Expect.of(point),
    )


def test_a_run_is_counted_only_when_it_matures(world):
    release_id = opened(world)
    for _ in range(5):
        world.run()
    world.clock.advance(10 * MINUTE - 1)
    assert look(world, release_id)[1] == {}
    world.clock.advance(1)
    look(world, release_id)
    n_c, _, n_b, _ = counted(world, release_id)
    assert n_c + n_b == 5


def test_an_open_block_is_counted_and_not_sealed(world):
    release_id = opened(world)
    for _ in range(3):
        world.run()
    world.clock.advance(11 * MINUTE)
    _, blocks = look(world, release_id)
    assert [block[-1] for block in blocks["completion"]] == [False]
    assert sealed(world, release_id) == []


def test_a_run_that_joins_a_block_late_is_counted(world):
    release_id = opened(world)
    for _ in range(3):
        world.run()
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    world.run()
    world.run()
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    n_c, _, n_b, _ = counted(world, release_id)
    assert n_c + n_b == 5
    assert len(sealed(world, release_id)) == 1


def test_a_block_is_closed_by_the_clock(world):
    release_id = opened(world)
    share(world, release_id, 5000)
    world.run()
    world.clock.advance(HOUR - 1)
    look(world, release_id)
    assert sealed(world, release_id) == []
    world.clock.advance(1)
    look(world, release_id)
    assert len(sealed(world, release_id)) == 1
    world.run()
    assert [run["block"] for run in world.rows(RUNS, id=release_id)] == [0, 1]


def test_a_block_is_closed_by_a_change_of_share(world):
    release_id = opened(world)
    world.run()
    share(world, release_id, 6000)
    world.run()
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    assert [(block["block"], block["share_bp"]) for block in sealed(world, release_id)] == [(0, 5000)]


def test_a_switch_between_reading_and_looking_seals_nothing_that_fills(world, monkeypatch):
    release_id = opened(world)
    row, _ = driving.read(world.store, release_id)
    control.kill(world.store, "support", "production", actor="ann", reason="drill")
    control.clear(world.store, "support", "production", actor="ann", reason="over")
    world.run()
    world.clock.advance(11 * MINUTE)
    comparison.look(world.store, row)
    assert sealed(world, release_id) == []


def test_nothing_is_scored_before_what_was_assigned_before_it(world):
    """Two maturities: a run waits for its own, however fast later runs report."""
    release_id = opened(world, SMALL_BLOCKS)
    share(world, release_id, 4000)
    for _ in range(10):
        world.run()
        world.clock.advance(MINUTE)
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    assert sum(counted(world, release_id)[::2]) == 10
    assert counted(world, release_id, "incidents") == (0, 0, 0, 0)
    world.clock.advance(2 * HOUR)
    look(world, release_id)
    assert sum(counted(world, release_id, "incidents")[::2]) == 10


def test_a_candidate_that_answers_sooner_is_not_counted_sooner(world):
    """The baseline's runs stay silent until the last moment, the candidate's report at once."""
    release_id = opened(world)
    waiting = []
    for _ in range(10):
        assigned = world.assign()
        if assigned.decision.arm == "candidate":
            with Run(world.store, assigned) as run:
                run.report(completed=True)
        else:
            waiting.append(assigned)
    assert 0 < len(waiting) < 10
    world.clock.advance(9 * MINUTE)
    assert look(world, release_id)[1] == {}
    for assigned in waiting:
        with Run(world.store, assigned) as run:
            run.report(completed=True)
    world.clock.advance(MINUTE)
    look(world, release_id)
    assert counted(world, release_id) == (10 - len(waiting), 0, len(waiting), 0)


def test_a_silent_run_is_a_failure_of_its_arm(world):
    release_id = opened(world)
    arms = [world.assign().decision.arm for _ in range(5)]
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    n_c = arms.count("candidate")
    assert counted(world, release_id) == (n_c, n_c, 5 - n_c, 5 - n_c)


def test_a_run_that_reports_after_it_was_lost_stays_lost(world):
    release_id = opened(world, ONE.replace("matures: 10 min", "matures: 30 min"))
    assigned = [world.assign() for _ in range(5)]
    world.clock.advance(10 * MINUTE + 1)
    for one in assigned:
        with Run(world.store, one) as run:
            run.report(completed=True)
    world.clock.advance(20 * MINUTE)
    look(world, release_id)
    found = counted(world, release_id)
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_a_late_report_before_maturity_counts_and_one_after_it_does_not(world):
    release_id = opened(world, ONE.replace("matures: 10 min", "matures: 30 min"))
    runs = [world.run() for _ in range(5)]
    world.clock.advance(30 * MINUTE)
    recorder.record_late(world.store, runs[0].id, {"completed": False})
    world.clock.advance(1)
    recorder.record_late(world.store, runs[1].id, {"completed": False})
    look(world, release_id)
    _, y_c, _, y_b = counted(world, release_id)
    assert y_c + y_b == 1


def test_a_late_report_changes_no_sealed_block(world):
    release_id = opened(world)
    runs = [world.run() for _ in range(5)]
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    before = sealed(world, release_id)
    for run in runs:
        recorder.record_late(world.store, run.id, {"completed": False})
    world.clock.advance(HOUR)
    look(world, release_id)
    assert sealed(world, release_id) == before


@pytest.mark.parametrize(("policy", "expected"), [(WATCHED, (0, 0)), (ONE, (5, 5))])
def test_a_client_that_went_away_is_left_out_only_where_infrastructure_is_watched(world, policy, expected):
    release_id = opened(world, policy)
    for _ in range(5):
        with pytest.raises(Disconnected), Run(world.store, world.assign()):
            raise Disconnected
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    n_c, y_c, n_b, y_b = counted(world, release_id)
    assert (n_c + n_b, y_c + y_b) == expected
    if policy is WATCHED:
        assert sum(counted(world, release_id, "infra")[1::2]) == 5


def test_an_exception_is_a_failure(world):
    release_id = opened(world)
    for _ in range(5):
        with pytest.raises(RuntimeError), Run(world.store, world.assign()):
            raise RuntimeError
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    n_c, y_c, n_b, y_b = counted(world, release_id)
    assert (n_c + n_b, y_c + y_b) == (5, 5)


def test_an_infrastructure_failure_is_left_out_of_the_outcome_and_counted_as_assigned(world):
    release_id = opened(world, WATCHED)
    for place in range(5):
        world.run(completed=False, infra_failure=place < 2)
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    assert sum(counted(world, release_id)[::2]) == 3
    assert sum(counted(world, release_id, "assigned")[::2]) == 5


def test_a_bundle_that_calls_its_failures_infrastructure_has_failed_where_nobody_watches_those(world):
    release_id = opened(world)
    for _ in range(5):
        world.run(completed=False, infra_failure=True)
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    n_c, y_c, n_b, y_b = counted(world, release_id)
    assert (n_c + n_b, y_c + y_b) == (5, 5)


def test_a_run_that_names_no_infrastructure_failure_had_none(world):
    release_id = opened(world, WATCHED)
    for _ in range(5):
        world.run()
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    assert sum(counted(world, release_id, "infra")[::2]) == 5
    assert sum(counted(world, release_id, "infra")[1::2]) == 0


def test_a_repeated_unit_counts_by_its_first_run_in_one_half_of_the_evidence(world):
    release_id = opened(world)
    for _ in range(3):
        world.run("the same")
    for _ in range(2):
        world.run()
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    assert sum(counted(world, release_id)[::2]) == 5
    assert sum(counted(world, release_id, "completion@first")[::2]) == 3
    assigned = counted(world, release_id, "assigned")
    assert sum(assigned[::2]) == 5
    assert sum(assigned[1::2]) == 2


def test_a_release_without_repeated_units_keeps_no_table_of_them(world):
    release_id = opened(world)
    for _ in range(12):
        world.run()
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    sealed_json = json.loads(world.rows("SELECT sealed FROM evidence")[0]["sealed"])
    assert [set(found) for found in sealed_json.values()] == [{"after", "sealed", "reporting"}]


def test_stored_evidence_names_no_unit(world):
    release_id = opened(world)
    for _ in range(10):
        world.run("ann@example.com")
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    stored = world.rows("SELECT state, sealed FROM evidence")[0]
    assert "units" in stored["sealed"]
    assert "ann" not in stored["sealed"] + stored["state"]


def test_a_run_above_the_policys_risk_is_no_evidence(world):
    release_id = opened(world)
    for _ in range(5):
        world.run(risk="high")
    world.clock.advance(2 * HOUR)
    assert look(world, release_id)[1] == {}


def test_slices_are_counted_in_blocks_of_their_own(world):
    release_id = opened(world, ONE + "strata: {faq: 0.5, billing: 0.5}\n")
    for task_type in ("faq", "billing", "faq", "poetry"):
        world.run(task_type=task_type)
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    world.clock.advance(2 * HOUR)
    look(world, release_id)
    sizes = {block["stratum"]: block["n_c"] + block["n_b"] for block in sealed(world, release_id)}
    assert sizes == {"faq": 2, "billing": 1, "other": 1}


FORGED = {
    "arm": 1,
    "block": -1,
    "seq": -1,
    "assigned_us": 10**18,
    "share_bp": 9999,
    "lost": False,
    "matured": 0,
}


def test_a_metric_never_stands_for_what_the_control_point_wrote(world):
    release_id = opened(world)
    for _ in range(5):
        run = world.run(completed=False, **FORGED)
        recorder.record_late(world.store, run.id, dict(FORGED))
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    n_c, y_c, n_b, y_b = counted(world, release_id)
    arms = [run["arm"] for run in world.rows(RUNS, id=release_id)]
    assert (n_c, n_b) == (arms.count("candidate"), arms.count("baseline"))
    assert (y_c, y_b) == (n_c, n_b)


def test_a_flag_of_the_teams_own_is_read_where_the_policy_asks_for_it(world):
    text = ONE.replace("guardrails: {", "guardrails: {rude: {column: rude, bad: true, margin: 15 points}, ")
    release_id = opened(world, text + "reference: {rude: 0.05}\n")
    for place in range(5):
        run = world.run(rude=place == 0)
        recorder.record_late(world.store, run.id, {"rude": True} if place == 1 else {"note": 1})
    world.clock.advance(11 * MINUTE)
    look(world, release_id)
    assert sum(counted(world, release_id, "rude")[1::2]) == 2


def recount(world, release_id, maturity_us, now_us, bad):
    """Runs and bad runs by stratum, block and arm, from the rows alone: what the seal must hold."""
    totals = {}
    for run in world.rows(RUNS, id=release_id):
        lost = run["received_us"] is None or run["received_us"] > run["assigned_us"] + 10 * MINUTE
        if run["assigned_us"] + maturity_us > now_us:
            break  # a prefix
        key = (run["task_type"] if run["task_type"] in {"faq", "billing"} else "other", run["block"])
        mine = totals.setdefault(key, {"n_c": 0, "y_c": 0, "n_b": 0, "y_b": 0})
        arm = "c" if run["arm"] == "candidate" else "b"
        mine[f"n_{arm}"] += 1
        mine[f"y_{arm}"] += bool(lost or bad(run))
    return totals


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_each_run_is_counted_once_over_random_looks_and_clocks(make_world, tmp_path_factory, seed):
    """Independent recount from the rows; looks, waits, switches and slow runs come at random."""
    world = make_world(tmp_path_factory.mktemp("world"))
    draw = random.Random(seed)
    release_id = opened(world, SMALL_BLOCKS + "strata: {faq: 0.5, billing: 0.5}\n")
    share(world, release_id, 4000)
    waiting, frozen = [], {}
    for _ in range(draw.randrange(15, 40)):
        _act(world, release_id, draw, waiting)
        look(world, release_id)
        for guardrail in ("completion", "incidents"):
            now = {(b["stratum"], b["block"]): b for b in sealed(world, release_id, guardrail)}
            was = frozen.get(guardrail, {})
            assert {key: now[key] for key in was} == was  # a sealed block never changes
            frozen[guardrail] = now
    _close(world, release_id, frozen)
    world.store.close()


def _act(world, release_id, draw, waiting):
    what = draw.random()
    if what < 0.75:
        for _ in range(draw.randrange(1, 6)):
            assigned = world.assign(
                unit=f"u{draw.randrange(200)}", task_type=draw.choice(["faq", "billing", "poetry"])
            )
            if draw.random() < 0.8:
                with Run(world.store, assigned) as run:
                    run.report(
                        completed=draw.random() < 0.8,
                        incidents=draw.randrange(2),
                        infra_failure=draw.random() < 0.1,
                    )
            else:
                waiting.append(assigned)
    elif what < 0.85 and waiting:
        with Run(world.store, waiting.pop(draw.randrange(len(waiting)))) as run:
            run.report(completed=True, incidents=0)
    elif what < 0.9:
        share(world, release_id, draw.choice([2000, 4000, 7000]))
    world.clock.advance(draw.choice([0, SECOND, MINUTE, 7 * MINUTE, 40 * MINUTE, 3 * HOUR]))


def _close(world, release_id, frozen):
    """Let everything mature and close, and hold every block to the recount."""
    world.clock.advance(5 * HOUR)
    look(world, release_id)
    for guardrail, maturity_us, bad in (
        ("completion", 10 * MINUTE, lambda run: not run["completed"]),
        ("incidents", 2 * HOUR, lambda run: run["incidents"] is None or run["incidents"] > 0),
    ):
        blocks = {
            (b["stratum"], b["block"]): {name: b[name] for name in ("n_c", "y_c", "n_b", "y_b")}
            for b in sealed(world, release_id, guardrail)
        }
        empty = {"n_c": 0, "y_c": 0, "n_b": 0, "y_b": 0}
        expected = recount(world, release_id, maturity_us, world.clock.now_us(), bad)
        assert {key: counts for key, counts in blocks.items() if counts != empty} == expected
    places = [(run["task_type"], run["block"]) for run in world.rows(RUNS, id=release_id)]
    assert sum(counted(world, release_id, "assigned")[::2]) == len(places)
