"""Drawing: assignment, draws and where blocks close."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import Comparison, History
from evaluators.drawing import BATCH, Case, Pool, Stream, Watch, closings
from evaluators.rules import Guardrail, Rules, Step
from lastgood.assignment import bucket
from lastgood.triggers import RateTrigger

COMPLETION = Guardrail(
    "completion", "completed", bad=False, weight=1.0, margin_abs=0.02, margin_rel=None, maturity_us=0
)
STRATA = ("a", "b", "c")


def _pool(outcomes, strata):
    return Pool(
        len(outcomes), {"completed": np.array(outcomes, dtype=np.bool_)}, np.array(strata, dtype=np.int64)
    )


@pytest.fixture
def case():
    rules = Rules(guardrails=(COMPLETION,), steps=(Step(3000),), strata=(("a", 0.5), ("b", 0.5)))
    baseline = _pool([True, True, False], [0, 0, 1])
    return Case(rules, History(), baseline, _pool([False, True], [0, 1]), ("a", "b"), 1_000_000, 0)


def _shares(n, share_bp=3000):
    return np.full(n, share_bp, dtype=np.int64)


def test_arms_are_those_of_the_published_assignment(case) -> None:
    found = Stream(case, "rel_1").candidate(0, _shares(500)).tolist()
    assert found == [bucket("rel_1", str(run)) < 3000 for run in range(500)]


def test_a_stream_is_the_same_however_it_is_asked_for(case) -> None:
    whole = Stream(case, "rel_1").runs(0, _shares(BATCH + 900))
    parts = Stream(case, "rel_1")
    cut = [parts.runs(700, _shares(BATCH + 200)), parts.runs(0, _shares(700))]
    pd.testing.assert_frame_equal(whole, pd.concat([cut[1], cut[0]], ignore_index=True))


def test_a_larger_share_only_moves_runs_to_the_candidate(case) -> None:
    stream = Stream(case, "rel_1")
    few, many = stream.candidate(0, _shares(3000, 500)), stream.candidate(0, _shares(3000, 5000))
    assert few.sum() < many.sum()
    assert (many | ~few).all()


def test_a_draw_keeps_its_recorded_stratum(case) -> None:
    runs = Stream(case, "rel_1").runs(0, _shares(2000))
    seen = set(zip(runs["arm"], runs["stratum"], runs["completed"], strict=True))
    assert seen == {
        ("baseline", "a", True), ("baseline", "b", False), ("candidate", "a", False), ("candidate", "b", True)
    }  # fmt: skip


def test_draws_are_with_replacement_and_even(case) -> None:
    runs = Stream(case, "rel_1").runs(0, _shares(9000))
    baseline = runs[runs["arm"] == "baseline"]
    assert (baseline["stratum"] == "a").mean() == pytest.approx(2 / 3, abs=0.03)


def test_runs_outside_the_listed_strata_have_none(case) -> None:
    aside = replace(case, baseline=_pool([True], [-1]), candidate=_pool([True], [-1]))
    assert Stream(aside, "rel_1").runs(0, _shares(50))["stratum"].isna().all()


@settings(max_examples=40)
@given(
    codes=st.lists(st.integers(-1, 2), min_size=1, max_size=120),
    ramp=st.integers(0, 120),
    again=st.integers(0, 120),
    size=st.integers(2, 7),
    cut=st.integers(0, 120),
    seed=st.integers(0, 5),
)
def test_blocks_close_where_the_comparison_closes_them(codes, ramp, again, size, cut, seed) -> None:
    places = np.arange(len(codes))
    share_bp = np.where(places < ramp, 1000, np.where(places < ramp + again, 5000, 6000)).astype(np.int64)
    codes = np.array(codes, dtype=np.int64)
    first, _, held = closings(codes[:cut], share_bp[:cut], size, {})
    second, shares, after = closings(codes[cut:], share_bp[cut:], size, held)
    at = [*first.tolist(), *(second + min(cut, len(codes))).tolist()]
    rules = Rules(
        guardrails=(COMPLETION,),
        steps=(Step(1000),),
        strata=tuple((name, 1 / 3) for name in STRATA),
        block_size=size,
    )
    comparison, rng = Comparison(rules, History()), np.random.default_rng(seed)
    for place in places.tolist():
        run = {
            "arm": rng.choice(["baseline", "candidate"]),
            "share": share_bp[place] / 10_000,
            "completed": True,
            "stratum": STRATA[codes[place]] if codes[place] >= 0 else None,
        }
        comparison.observe(pd.DataFrame([run]))
        assert len(comparison.path()) == sum(one <= place for one in at)
    assert {code: count for code, (count, _) in after.items() if count} == _open(codes, share_bp, size)
    assert len(shares) == len(second)


def _open(codes, share_bp, size):
    """Runs in each stratum's open block, counted one by one."""
    held: dict[int, tuple[int, int]] = {}
    for code, share in zip(codes.tolist(), share_bp.tolist(), strict=True):
        count, before = held.get(code, (0, share))
        held[code] = ((count if share == before else 0) + 1, share)
        if held[code][0] == size:
            held[code] = (0, share)
    return {code: count for code, (count, _) in held.items() if count}


def test_a_closed_block_names_its_own_share() -> None:
    share_bp = np.array([1000] * 3 + [5000] * 4, dtype=np.int64)
    at, shares, held = closings(np.zeros(7, dtype=np.int64), share_bp, 2, {})
    assert at.tolist() == [1, 3, 4, 6]
    assert shares.tolist() == [1000, 1000, 5000, 5000]
    assert held == {0: (0, 5000)}


def test_a_trigger_fires_at_the_run_that_crosses_its_line() -> None:
    watch = Watch(RateTrigger("completion", 0.5), "completed", bad=False)
    hit = watch.fires(np.zeros(60, dtype=np.bool_), (0, 0))
    assert hit is not None
    assert watch.trigger.fires(hit + 1, hit + 1)
    assert not watch.trigger.fires(hit, hit)


def test_a_trigger_goes_on_from_what_it_counted_before() -> None:
    watch = Watch(RateTrigger("completion", 0.5), "completed", bad=False)
    whole = watch.fires(np.zeros(60, dtype=np.bool_), (0, 0))
    assert watch.fires(np.zeros(60, dtype=np.bool_), (whole, whole)) == 0
    assert watch.fires(np.ones(60, dtype=np.bool_), (0, 0)) is None
