"""Error rates by simulation, looking at every block. Seeds are fixed; bounds hold for the true rate."""

import numpy as np
import pytest
from scipy.stats import binom

from evaluators import Comparison, History

RELEASES = 240
#: chances of a false revert that each release is watched at: its family may never pass 1/alpha too often
ALPHAS = (0.05, 0.2, 0.5)
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


def watched(fresh, runs):
    comparison = fresh.copy()
    comparison.observe(runs)
    return comparison


@pytest.mark.parametrize(("wave", "seed"), [(0.0, 10_000), (0.8, 20_000)])
def test_an_unchanged_candidate_is_reverted_at_most_alpha_often(make_rules, draw, wave, seed):
    """More reverts than the bound happen to a rule of exactly alpha once in a hundred times."""
    fresh = Comparison(make_rules(alpha_revert=0.01), LONG)
    runs = (draw(3_000, seed + i, wave=wave) for i in range(RELEASES))
    highest = np.array([watched(fresh, each).path()["family"].max() for each in runs])
    for alpha in ALPHAS:
        assert (highest >= np.log(1 / alpha)).sum() <= binom.ppf(0.99, RELEASES, alpha)


def test_a_candidate_as_good_as_its_margin_is_rarely_promoted(make_rules, draw):
    """Exactly two points worse in completion, the only guardrail: promoted at most alpha often."""
    fresh = Comparison(make_rules("completion", alpha_revert=1e-6), LONG)
    runs = (draw(8_000, 30_000 + i, share=0.5, harm={"completed": 0.10}) for i in range(120))
    promoted = sum("promote" in set(watched(fresh, r).path()["decision"]) for r in runs)
    assert promoted <= int(binom.ppf(0.99, 120, 0.05))


def test_a_drop_of_thirty_in_a_hundred_is_found_in_25_candidate_runs(make_rules, draw):
    fresh = Comparison(make_rules(), LONG)
    runs = (draw(1_200, 40_000 + i, harm={"completed": 0.36}) for i in range(120))
    found = [watched(fresh, r).verdict() for r in runs]
    assert all(v.decision == "revert" for v in found)
    assert np.median([v.candidate_runs for v in found]) <= 25
    assert np.mean([v.culprits[0] == "completion" for v in found]) >= 0.94


def test_an_improvement_is_promoted(make_rules, draw):
    fresh = Comparison(make_rules("completion", "validation", "escalation", "lost", "infra"), LONG)
    better = {"completed": 0.04, "validated": 0.01, "escalated": 0.03}
    found = [watched(fresh, draw(15_000, 50_000 + i, harm=better)).path()["decision"] for i in range(30)]
    assert np.mean(["promote" in set(words) for words in found]) >= 0.9
