"""A look is judged between its transactions: it holds nobody up, and nobody's look is counted twice."""

from evaluators import Comparison
from lastgood import releasing
from lastgood.releasing import Ending
from tasks import comparison, driving


def serving(world):
    """A release with evidence to look at; its row."""
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    world.work(60)
    world.clock.advance(120_000_000)
    return world.row(release_id)


def test_a_revert_commits_while_an_evaluator_is_at_work(world, monkeypatch):
    row, judge = serving(world), Comparison.verdict

    def slow(self):
        releasing.revert(world.store, row["id"], Ending("ann", "meanwhile", "hand"))
        return judge(self)

    monkeypatch.setattr(Comparison, "verdict", slow)
    comparison.look(world.store, row)
    assert world.row(row["id"])["state"] == "reverted"


def test_a_look_that_another_one_overtook_is_made_anew(world, monkeypatch):
    row, judge, overtaken = serving(world), Comparison.verdict, []

    def slow(self):
        if not overtaken:
            overtaken.append(True)
            comparison.look(world.store, row)
        return judge(self)

    monkeypatch.setattr(Comparison, "verdict", slow)
    made = comparison.look(world.store, row)
    # made anew it finds the same evidence as the one that overtook it: there is nothing to store
    assert made.seq == 1
    assert [look["seq"] for look in world.rows("SELECT seq FROM look ORDER BY seq")] == [1]
    verdicts = comparison.replay(world.store, row["id"])
    assert str(verdicts[-1].decision) == str(made.verdict.decision)
