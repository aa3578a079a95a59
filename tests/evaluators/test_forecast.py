import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import Comparison, History
from evaluators.forecast import TIMES, first_time
from evaluators.mixture import BET_PRIOR, log_mean_exp

LONG = History.from_counts({"completion": (20_000, 1_600)})


@pytest.fixture
def said(make_rules, draw):
    def say(n, **options):
        comparison = Comparison(make_rules("completion", alpha_revert=1e-9), LONG)
        comparison.observe(draw(n, 3, share=0.5, **options))
        return comparison.verdict().guardrail("completion")

    return say


def test_runs_still_needed_to_pass_are_about_those_it_then_takes(said):
    early = said(250, harm={"completed": 0.05})
    needed = early.n_c + early.runs_to_pass
    assert not early.crossed
    assert said(int(2 * needed * 1.6), harm={"completed": 0.05}).crossed


def test_a_passed_guardrail_needs_no_more_runs(said):
    assert said(6_000, harm={"completed": 0.02}).runs_to_pass == 0


def test_what_gets_worse_will_not_pass_and_is_told_when_it_reverts(said):
    found = said(100, harm={"completed": 0.2})
    assert found.runs_to_pass is None
    assert 0 < found.runs_to_fail < 1_000


def test_without_runs_nothing_is_foretold(make_rules):
    found = Comparison(make_rules("completion"), LONG).verdict().guardrail("completion")
    assert (found.runs_to_pass, found.runs_to_fail) == (None, None)
    assert np.isfinite([found.low, found.high]).all()


@given(
    st.lists(st.floats(-3.0, 0.5), min_size=24, max_size=24).map(np.array),
    st.floats(0.1, 20.0),
    st.integers(1, 10_000),
)
def test_the_time_that_is_hunted_for_is_the_first_of_all(bet, line, runs):
    def reached(times):
        return log_mean_exp(BET_PRIOR, bet * times[:, None]) >= line

    every = reached(TIMES)
    first = int(np.argmax(every))
    wanted = int(np.ceil(runs * (TIMES[first] - 1.0))) if every.any() else None
    assert first_time(reached, runs) == wanted
