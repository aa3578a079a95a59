"""The watch of what serves: brought up to date from the store, recorded and told once a change."""

from lastgood.running import Run
from tasks import drift

MINUTE = 60_000_000


def serve(world, number, *, bad_every=10, model="old", start=0):
    for place in range(start, start + number):
        world.clock.advance(1_000_000)
        with Run(world.store, world.assign()) as run:
            run.usage(model, tokens_in=1, tokens_out=1)
            run.report(completed=place % bad_every != 0)
    world.clock.advance(11 * MINUTE)


def test_nothing_is_said_while_nothing_changes_and_nothing_is_written_without_new_runs(world):
    serve(world, 400)
    assert drift.watch(world.store) == []
    before = world.rows("SELECT * FROM drift_watch")
    assert [row["bundle_id"] for row in before] == [world.baseline]
    assert drift.watch(world.store) == []
    assert world.rows("SELECT * FROM drift_watch") == before


def test_another_model_is_recorded_and_told_once(world):
    serve(world, 50)
    drift.watch(world.store)
    serve(world, 10, model="large")
    found = drift.watch(world.store)
    assert [change.said for change in found] == [
        "support in production: large answered, where the bundle has had old"
    ]
    serve(world, 10, model="large")
    assert drift.watch(world.store) == []
    rows = world.rows("SELECT * FROM drift")
    assert [(row["kind"], row["name"], row["bundle_id"]) for row in rows] == [
        ("model", "large", world.baseline)
    ]
    notices = world.rows("SELECT * FROM notice WHERE kind = 'drift'")
    assert [(row["level"], row["agent"]) for row in notices] == [("inform", "support")]


def test_a_rate_that_got_worse_is_recorded_and_told_once(world):
    serve(world, 400)
    drift.watch(world.store)
    serve(world, 200, bad_every=2)
    found = drift.watch(world.store)
    assert len(found) == 1
    assert "completion got worse: " in found[0].said
    assert [row["kind"] for row in world.rows("SELECT * FROM drift")] == ["outcome"]
    assert len(world.rows("SELECT * FROM notice WHERE kind = 'drift'")) == 1


def test_a_run_that_never_reports_is_a_failure_once_its_time_is_over(world):
    serve(world, 400)
    drift.watch(world.store)
    for _ in range(60):
        world.assign()
    assert drift.watch(world.store) == []
    world.clock.advance(11 * MINUTE)
    assert len(drift.watch(world.store)) == 1


def test_a_bundle_that_can_not_be_read_hides_no_other(world):
    serve(world, 20)
    with world.store.transaction() as txn:
        txn.run("UPDATE control_point SET seal = 'edited'")
    found = drift.watch(world.store)
    assert len(found) == 1
    assert found[0].said.startswith("support in production can't be watched: ")
