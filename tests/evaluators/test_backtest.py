"""Backtest: what is made of two recordings, and how endings are counted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evaluators.backtest import Spread, Summary, healthy, one_step, prepare, replayed, summarise
from evaluators.replay import Ending, Replay
from evaluators.rules import HOUR, Guardrail, Kind, Mode, Step, Waiver
from lastgood.errors import InvalidEvidence, InvalidRuns
from lastgood.triggers import RateTrigger


def _recording(bad, n=500, **columns):
    return pd.DataFrame({"completed": [1.0] * round(n * (1 - bad)) + [0.0] * round(n * bad), **columns})


def _summary(rules, baseline, candidate, replays=30, **options):
    prepared = prepare(rules, baseline, candidate, runs_per_day=20_000, **options)
    return summarise(list(replayed(prepared.case, replays, "candidate")))


@pytest.fixture
def rules(make_rules):
    return make_rules("completion", steps=(Step(1000),), horizon_runs=400)


def test_a_guardrail_without_data_is_set_aside_and_its_weight_shared_out(make_rules) -> None:
    prepared = prepare(make_rules(), _recording(0.1, escalated=0.0), _recording(0.1, escalated=0.0))
    weights = {guardrail.name: guardrail.weight for guardrail in prepared.case.rules.guardrails}
    assert prepared.no_data == ("validation", "incidents", "lost", "infra")
    assert weights == pytest.approx({"completion": 0.22 / 0.30, "escalation": 0.08 / 0.30})


def test_a_waiver_of_a_guardrail_without_data_goes_with_it(make_rules) -> None:
    rules = make_rules("completion", "escalation", strata=(("faq", 1.0),), steps=(Step(5000),))
    waivers = (Waiver("escalation", "faq", "known", "ana"), Waiver("completion", "faq", "known", "ana"))
    runs = _recording(0.1, stratum="faq")
    prepared = prepare(replace(rules, waivers=waivers), runs, runs)
    assert prepared.case.rules.waivers == waivers[1:]
    assert len(list(replayed(prepared.case, 1, "candidate"))) == 1


def test_a_column_of_one_variant_alone_is_no_data(make_rules) -> None:
    for arms in (
        (_recording(0.1, escalated=1.0), _recording(0.1)),
        (_recording(0.1), _recording(0.1, escalated=1.0)),
    ):
        assert prepare(make_rules("completion", "escalation"), *arms).no_data == ("escalation",)


def test_an_empty_column_is_no_data(make_rules) -> None:
    arms = _recording(0.1, escalated=1.0), _recording(0.1, escalated=np.nan)
    assert prepare(make_rules("completion", "escalation"), *arms).no_data == ("escalation",)


def test_strict_keeps_a_guardrail_without_data_and_so_never_promotes(make_rules) -> None:
    rules = make_rules("completion", "escalation", steps=(Step(5000),), horizon_runs=400)
    better = _recording(0.3), _recording(0.02)
    assert _summary(rules, *better, replays=8).promoted == 8
    found = _summary(rules, *better, replays=8, strict=True)
    assert (found.promoted, found.undecided) == (0, 8)


def test_strict_still_reverts(make_rules) -> None:
    rules = make_rules("completion", "escalation", steps=(Step(5000),), horizon_runs=400)
    assert _summary(rules, _recording(0.1), _recording(0.9), replays=8, strict=True).reverted == 8


def test_recordings_without_data_for_any_guardrail_are_refused(make_rules) -> None:
    for strict in (False, True):
        with pytest.raises(InvalidRuns, match=r"none of the policy's guardrails \(escalated, validated\)"):
            prepare(make_rules("validation", "escalation"), _recording(0.1), _recording(0.1), strict=strict)


def test_an_outcome_that_is_no_flag_is_refused(rules) -> None:
    with pytest.raises(InvalidEvidence, match="column completed"):
        prepare(rules, _recording(0.1), pd.DataFrame({"completed": [0.5]}))


def test_history_is_the_whole_recording_of_the_baseline(rules) -> None:
    case = prepare(rules, _recording(0.1), _recording(0.9)).case
    assert case.history.of(rules.guardrails[0]) == (500, 50)


def test_strata_of_the_recording_count_by_its_shares(rules) -> None:
    baseline = _recording(0.1, stratum=["faq"] * 400 + ["billing"] * 100)
    candidate = _recording(0.1, stratum=["faq"] * 250 + ["billing"] * 250)
    case = prepare(rules, baseline, candidate).case
    assert dict(case.rules.strata) == pytest.approx({"faq": 0.65, "billing": 0.35})
    assert case.history.of(rules.guardrails[0], "billing") == (100, 50)


def test_strata_that_the_policy_lists_stay_and_the_rest_is_other(rules) -> None:
    listed = replace(rules, strata=(("faq", 0.5), ("refund", 0.5)))
    runs = _recording(0.1, stratum=["faq"] * 400 + ["billing"] * 99 + [None])
    case = prepare(listed, runs, runs).case
    assert case.rules.strata == listed.strata
    assert sorted(set(case.baseline.strata.tolist())) == [-1, 0]


def test_one_stratum_is_none(rules) -> None:
    runs = _recording(0.1, stratum="faq")
    assert prepare(rules, runs, runs).case.rules.strata == ()


def test_a_key_is_no_stratum(rules) -> None:
    runs = _recording(0.1, stratum=[f"task-{number}" for number in range(500)])
    with pytest.raises(InvalidRuns, match="column stratum holds 500 different values"):
        prepare(rules, runs, runs)


def test_a_missing_outcome_is_bad_where_others_are_reported(rules) -> None:
    gaps = pd.DataFrame({"completed": [1.0, None, 0.0]})
    assert prepare(rules, gaps, gaps).case.candidate.outcomes["completed"].tolist() == [True, False, False]


def test_a_lost_run_counts_against_every_guardrail(rules) -> None:
    runs = _recording(0.0, lost=[1.0] * 100 + [0.0] * 400)
    assert prepare(rules, runs, runs).case.history.of(rules.guardrails[0]) == (500, 100)
    assert (
        _summary(rules, _recording(0.0, lost=0.0), _recording(0.0, lost=[1.0] * 450 + [0.0] * 50), 4).reverted
        == 4
    )


def test_a_repeated_unit_counts_by_its_first_run(rules) -> None:
    runs = pd.DataFrame({"completed": [1.0, 0.0, 0.0, 1.0], "unit": ["a", "a", "b", None]})
    prepared = prepare(rules, runs, _recording(0.1))
    assert prepared.repeated == 1
    assert prepared.case.baseline.outcomes["completed"].tolist() == [True, False, True]


def test_advice_is_replayed_as_if_it_were_followed(rules) -> None:
    advised = replace(rules, mode=Mode.ADVISE)
    assert _summary(advised, _recording(0.1), _recording(0.9), 4).reverted == 4


def test_one_step_replaces_the_steps_and_their_times(rules) -> None:
    assert one_step(replace(rules, steps=(Step(500, 20, HOUR, 3.0), Step(5000))), 1500).steps == (Step(1500),)


def test_only_triggers_of_recorded_metrics_are_replayed(rules) -> None:
    triggers = (RateTrigger("completion", 0.5), RateTrigger("escalation", 0.5))
    case = prepare(rules, _recording(0.1), _recording(0.9), triggers=triggers).case
    assert [(watch.column, watch.bad) for watch in case.watches] == [("completed", False)]


def test_triggers_that_fired_are_counted_apart(rules) -> None:
    slow = replace(rules, guardrails=(replace(rules.guardrails[0], maturity_us=48 * HOUR),))
    found = _summary(slow, _recording(0.1), _recording(0.95), 5, triggers=(RateTrigger("completion", 0.5),))
    assert found.triggers == {"completion": 5}


def test_the_same_seed_gives_the_same_replays_and_another_gives_others(rules) -> None:
    arms = _recording(0.3), _recording(0.5)
    first, again, other = (_summary(rules, *arms, 12, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_more_replays_begin_with_the_same_ones(rules) -> None:
    case = prepare(rules, _recording(0.3), _recording(0.5), runs_per_day=20_000).case
    assert list(replayed(case, 3, "candidate")) == list(replayed(case, 5, "candidate"))[:3]


def test_a_catastrophe_is_reverted_after_a_few_candidate_runs(rules) -> None:
    found = _summary(rules, _recording(0.56), _recording(0.94), 60)
    assert found.reverted >= 58
    assert found.candidate_runs.median <= 25
    assert found.culprits == {"completion": found.reverted}


def test_the_baseline_against_itself_is_disturbed_within_alpha(rules) -> None:
    alpha, replays = 0.05, 100
    case = prepare(
        replace(rules, horizon_runs=250), _recording(0.56), _recording(0.94), runs_per_day=50_000
    ).case
    found = summarise(list(replayed(healthy(case), replays, "healthy")))
    assert found.reverted <= replays * alpha + 2.6 * np.sqrt(replays * alpha * (1 - alpha))
    assert found.promoted + found.undecided >= 0.85 * replays


def test_endings_are_counted_and_runs_are_those_of_decided_replays() -> None:
    found = summarise(
        [
            Replay(Ending.REVERTED, 10, 12, 2 * HOUR - 1, 0, ("completion", "lost"), ("completion/faq",)),
            Replay(Ending.REVERTED, 30, 33, 5 * HOUR, 0, ("completion",), triggered=True),
            Replay(Ending.PROMOTED, 200, 210, 50 * HOUR, 1),
            Replay(Ending.UNDECIDED, 5000, 5000, 300 * HOUR, 1),
            Replay(Ending.INVALID, 7, 7, HOUR, 0),
        ]
    )
    assert (found.replays, found.promoted, found.reverted, found.undecided, found.invalid) == (5, 1, 2, 1, 1)
    assert found.candidate_runs == Spread(30, 200)
    assert (found.promoted_runs, found.reverted_runs) == (Spread(200, 200), Spread(10, 30))
    assert (found.served, found.hours) == (Spread(33, 210), Spread(5, 50))
    assert (found.culprits, found.slices) == ({"completion": 2, "lost": 1}, {"completion/faq": 1})
    assert found.triggers == {"completion": 1}
    assert 0.4 < found.reverted_upper < 0.9


def test_nothing_decided_has_no_spread() -> None:
    found = summarise([Replay(Ending.UNDECIDED, 5000, 5000, HOUR, 1)])
    assert isinstance(found, Summary)
    assert found.to_json()["candidate_runs"] == {"median": None, "p90": None}


def _costs(mean, n=500, *, silent=0):
    cost = np.random.default_rng(n).lognormal(np.log(mean), 0.6, n)
    cost[:silent] = np.nan
    return _recording(0.1, n, cost_usd=cost)


@pytest.fixture
def priced(make_rules):
    """Completion, and cost per completed run."""
    rules = make_rules("completion", steps=(Step(5000),), horizon_runs=1_500)
    done = replace(rules.guardrails[0], weight=0.5, margin_abs=0.2)
    cost = Guardrail("cost", "cost_usd", True, 0.5, None, 0.5, done.maturity_us, kind=Kind.RATIO, unit="USD")
    return replace(rules, guardrails=(done, cost))


def test_a_dearer_candidate_is_reverted_by_its_cost(priced) -> None:
    found = _summary(priced, _costs(0.1), _costs(0.3), replays=8)
    assert found.reverted == 8
    assert set(found.culprits) == {"cost"}


def test_a_candidate_of_the_same_cost_is_promoted_or_left(priced) -> None:
    found = _summary(priced, _costs(0.1), _costs(0.1), replays=8)
    assert found.promoted >= 6


def test_an_amount_that_was_not_reported_stays_unknown(priced) -> None:
    case = prepare(priced, _costs(0.1, silent=30), _costs(0.1)).case
    assert np.isnan(case.baseline.outcomes["cost_usd"]).sum() == 30
    assert case.baseline.outcomes["completed"].dtype == np.bool_


def test_amounts_that_fix_no_scale_are_no_data(priced) -> None:
    prepared = prepare(priced, _recording(0.1, cost_usd=0.0), _recording(0.1, cost_usd=0.2))
    assert prepared.no_data == ("cost",)


def test_a_ratio_whose_denominator_nobody_watches_is_judged_all_the_same(priced) -> None:
    alone = replace(priced, guardrails=(replace(priced.guardrails[1], weight=1.0),))
    assert _summary(alone, _costs(0.1), _costs(0.3), replays=4).reverted == 4
