"""What lies ahead of a release, in sentences."""

from lastgood import control, releasing
from tasks import ahead


def test_a_command_about_another_environment_names_it(world):
    release_id = world.start()
    control.adopt(world.store, "support", "staging", world.point()["baseline"], actor="ann", reason="begin")
    for place in ("production", "staging"):
        control.kill(world.store, "support", place, actor="ann", reason="a try")
    with world.store.reading() as txn:
        row = releasing.read(txn, release_id)
        here, there = (ahead.lines(txn, {**row, "environment": place}) for place in ("production", "staging"))
    assert here[0].startswith("the kill switch is on: `lastgood clear support` lets")
    assert there[0].startswith("the kill switch is on: `lastgood clear support -e staging` lets")
