"""Simulation of a policy: its operating characteristics, with fixed seeds."""

from dataclasses import replace

import pytest
from scipy.stats import binom, binomtest

from evaluators import simulation
from evaluators.replay import Ending, Replay
from evaluators.rules import HOUR, Guardrail, Rules, Step
from evaluators.simulation import Rate, Story, Times
from evaluators.streams import Population
from lastgood.errors import InvalidPolicy
from lastgood.triggers import RateTrigger

#: a release of it is decided within a few hundred candidate runs
RULES = Rules(
    (
        Guardrail("completion", "completed", False, 0.6, 0.12, None, 0),
        Guardrail("validation", "validated", False, 0.4, 0.12, None, 0),
    ),
    (Step(2000, min_runs=20, rule_out=3.0), Step(5000, min_runs=20)),
    horizon_runs=700,
)
RELEASES = 60
HEALTHY = Population()


def prepared(rules=RULES, population=HEALTHY, **changes):
    wanted = {"history_runs": 2_000, "runs_per_day": 20_000, "seed": 4, **changes}
    return simulation.prepare(rules, population, **wanted)


def collapse(setup):
    """The place of completion's collapse."""
    return next(
        i for i, s in enumerate(setup.stories) if s.guardrail == "completion" and "collapse" in s.label
    )


def walked(setup, releases, stories):
    return [ended for number in range(releases) for ended in simulation.simulated(setup, number, stories)]


@pytest.fixture(scope="module")
def setup():
    return prepared()


@pytest.fixture(scope="module")
def figures(setup):
    """Of the unchanged candidate, of one at completion's margin, and of a collapse."""
    found = simulation.summarise(setup, walked(setup, RELEASES, [0, 1, collapse(setup)]))
    return {(f.kind, f.guardrail): f for f in found if f.promoted.of}


def test_the_stories_are_the_unchanged_then_each_margin_then_the_harms(setup):
    kinds = [story.kind for story in setup.stories]
    assert kinds[0] == "unchanged"
    assert [s.guardrail for s in setup.stories if s.kind == "margin"] == ["completion", "validation"]
    assert kinds == sorted(kinds, key=["unchanged", "margin", "harm"].index)


def test_an_unchanged_candidate_is_reverted_at_most_alpha_often_and_mostly_promoted(figures):
    found = figures["unchanged", ""]
    assert found.reverted.count <= binom.ppf(0.99, RELEASES, 0.05)
    assert found.promoted.rate > 0.8
    assert found.promoted.count + found.reverted.count + found.undecided.count == RELEASES


def test_a_candidate_at_its_margin_is_rarely_promoted(figures):
    assert figures["margin", "completion"].promoted.count <= binom.ppf(0.99, RELEASES, 0.05)


def test_a_collapse_is_caught_within_a_handful_of_runs_and_named(figures):
    found = figures["harm", "completion"]
    assert found.reverted.rate == 1.0
    assert found.reverted_runs.median <= 6
    assert found.right_culprit.rate > 0.9
    assert list(found.reverted_at) == sorted(found.reverted_at)
    assert found.culprits["completion"] == found.right_culprit.count


def test_the_answer_does_not_hang_on_what_else_is_simulated(setup):
    alone = walked(setup, 2, [1])
    among = [ended for ended in walked(setup, 2, [0, 1]) if ended[0] == 1]
    assert alone == among


def test_another_seed_draws_other_releases(setup):
    assert walked(setup, 3, [0]) != walked(replace(setup, seed=5), 3, [0])


def test_a_guardrail_that_no_run_reports_is_set_aside_and_its_weight_shared_out():
    own = Guardrail("polite", "polite", False, 0.5, 0.05, None, 0)
    half = tuple(replace(g, weight=g.weight / 2) for g in RULES.guardrails)
    found = prepared(replace(RULES, guardrails=(*half, own)))
    assert [gone.name for gone in found.set_aside] == ["polite"]
    assert sum(g.weight for g in found.rules.guardrails) == pytest.approx(1.0)


def test_a_policy_of_which_nothing_is_reported_is_refused():
    own = Guardrail("polite", "polite", False, 1.0, 0.05, None, 0)
    with pytest.raises(InvalidPolicy, match=r"nothing of what the policy watches \(polite\)"):
        prepared(replace(RULES, guardrails=(own,)))


def test_a_rate_trigger_ends_a_release_as_in_life():
    found = prepared(triggers=(RateTrigger("completion", 0.02, 0.5),))
    ended = [replay for _, replay in walked(found, 12, [collapse(found)])]
    assert any(replay.triggered for replay in ended)


@pytest.mark.parametrize(("count", "of"), [(0, 50), (7, 120), (50, 50), (1, 1000)])
def test_intervals_are_wilsons(count, of):
    known = binomtest(count, of).proportion_ci(0.95, method="wilson")
    found = Rate.of_counts(count, of)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-12)


def test_nothing_counted_says_nothing():
    assert Rate.of_counts(0, 0) == Rate(0, 0, 0.0, 0.0, 1.0)


def test_times_count_the_releases_in_which_it_never_happened():
    assert Times.of([30, 10, 20], 4) == Times(20, None)
    assert Times.of([10], 4) == Times(None, None)
    assert Times.of(list(range(1, 11)), 10) == Times(5, 9)
    assert Times.of([], 0) == Times(None, None)


def test_another_guardrail_of_the_same_column_is_a_right_culprit():
    tail = Guardrail("doubt", "completed", False, 0.1, 0.2, None, 0)
    story = Story("harm", "completion", "", "", HEALTHY)
    setup = replace(prepared(), rules=replace(RULES, guardrails=(*RULES.guardrails, tail)), stories=(story,))
    ended = [
        (0, Replay(Ending.REVERTED, 5, 5, HOUR, 0, (name,))) for name in ("completion", "doubt", "validation")
    ]
    (found,) = simulation.summarise(setup, ended)
    assert found.right_culprit.count == 2
    assert found.reverted_hours == Times(1, 1)
