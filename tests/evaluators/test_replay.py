"""Replays: the stage machine on a virtual clock."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, History, replay
from evaluators.drawing import Case, Pool, Stream, Watch
from evaluators.replay import Ending, Release
from evaluators.rules import HOUR, MINUTE, SECOND, Guardrail, Rules, Step
from evaluators.stages import Move, Standing, next_transition
from evaluators.verdict import Decision
from lastgood.release import ReleaseState as State
from lastgood.triggers import RateTrigger

COMPLETION = Guardrail(
    "completion", "completed", bad=False, weight=1.0, margin_abs=0.1, margin_rel=None, maturity_us=HOUR
)
STEPS = (Step(1000, 15, 2 * HOUR, 4.0), Step(4000, 60, 3 * HOUR))


def _pool(bad, strata=None, column="completed", good=True):
    outcomes = np.array([good] * round(1000 * (1 - bad)) + [not good] * round(1000 * bad), dtype=np.bool_)
    return Pool(1000, {column: outcomes}, np.arange(1000) % len(strata) if strata else np.full(1000, -1))


@pytest.fixture
def case():
    """A case whose candidate has a bad rate; baseline 30%, 200 runs of history of that rate."""

    def make(bad, strata=(), **changes):
        rules = Rules(
            guardrails=(COMPLETION,), steps=STEPS, strata=tuple((name, 1 / len(strata)) for name in strata),
            block_size=10, horizon_runs=1500,
        )  # fmt: skip
        history = History.from_counts({"completion": (1000, 300)})
        rules = replace(rules, **changes)
        return Case(rules, history, _pool(0.3, strata), _pool(bad, strata), tuple(strata), 20 * SECOND, 0)

    return make


def _replays(case, count=8):
    return [Release(case, f"rel-{number}").replay() for number in range(count)]


def _plain(case, salt):
    """The same release run by run, nothing looked ahead: (ending state, candidate runs, microseconds)."""
    rules, stream, comparison = case.rules, Stream(case, salt), Comparison(case.rules, case.history)
    interval, run, seen, since, ramped = case.interval_us, 0, 0, 0, 0
    step, shares = 0, np.full(20_000, rules.steps[0].share_bp)
    while True:
        comparison.observe(stream.runs(run, shares[run : run + 1]).drop(columns="code"))
        seen += int(stream.candidate(run, shares[run : run + 1])[0])
        age = -(-(run * interval + HOUR) // rules.look_interval_us) * rules.look_interval_us
        run += 1
        path = comparison.path()
        comparison._paths.clear()  # else each look would cost all those before it
        for look in range(len(path)):
            closed = int(path["candidate"].iloc[look])
            standing = Standing(
                State.COMPARE, step, rules.steps[step].share_bp, age, age - since, max(0, closed - ramped), 1
            )
            row = path.iloc[look]
            verdict = comparison.verdict()
            gates = tuple(bool(row[f"gate:{place}"]) for place in range(len(rules.steps)))
            verdict = replace(verdict, gates=gates, decision=Decision(row["decision"]), candidate_runs=seen)
            found = next_transition(standing, verdict, rules)
            if found.move is Move.RAMP:
                step, since = found.step, age
                first = age // interval + 1
                shares[first:] = found.share_bp
                ramped = int(stream.candidate(0, shares[:first]).sum())
            elif found.move is not Move.HOLD:
                return found.to, seen, age


@pytest.mark.parametrize(("bad", "number"), [(0.75, 0), (0.3, 2), (0.02, 3)])
def test_a_replay_is_the_release_run_by_run(case, bad, number) -> None:
    """One stratum, so that a block's runs are contiguous and the plain loop needs no book-keeping."""
    found = case(bad, horizon_runs=110, steps=(Step(1000, 10, HOUR, 4.0), Step(4000, 20, HOUR)))
    ahead = Release(found, f"rel-{number}").replay()
    state, runs, age = _plain(found, f"rel-{number}")
    assert (ahead.candidate_runs, ahead.age_us) == (runs, age)
    assert (ahead.ending is Ending.PROMOTED) == (state is State.PROMOTED)


@pytest.mark.parametrize("strata", [(), ("a", "b", "c")])
def test_how_far_it_looks_ahead_changes_nothing(case, strata, monkeypatch) -> None:
    found = [_replays(case(bad, strata), 3) for bad in (0.15, 0.45)]
    monkeypatch.setattr(replay, "AHEAD", 37)
    monkeypatch.setattr(replay, "FAR_AHEAD", 150)
    assert [_replays(case(bad, strata), 3) for bad in (0.15, 0.45)] == found


@pytest.mark.parametrize("strata", [(), ("a", "b", "c")])
def test_looks_that_are_left_out_only_hold(case, strata, monkeypatch) -> None:
    found = [_replays(case(bad, strata, look_interval_us=SECOND), 3) for bad in (0.2, 0.45)]
    monkeypatch.setattr(replay, "speaking", lambda path, *_: np.arange(len(path)))
    assert [_replays(case(bad, strata, look_interval_us=SECOND), 3) for bad in (0.2, 0.45)] == found


def test_a_collapse_is_reverted_on_the_first_step(case) -> None:
    found = _replays(case(0.95))
    assert {one.ending for one in found} == {Ending.REVERTED}
    assert {one.step for one in found} == {0}
    assert {one.culprits for one in found} == {("completion",)}
    assert max(one.candidate_runs for one in found) < 40


def test_a_promotion_went_through_every_step_and_waited_for_it(case) -> None:
    promoted = [one for one in _replays(case(0.1)) if one.ending is Ending.PROMOTED]
    assert len(promoted) >= 6
    assert all(one.step == 1 and one.age_us >= 5 * HOUR and one.candidate_runs >= 75 for one in promoted)


def test_a_minimum_of_runs_is_waited_for(case) -> None:
    patient = case(0.1, steps=(Step(1000, 15, 0, 4.0), Step(4000, 700)))
    assert all(one.candidate_runs >= 715 for one in _replays(patient, 4) if one.ending is Ending.PROMOTED)
    assert Ending.PROMOTED in {one.ending for one in _replays(patient, 4)}


def test_the_horizon_counts_candidate_runs(case) -> None:
    found = _replays(case(0.4, horizon_runs=100, alpha_revert=1e-6))
    assert {one.ending for one in found} == {Ending.UNDECIDED}
    assert all(100 <= one.candidate_runs <= 110 for one in found)


def test_the_horizon_counts_time(case) -> None:
    found = _replays(case(0.35, horizon_us=4 * HOUR, alpha_revert=1e-6))
    assert {(one.ending, one.age_us) for one in found} == {(Ending.UNDECIDED, 4 * HOUR)}
    assert all(one.served > one.candidate_runs for one in found)  # the last hour's runs never matured


def test_a_horizon_before_the_first_matured_run_is_undecided(case) -> None:
    found = _replays(case(0.95, horizon_us=30 * MINUTE), 3)
    assert {(one.ending, one.candidate_runs) for one in found} == {(Ending.UNDECIDED, 0)}


def test_runs_served_are_more_than_those_scored_by_what_matures(case) -> None:
    for one in _replays(case(0.6)):
        assert one.candidate_runs <= one.served <= one.candidate_runs + 0.4 * 180 + 60


def test_a_quick_guardrail_reverts_before_a_slow_one_matures(case) -> None:
    slow = Guardrail(
        "incidents", "incidents", bad=True, weight=0.5, margin_abs=0.1, margin_rel=None, maturity_us=24 * HOUR
    )
    found = case(0.95, guardrails=(replace(COMPLETION, weight=0.5), slow), look_interval_us=MINUTE)
    pools = [
        replace(pool, outcomes={**pool.outcomes, "incidents": np.zeros(1000, dtype=np.bool_)})
        for pool in (found.baseline, found.candidate)
    ]
    for one in _replays(replace(found, baseline=pools[0], candidate=pools[1])):
        assert one.ending is Ending.REVERTED
        assert one.age_us < 4 * HOUR


def test_infrastructure_that_differs_ends_invalid(case) -> None:
    infra = Guardrail(
        "infra", "infra_failure", bad=True, weight=1e-6, margin_abs=0.1, margin_rel=None, maturity_us=HOUR
    )
    found = case(
        0.3,
        guardrails=(replace(COMPLETION, weight=1 - 1e-6), infra),
        invalid_after_us=HOUR,
        alpha_revert=1e-9,
    )
    pools = [
        replace(pool, outcomes={**pool.outcomes, "infra_failure": np.arange(1000) < often})
        for pool, often in ((found.baseline, 20), (found.candidate, 120))
    ]
    endings = {one.ending for one in _replays(replace(found, baseline=pools[0], candidate=pools[1]), 4)}
    assert endings == {Ending.INVALID}


def test_a_slice_that_collapses_is_named(case) -> None:
    found = case(0.3, strata=("a", "b", "c", "d"))
    codes = np.arange(1000) % 4
    broken = found.candidate.outcomes["completed"] & (codes != 2)
    candidate = replace(found.candidate, outcomes={"completed": broken})
    slices = [name for one in _replays(replace(found, candidate=candidate)) for name in one.slices]
    assert len(slices) >= 4
    assert set(slices) == {"completion/c"}


def test_a_rate_trigger_reverts_before_the_first_run_matures(case) -> None:
    watch = Watch(RateTrigger("completion", 0.5), "completed", bad=False)
    found = case(0.95, guardrails=(replace(COMPLETION, maturity_us=48 * HOUR),))
    for one in _replays(replace(found, watches=(watch,))):
        assert one.triggered
        assert one.ending is Ending.REVERTED
        assert one.culprits == ("completion",)
        assert one.age_us < 48 * HOUR


def test_a_trigger_leaves_a_candidate_within_its_limit_alone(case) -> None:
    watch = Watch(RateTrigger("completion", 0.9), "completed", bad=False)
    found = case(0.2)
    assert _replays(replace(found, watches=(watch,)), 3) == _replays(found, 3)
