"""The page of plans beside simulations says what is known of both."""

import numpy as np

from evaluators.prospects import Until
from evaluators.simulation import Rate
from tests.study import planned


def seen(*runs):
    values = np.sort(np.array(runs, dtype=np.float64))
    there = int(np.isfinite(values).sum())
    return planned.Seen(Rate.of_counts(there, len(runs)), values, values / 10.0)


def said(runs):
    return Until(1.0, runs, None, 1.5, None)


def test_a_row_holds_both_figures_their_ratio_and_the_range_of_the_median():
    found = planned.row("a harm", said(11), seen(*range(1, 21)))
    assert "| 11 / 10 (6 to 15) | 1.10 | later / 18 |  |" in found


def test_a_release_that_never_got_there_comes_after_all_others():
    found = seen(1, 2, np.inf, np.inf, np.inf)
    assert (planned.at(found.runs, 0.4), planned.at(found.runs, 0.5)) == (2.0, np.inf)
    assert "| 3 / later (1 to later) |  |" in planned.row("a harm", said(3), found)


def test_medians_that_lie_apart_are_named_inside_the_range_or_not():
    runs = seen(*range(50, 151))
    found = planned.summed_up(
        [("near", said(110), runs), ("far", said(200), runs), ("wide", said(118), runs)]
    )
    assert found.startswith("1 of 3 medians of the plan lie within 15% of the simulated ones.")
    assert "far (outside the simulated range)" in found
    never = [("never", Until(0.0, None, None, None, None), runs), ("late", said(9), seen(*[np.inf] * 9))]
    assert planned.summed_up(never) == "0 of 0 medians of the plan lie within 15% of the simulated ones."


def test_what_plans_alone_are_made_by_changes_no_simulated_result():
    kept = [f.name for f in sorted((planned.ROOT / "evaluators").glob("*.py"))]
    walked = [name for name in kept if not name.startswith(planned.PLANS)]
    assert {"comparison.py", "replay.py", "dealing.py", "history.py"} <= set(walked)
    assert not {"planning_walk.py", "outlook.py", "prospects.py"} & set(walked)
