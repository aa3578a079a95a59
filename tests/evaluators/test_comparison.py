import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import Comparison, Decision, History, Word
from evaluators.blocks import BlockCounts
from evaluators.mixture import BET_PRIOR, log_mean_exp
from evaluators.path import ASSIGNED
from evaluators.rules import Step
from lastgood.errors import InvalidEvidence, InvalidPolicy, OutdatedEvidence

LONG = History.from_counts(
    {
        "completion": (20_000, 1_600),
        "validation": (20_000, 600),
        "incidents": (20_000, 100),
        "escalation": (20_000, 1_200),
        "lost": (20_000, 0),
        "infra": (20_000, 0),
    }
)
STRATA = (("a", 0.5), ("b", 0.5))


def watched(rules, *frames):
    comparison = Comparison(rules, LONG)
    for frame in frames:
        comparison.observe(frame)
    return comparison


@pytest.fixture
def rules(make_rules):
    return make_rules()


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 600), max_size=4), seed=st.integers(0, 50), ramp=st.booleans())
def test_chunks_of_runs_are_bit_for_bit_all_runs_at_once(make_rules, draw, cuts, seed, ramp):
    rules = make_rules("completion", "escalation", "lost", "infra", strata=STRATA, alpha_revert=1e-9)
    runs = draw(600, seed, share=0.3, lost=0.05, infra=0.05).astype({"completed": object})
    rng = np.random.default_rng(seed)
    runs["stratum"] = rng.choice(["a", "b", "c"], 600)
    runs["unit"] = rng.integers(0, 400, 600)
    runs.loc[runs.index % 17 == 3, "completed"] = None
    if ramp:
        runs.loc[300:, "share"] = 0.5
    edges = [0, *sorted(cuts), 600]
    whole = watched(rules, runs)
    parts = watched(rules, *(runs.iloc[a:b] for a, b in pairwise(edges)))
    assert parts.to_json() == whole.to_json()
    pd.testing.assert_frame_equal(parts.path(), whole.path())


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 600), max_size=4), seed=st.integers(0, 50), units=st.booleans())
def test_a_reverted_release_says_the_same_however_its_runs_were_cut(make_rules, draw, cuts, seed, units):
    rules = make_rules("completion", "escalation", strata=STRATA, block_size=30)
    runs = draw(600, seed, share=0.4, harm={"completed": 0.5})
    rng = np.random.default_rng(seed)
    runs["stratum"] = rng.choice(["a", "b", "c"], 600)
    if units:
        runs["unit"] = rng.integers(0, 400, 600)
    edges = [0, *sorted(cuts), 600]
    whole = watched(rules, runs)
    parts = watched(rules, *(runs.iloc[a:b] for a, b in pairwise(edges)))
    assert whole.verdict().decision == Decision.REVERT
    assert whole.verdict().assigned < 600
    assert parts.verdict() == whole.verdict()
    pd.testing.assert_frame_equal(parts.path(), whole.path())


def test_runs_and_blocks_of_the_same_release_agree(rules, draw, block):
    runs = draw(400, 3, share=0.2)
    by_runs = watched(rules, runs)
    arm, names = runs["arm"] == "candidate", [g.name for g in rules.guardrails]
    blocks = {name: [] for name in (*names, ASSIGNED)}
    for number in range(20):
        part = slice(20 * number, 20 * number + 20)
        c = arm[part].to_numpy()
        for g in rules.guardrails:
            bad = (runs[g.column][part] == g.bad).to_numpy()
            counts = (int(c.sum()), int(bad[c].sum()), int((~c).sum()), int(bad[~c].sum()))
            blocks[g.name].append(block(number, *counts, share_bp=2000))
        blocks[ASSIGNED].append(block(number, int(c.sum()), 0, int((~c).sum()), 0, share_bp=2000))
    by_blocks = Comparison(rules, LONG)
    for number in range(0, 20, 5):
        by_blocks.observe_blocks({name: rows[number : number + 5] for name, rows in blocks.items()})
    assert by_blocks.verdict() == by_runs.verdict()
    assert len(by_blocks.path()) == 4


def test_the_path_has_a_row_a_closed_block_and_ends_as_the_verdict(rules, draw):
    comparison = watched(rules, draw(415, 1))
    path, verdict = comparison.path(), comparison.verdict()
    assert path["assigned"].tolist() == list(range(20, 401, 20))
    assert path["decision"].iloc[-1] == verdict.decision
    assert {"candidate", "family", "harm:completion", "promote:lost", "gate:0"} <= set(path.columns)
    assert verdict.assigned == 415


def test_a_path_without_looks_is_empty(rules):
    assert len(Comparison(rules, LONG).path()) == 0


def test_a_collapse_is_reverted_by_name_and_ends_the_comparison(rules, draw):
    comparison = watched(rules, draw(2_000, 2, harm={"completed": 0.9}))
    verdict = comparison.verdict()
    assert verdict.decision is Decision.REVERT
    assert verdict.culprits[0] == "completion"
    assert verdict.guardrail("completion").word is Word.FAIL
    assert verdict.log_family >= verdict.log_line
    assert verdict.candidate_runs < 20
    before = comparison.to_json()
    comparison.observe(draw(500, 9))
    assert comparison.to_json() == before
    assert comparison.path()["decision"].tolist().count("revert") == 1


def test_an_open_block_can_revert(make_rules, draw):
    rules = make_rules("completion", block_size=5_000)
    verdict = watched(rules, draw(1_000, 2, harm={"completed": 0.9})).verdict()
    assert verdict.decision is Decision.REVERT
    assert not verdict.guardrail("completion").crossed


def test_a_better_candidate_is_promoted(rules, draw):
    better = {"completed": 0.02, "validated": 0.005, "escalated": 0.01, "incidents": 0.0005}
    verdict = watched(rules, draw(12_000, 11, share=0.3, harm=better)).verdict()
    assert verdict.decision is Decision.PROMOTE
    assert {g.word for g in verdict.guardrails} == {Word.PASS}
    assert verdict.gates == (True,)
    assert verdict.guardrail("completion").high < 0.0


def test_early_gates_open_before_the_last(make_rules, draw):
    rules = make_rules("completion", "validation", steps=(Step(3000, rule_out=3.0), Step(3000)))
    path = watched(rules, draw(30_000, 12, share=0.3)).path()
    assert path["gate:1"].any()
    assert path["gate:0"].idxmax() < path["gate:1"].idxmax()


@pytest.mark.parametrize("column", ["completed", "incidents", "lost", "infra_failure"])
def test_a_guardrail_without_data_never_promotes(rules, draw, column):
    better = {"completed": 0.0, "validated": 0.0, "escalated": 0.0, "incidents": 0.0}
    runs = draw(6_000, 6, share=0.5, harm=better)
    runs = runs.assign(**{column: None}) if column == "completed" else runs.drop(columns=column)
    comparison = watched(rules, runs)
    name = next(g.name for g in rules.guardrails if g.column == column)
    assert comparison.verdict().guardrail(name).word is Word.NO_DATA
    assert "promote" not in set(comparison.path()["decision"])


def test_nothing_but_infrastructure_failures_never_promotes(rules, draw):
    verdict = watched(rules, draw(3_000, 7, share=0.5, infra=1.0)).verdict()
    assert verdict.decision is Decision.HOLD
    assert verdict.guardrail("completion").word is Word.NO_DATA


def test_no_runs_hold(rules):
    verdict = Comparison(rules, LONG).verdict()
    assert verdict.decision is Decision.HOLD
    assert {g.word for g in verdict.guardrails} == {Word.NO_DATA}


def test_lost_candidate_runs_revert(rules, draw):
    runs = draw(3_000, 8)
    runs.loc[(runs["arm"] == "candidate") & (runs.index % 2 == 0), "lost"] = True
    verdict = watched(rules, runs).verdict()
    assert verdict.decision is Decision.REVERT


def test_silent_outcomes_count_as_bad(make_rules, draw):
    runs = draw(3_000, 8).astype({"completed": object})
    runs.loc[(runs["arm"] == "candidate") & (runs.index % 2 == 0), "completed"] = None
    assert watched(make_rules("completion"), runs).verdict().decision is Decision.REVERT


def test_a_wrong_share_makes_the_evidence_invalid_and_holds(rules, draw):
    better = {"completed": 0.02, "validated": 0.005, "escalated": 0.01, "incidents": 0.0005}
    verdict = watched(rules, draw(12_000, 4, share=0.3, harm=better).assign(share=0.25)).verdict()
    assert verdict.decision is Decision.HOLD
    assert not verdict.valid
    assert verdict.guardrail("completion").word is Word.INVALID


def test_infrastructure_harm_is_invalid_and_no_revert_by_itself(make_rules, draw):
    rules = make_rules(alpha_revert=1e-6)
    runs = draw(1_500, 4)
    runs.loc[(runs["arm"] == "candidate") & (runs.index % 8 == 0), "infra_failure"] = True
    path = watched(rules, runs).path()
    assert not path["valid"].all()
    first = path.loc[~path["valid"]].iloc[0]
    assert (first["decision"], first["mismatch"] < 3.0) == ("hold", True)


def test_short_history_without_a_reference_leaves_a_guardrail_undecided(make_rules, draw):
    rules = make_rules("completion")
    comparison = Comparison(rules, History.from_counts({"completion": (300, 25)}))
    comparison.observe(draw(9_000, 4, share=0.5))
    found = comparison.verdict().guardrail("completion")
    assert (found.word, found.crossed) == (Word.UNDECIDED, False)
    assert "25 bad runs of 300" in found.reason


def test_repeated_units_are_half_their_first_runs_and_half_all_runs_tempered(make_rules, draw):
    runs, rules = draw(900, 4, share=0.3), make_rules("completion", block_size=900)
    unit = np.arange(900) // 3
    runs["arm"] = runs["arm"].iloc[::3].repeat(3).to_numpy()
    runs["completed"] = runs["completed"].iloc[::3].repeat(3).to_numpy()
    exact = watched(rules, runs.iloc[::3]).verdict().guardrail("completion").log_e_harm
    single = Comparison(rules, LONG)
    single.observe(runs)
    bets = single._evidence["completion"].every.bet
    deff = 3.0  # three equal runs a unit say as much as one
    tempered = float(log_mean_exp(BET_PRIOR, bets / deff))
    found = watched(rules, runs.assign(unit=unit)).verdict().guardrail("completion")
    assert found.design_effect == pytest.approx(deff)
    assert found.log_e_harm == pytest.approx(np.logaddexp(exact, tempered) - np.log(2.0))


def test_units_that_never_repeat_change_nothing(make_rules, draw):
    runs, rules = draw(900, 4), make_rules("completion", "validation")
    named = watched(rules, runs.assign(unit=np.arange(900)))
    assert named.verdict() == watched(rules, runs).verdict()


def test_the_mismatch_counts_units_and_not_their_runs(make_rules, draw):
    """Half of the canary's units come ten times: the runs do not fit the share, the units do."""
    runs = draw(4_000, 5).assign(unit=np.arange(4_000))
    again = runs[(runs["arm"] == "candidate") & (runs.index % 2 == 0)]
    busy = pd.concat([runs, *([again] * 9)], ignore_index=True)
    rules = make_rules("completion", alpha_revert=1e-9)
    assert watched(rules, busy).verdict().valid
    assert not watched(rules, busy.drop(columns="unit")).verdict().valid


def test_evidence_survives_json_and_goes_on(rules, draw):
    first, second = draw(333, 1), draw(500, 2)
    stored = json.loads(json.dumps(watched(rules, first).to_json()))
    again = Comparison.from_json(rules, LONG, stored)
    again.observe(second)
    assert again.verdict() == watched(rules, first, second).verdict()


def test_a_verdict_is_plain_json(rules, draw):
    plain = json.loads(json.dumps(watched(rules, draw(333, 1)).verdict().to_json()))
    assert plain["decision"] == "hold"
    assert plain["guardrails"][0]["word"] == "undecided"


def test_evidence_of_other_rules_is_refused(rules, draw):
    stored = watched(rules, draw(100, 1)).to_json()
    wider = replace(rules, guardrails=tuple(replace(g, margin_abs=0.1) for g in rules.guardrails))
    with pytest.raises(InvalidEvidence, match="other rules"):
        Comparison.from_json(wider, LONG, stored)


def test_evidence_of_another_version_is_told_from_what_cant_be_read(rules):
    stored = {**Comparison(rules, LONG).to_json(), "version": 1}
    with pytest.raises(OutdatedEvidence, match="of version 1"):
        Comparison.from_json(rules, LONG, stored)


@pytest.mark.parametrize("broken", [{}, {"guardrails": {}}, {"assigned": 3}])
def test_evidence_that_cant_be_read_is_refused(rules, broken):
    stored = {**Comparison(rules, LONG).to_json(), **broken} if broken else {}
    with pytest.raises(InvalidEvidence, match="can't be read"):
        Comparison.from_json(rules, LONG, stored)


def test_a_copy_goes_its_own_way(rules, draw):
    comparison = watched(rules, draw(300, 1))
    before = comparison.verdict()
    comparison.copy().observe(draw(300, 2))
    assert comparison.verdict() == before


def test_bad_runs_change_nothing(rules, draw):
    comparison = watched(rules, draw(300, 1))
    before = comparison.to_json()
    for wrong in ({"completed": -1}, {"arm": "canary"}, {"share": 2.0}):
        with pytest.raises(InvalidEvidence):
            comparison.observe(draw(40, 2).assign(**wrong))
    with pytest.raises(InvalidEvidence, match="no column completed any more"):
        comparison.observe(draw(40, 2).drop(columns="completed"))
    assert comparison.to_json() == before


def test_bad_blocks_change_nothing(make_rules, block):
    rules = make_rules("completion", "validation")
    comparison = Comparison(rules, LONG)
    good = {name: [block(4, 2, 0, 18, 1)] for name in ("completion", "validation")}
    comparison.observe_blocks(good)
    before = comparison.to_json()
    late = {"completion": [block(5, 2, 0, 18, 1)]}
    for wrong, message in (
        (good, "block 4 .*column block"),
        ({"cost": [block(5, 2, 0, 18, 1)]}, "'cost' is not in the policy; it has completion, validation"),
        (late, "validation has data from earlier blocks but none of block 5"),
        ({**late, "validation": [block(6, 2, 0, 18, 1)]}, "validation: block 6, column block"),
    ):
        with pytest.raises(InvalidEvidence, match=message):
            comparison.observe_blocks(wrong)
    assert comparison.to_json() == before


def test_an_open_block_is_replaced_and_then_closed(make_rules, block):
    rules = make_rules("completion")
    comparison = Comparison(rules, LONG)
    for counts, closed in (((1, 0, 4, 0), False), ((1, 0, 9, 1), False), ((2, 1, 18, 1), True)):
        comparison.observe_blocks({"completion": [block(0, *counts, closed=closed)]})
    once = Comparison(rules, LONG)
    once.observe_blocks({"completion": [block(0, 2, 1, 18, 1)]})
    assert comparison.verdict() == once.verdict()


def test_a_revert_does_not_depend_on_how_blocks_were_sent(make_rules, block):
    rules = make_rules("completion")
    blocks = [block(0, 6, 6, 14, 1), *(block(i, 10, 0, 10, 10) for i in range(1, 6))]
    together, single = Comparison(rules, LONG), Comparison(rules, LONG)
    together.observe_blocks({"completion": blocks})
    for one in blocks:
        single.observe_blocks({"completion": [one]})
    assert together.verdict().decision is Decision.REVERT
    assert together.verdict() == single.verdict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": ()}, "at least one step"),
        ({"alpha_revert": 0.0}, "alpha_revert"),
        ({"block_size": 0}, "block"),
        ({"strata": (("a", 0.4),)}, "stratum weights"),
        ({"guardrails": ()}, "guardrail weights"),
    ],
)
def test_rules_that_cant_be_used_are_refused(rules, change, message):
    with pytest.raises(InvalidPolicy, match=message):
        Comparison(replace(rules, **change), LONG)


def test_guardrails_of_one_name_are_refused(rules):
    twice = tuple(replace(g, name="completion") for g in rules.guardrails)
    with pytest.raises(InvalidPolicy, match="names must differ"):
        Comparison(replace(rules, guardrails=twice), LONG)


def test_the_package_gives_its_public_names_and_no_others():
    import evaluators

    assert all(hasattr(evaluators, name) for name in evaluators.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluators.nothing


def test_an_estimate_shows_what_was_seen_before_a_block_closed(make_rules):
    rules = make_rules()
    comparison = Comparison(rules, History())
    name = rules.guardrails[0].name
    comparison.observe_blocks({name: [BlockCounts("all", 0, 1000, 4, 4, 16, 0, closed=False)]})
    found = comparison.verdict().guardrail(name)
    assert found.low <= found.estimate <= found.high
    assert found.estimate > 80


def test_what_the_candidate_alone_reports_proves_nothing(make_rules):
    rules = make_rules("completion", "validation", references=(("validation", 0.05),))
    rng = np.random.default_rng(5)
    candidate = rng.random(3_000) < 0.5
    runs = pd.DataFrame(
        {
            "arm": np.where(candidate, "candidate", "baseline"),
            "share": 0.5,
            "completed": rng.random(3_000) < 0.92,
            "validated": np.where(candidate, (rng.random(3_000) < 0.7).astype(float), np.nan),
        }
    )
    comparison = Comparison(rules, History(pd.DataFrame({"completed": rng.random(5_000) < 0.92})))
    comparison.observe(runs)
    verdict = comparison.verdict()
    assert (verdict.decision, verdict.guardrail("validation").word) == (Decision.HOLD, Word.NO_DATA)
