"""Each faulty bundle is caught by the right guardrail or trigger: the short version of `make support`."""

from dataclasses import replace

import pytest

from config.policy import Policy
from examples.support_agent import figures, measure, shop
from examples.support_agent.figures import TARGETS, Caught
from examples.support_agent.trials import Trial, record, season, trial
from tasks import drill

#: without a history that is long enough to prove a promotion, a release is judged for harm all the same
ASKS = "\non_undecided: ask\n"


@pytest.fixture(scope="session")
def harm_policy():
    return Policy.load((shop.HERE / "policy.yaml").read_text("utf-8") + ASKS)


@pytest.fixture(scope="session")
def seasoned(tmp_path_factory):
    """A shop whose baseline has served 300 tickets, and its clock."""
    folder = tmp_path_factory.mktemp("seasoned")
    return folder, season(folder, tickets=300)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.bundle)
def test_a_faulty_bundle_is_caught_in_time_by_what_names_its_fault(target, seasoned, harm_policy, tmp_path):
    folder, clock = seasoned
    made = trial(folder, tmp_path, clock, harm_policy, target.bundle, 0, most=2_000)
    assert made.state == "reverted"
    assert made.culprits[0] in target.right
    assert target.runs is None or made.runs <= target.runs
    assert (made.usd_over_run, made.usd_over_hour, made.messages_over) == (0, 0, 0)


def test_the_same_trial_again_gives_the_same_figures(seasoned, harm_policy, tmp_path):
    folder, clock = seasoned
    places = [tmp_path / name for name in "ab"]
    for place in places:
        place.mkdir()
    found = []
    for place in places:
        drill._done.clear()  # one that is made draws ids, one that stands does not
        found.append(trial(folder, place, clock, harm_policy, "malformed", 3, most=2_000))
    assert found[0] == found[1]


def test_of_recorded_runs_the_better_bundle_is_promoted_and_the_good_one_never_reverted(tmp_path):
    path = tmp_path / "recorded.jsonl"
    for name in ("good", "better"):
        (tmp_path / name).mkdir()
        record(tmp_path / name, path, name, 900)
    told = measure.replayed(path, "better", 4)
    assert (told.summary.promoted, told.summary.reverted) == (4, 0)
    assert told.healthy.reverted == 0
    assert told.prepared.no_data == ()


# -- what is made of trials

TRIAL = Trial("malformed", 0, "reverted", ("tool_malformed",), 4, 40, 0.0, 0.0, 0)


def caught(*trials):
    (found,) = figures.caught(trials)
    return found


def test_a_target_is_met_by_the_median():
    assert caught(TRIAL, TRIAL, replace(TRIAL, runs=500)).holds
    assert not caught(TRIAL, replace(TRIAL, runs=500), replace(TRIAL, runs=31)).holds


@pytest.mark.parametrize(
    "changed",
    [
        {"culprits": ("cost",)},
        {"culprits": ()},
        {"state": "promoted"},
        {"usd_over_run": 0.01},
        {"usd_over_hour": 0.01},
        {"messages_over": 1},
    ],
)
def test_a_wrong_culprit_and_a_ceiling_that_was_overshot_miss_it(changed):
    assert caught(TRIAL).holds
    assert not caught(replace(TRIAL, **changed)).holds


def test_a_row_names_culprits_and_medians():
    row = Caught(TARGETS[0], (TRIAL, replace(TRIAL, runs=6, culprits=("cost",)))).row()
    assert row.endswith("| 2 | 5 | 6 | 30 | 1 of 2 (tool_malformed 1, cost 1) | $0.00, 0 |")


def test_a_stopped_measurement_goes_on(tmp_path, monkeypatch):
    file = tmp_path / "trials.jsonl"
    made = []

    class InTurn:
        """A pool that works in this process."""

        def __init__(self, workers):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, function, wanted):
            made.extend(wanted)
            return [replace(TRIAL, bundle=name, number=number) for name, number in wanted]

    monkeypatch.setattr(measure, "ProcessPoolExecutor", InTurn)
    monkeypatch.setattr(measure, "season", lambda folder: None)
    first = [("malformed", 0), ("garbage", 0)]
    assert len(measure.fill(file, first, 1)) == 2
    assert len(measure.fill(file, [*first, ("garbage", 1)], 1)) == 3
    assert made == [*first, ("garbage", 1)]
