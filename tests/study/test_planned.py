"""The page of plans beside simulations says what is known of both."""

from dataclasses import replace

import numpy as np
import pytest

from config.policy import Policy
from evaluators.planning_harms import Harm
from evaluators.prospects import Until
from evaluators.simulation import Rate, Story
from evaluators.streams import Population
from tests.study import planned


def seen(*runs):
    values = np.sort(np.array(runs, dtype=np.float64))
    there = int(np.isfinite(values).sum())
    return planned.Seen(Rate.of_counts(there, len(runs)), values, values / 10.0)


def said(runs):
    return Until(1.0, runs, None, 1.5, None)


def beside(plan, found, *, label="a harm", bound=0.15, block=2.0):
    return planned.Beside(label, said(plan), found, bound, block)


def test_a_row_holds_both_figures_their_ratio_and_the_range_of_the_median():
    found = planned.row(beside(11, seen(*range(1, 21))))
    assert "| 11 / 10 (6 to 15) | 1.10 | later / 18 |  |" in found


def test_a_release_that_never_got_there_comes_after_all_others():
    found = seen(1, 2, np.inf, np.inf, np.inf)
    assert (planned.at(found.runs, 0.4), planned.at(found.runs, 0.5)) == (2.0, np.inf)
    assert "| 3 / later (1 to later) |  |" in planned.row(beside(3, found))


#: a median of 100, known to 97 and 103; the same known to 70 and 130
SHARP, BLUNT = np.linspace(50, 150, 1_001), np.linspace(0, 200, 41)


@pytest.mark.parametrize(
    ("plan", "runs", "bound", "word"),
    [
        (110, SHARP, 0.15, "yes"),
        (120, SHARP, 0.15, "outside"),
        (120, SHARP, 0.25, "yes"),
        (100, BLUNT, 0.15, "not known"),
        (120, BLUNT, 0.15, "not known"),
        (200, BLUNT, 0.15, "outside"),
        (None, SHARP, 0.15, "outside"),
        (None, [np.inf] * 9, 0.15, ""),
        (9, [np.inf] * 9, 0.15, "outside"),
        (6, [5] * 99, 0.15, "yes"),
        (8, [5] * 99, 0.15, "outside"),
    ],
)
def test_a_verdict_knows_its_bound_the_range_and_a_block(plan, runs, bound, word):
    assert beside(plan, seen(*runs), bound=bound).verdict == word


def test_medians_that_lie_apart_are_named_with_their_ratio():
    found = planned.summed_up(
        [
            beside(110, seen(*SHARP), label="near"),
            beside(200, seen(*SHARP), label="far"),
            beside(120, seen(*BLUNT), label="wide"),
            beside(None, seen(*[np.inf] * 9), label="never"),
        ]
    )
    assert found == (
        "1 of 3 medians of the plan lie within their bound of the simulated ones."
        " Outside: far (2.00). Not known: wide (1.20)."
    )


def test_a_harm_of_few_points_has_the_wider_bound_and_an_amount_never():
    rules = Policy.builtin("default").rules()
    for name, size, bound in (("lost", 0.01, 0.25), ("lost", 0.04, 0.15), ("cost", 0.02, 0.15)):
        assert planned.bound_of(rules, Harm(name, "", size)) == bound


def test_what_plans_alone_are_made_by_changes_no_simulated_result():
    kept = [f.name for f in sorted((planned.ROOT / "evaluators").glob("*.py"))]
    walked = [name for name in kept if not name.startswith(planned.PLANS)]
    assert {"comparison.py", "replay.py", "dealing.py", "history.py"} <= set(walked)
    assert not {"planning_walk.py", "outlook.py", "prospects.py"} & set(walked)


def test_a_harm_of_another_size_is_another_story():
    base = Population()
    one, other = (Story("harm", "lost", "more", "", replace(base, lost=rate)) for rate in (0.01, 0.02))
    assert planned.told_apart(one) == planned.told_apart(replace(one, words="said otherwise"))
    assert planned.told_apart(one) != planned.told_apart(other)
