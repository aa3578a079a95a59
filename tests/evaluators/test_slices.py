"""Harm in one slice: what the policy says about it, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators import Comparison, Decision, History, Word
from evaluators.references import margin
from evaluators.rules import OnHarm, Waiver
from lastgood.errors import InvalidEvidence, InvalidPolicy

LONG = History.from_counts(
    {"completion": (20_000, 11_000)},
    {"act": {"completion": (18_000, 10_900)}, "rest": {"completion": (2_000, 40)}},
)
EVEN = History.from_counts(
    {"completion": (20_000, 2_000)},
    {name: {"completion": (10_000, 1_000)} for name in ("act", "rest")},
)


@pytest.fixture
def rules(make_rules):
    return make_rules("completion", strata=(("act", 0.8), ("rest", 0.2)))


@pytest.fixture
def parser_fix(draw):
    """The real case: success .41 -> .73 overall, and .98 -> .62 in the slice that should not act."""

    def make(n=1_500, seed=4):
        runs, rng = draw(n, seed, share=0.5), np.random.default_rng([seed, 1])
        rest, ours = rng.random(n) < 0.1, (runs["arm"] == "candidate").to_numpy()
        good = np.where(rest, np.where(ours, 0.62, 0.98), np.where(ours, 0.74, 0.35))
        return runs.assign(completed=rng.random(n) < good, stratum=np.where(rest, "rest", "act"))

    return make


def judged(rules, runs):
    comparison = Comparison(rules, LONG)
    comparison.observe(runs)
    return comparison.verdict()


def test_harm_in_one_slice_reverts_and_is_said_to_be_in_it_alone(rules, parser_fix):
    verdict = judged(rules, parser_fix())
    found = verdict.guardrail("completion")
    assert (verdict.decision, found.harmed, found.harmed_alone) == (Decision.REVERT, ("rest",), True)
    assert "harm in one slice only: rest (reverts)" in found.reason


def test_a_slice_that_holds_keeps_a_better_candidate_from_promotion(rules, parser_fix):
    verdict = judged(replace(rules, on_harm=(("rest", OnHarm.HOLD),)), parser_fix())
    found = verdict.guardrail("completion")
    assert (verdict.decision, verdict.held_by_slice, found.word) == (Decision.HOLD, True, Word.PASS)
    assert "rest (holds the release)" in found.reason


def test_a_slice_that_is_only_reported_is_said_and_does_nothing(rules, parser_fix):
    verdict = judged(replace(rules, on_harm=(("rest", OnHarm.REPORT),)), parser_fix())
    assert verdict.decision is Decision.PROMOTE
    assert "rest (is only reported)" in verdict.guardrail("completion").reason


def test_a_waived_trade_is_promoted_with_its_approver_named(rules, parser_fix):
    waiver = Waiver("completion", "rest", "the old parser guessed", "ann")
    verdict = judged(replace(rules, waivers=(waiver,)), parser_fix())
    assert verdict.decision is Decision.PROMOTE
    assert "accepted beforehand by ann: the old parser guessed" in verdict.guardrail("completion").reason


def test_a_waiver_covers_its_guardrail_alone(make_rules, parser_fix):
    rules = make_rules("completion", "validation", strata=(("act", 0.8), ("rest", 0.2)))
    waived = replace(rules, waivers=(Waiver("validation", "rest", "r", "ann"),))
    assert judged(waived, parser_fix()).decision is Decision.REVERT


@pytest.fixture
def harmed(draw):
    """A candidate at half of the baseline's success in some slices; `rest` has half of the runs."""

    def make(*slices, n=3_000, seed=6, elsewhere=0.9):
        runs, rng = draw(n, seed, share=0.5), np.random.default_rng([seed, 1])
        stratum = np.where(rng.random(n) < 0.5, "rest", "act")
        ours = (runs["arm"] == "candidate").to_numpy()
        good = np.where(ours, np.where(np.isin(stratum, slices), 0.45, elsewhere), 0.9)
        return runs.assign(stratum=stratum, completed=rng.random(n) < good)

    return make


QUIET = (("act", OnHarm.REPORT), ("rest", OnHarm.HOLD))


@pytest.mark.parametrize("every_run", [False, True])
def test_harm_to_the_whole_reverts_whatever_its_slices_do(rules, harmed, every_run):
    comparison = Comparison(replace(rules, on_harm=QUIET), LONG)
    comparison.observe(harmed("act", "rest"), every_run=every_run)
    assert comparison.verdict().decision is Decision.REVERT


@pytest.mark.parametrize("every_run", [False, True])
@pytest.mark.parametrize("where", ["act", "rest"])
def test_a_quiet_slice_that_makes_half_of_the_whole_worse_does_not_revert(rules, harmed, where, every_run):
    comparison = Comparison(replace(rules, on_harm=QUIET), LONG)
    comparison.observe(harmed(where), every_run=every_run)
    found = comparison.verdict()
    assert found.decision is Decision.HOLD
    assert (found.guardrail("completion").harmed, found.guardrail("completion").harmed_alone) == (
        (where,),
        True,
    )


@pytest.mark.parametrize("cut", [1, 37, 3_000])
def test_a_waived_slice_that_makes_half_of_the_whole_worse_neither_reverts_nor_keeps_from_promotion(
    rules, harmed, cut
):
    waived = replace(rules, waivers=(Waiver("completion", "rest", "a known trade", "ann"),))
    comparison = Comparison(waived, EVEN)
    runs = harmed("rest", n=6_000 if cut > 1 else 800, elsewhere=0.92)
    for start in range(0, len(runs), cut):
        comparison.observe(runs.iloc[start : start + cut])
    verdict = comparison.verdict()
    assert not (comparison.path()["decision"] == "revert").any()
    assert verdict.decision is (Decision.PROMOTE if cut > 1 else Decision.HOLD)
    found = verdict.guardrail("completion")
    assert found.n_c + found.n_b == int((runs["stratum"] == "act").sum())  # the others are not judged


def test_harm_beside_a_waived_slice_reverts(rules, harmed):
    waived = replace(rules, waivers=(Waiver("completion", "rest", "a known trade", "ann"),))
    assert judged(waived, harmed("act")).decision is Decision.REVERT


def test_a_guardrail_that_is_waived_in_all_that_comes_has_no_data_and_never_passes(rules, harmed):
    waivers = tuple(Waiver("completion", name, "a known trade", "ann") for name in ("act", "rest"))
    verdict = judged(replace(rules, waivers=waivers), harmed())
    assert (verdict.decision, verdict.guardrail("completion").word) == (Decision.HOLD, Word.NO_DATA)


def test_a_margin_beside_a_waived_slice_is_measured_at_the_rate_of_the_other_runs(rules):
    waived = replace(rules, waivers=(Waiver("completion", "act", "a known trade", "ann"),))
    guardrail = rules.guardrails[0]
    found, whole = margin(guardrail, waived, LONG), margin(guardrail, rules, LONG)
    assert found.reference == pytest.approx(0.0588, abs=1e-4)  # 100 bad of the 2,000 others, upper bound
    assert whole.reference == pytest.approx(0.556, abs=1e-3)


def test_a_waiver_is_said_where_its_slice_is_not_harmed(rules, draw):
    waived = replace(rules, waivers=(Waiver("completion", "rest", "a known trade", "ann"),))
    found = judged(waived, draw(400, 2).assign(stratum="act")).guardrail("completion")
    assert "slice rest is not judged (was accepted beforehand by ann: a known trade)" in found.reason


def test_evidence_of_other_waivers_is_refused(rules, harmed):
    waived = replace(rules, waivers=(Waiver("completion", "rest", "a known trade", "ann"),))
    comparison = Comparison(waived, LONG)
    comparison.observe(harmed("rest", n=200))
    kept = comparison.to_json()
    assert Comparison.from_json(waived, LONG, kept).verdict() == comparison.verdict()
    with pytest.raises(InvalidEvidence, match="under other rules"):
        Comparison.from_json(rules, LONG, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"on_harm": (("nowhere", OnHarm.HOLD),)}, "on_harm names slice 'nowhere'"),
        ({"waivers": (Waiver("completion", "nowhere", "r", "a"),)}, "waiver of completion in nowhere"),
    ],
)
def test_slices_that_are_not_listed_are_refused(rules, change, message):
    with pytest.raises(InvalidPolicy, match=message):
        Comparison(replace(rules, **change), LONG)
