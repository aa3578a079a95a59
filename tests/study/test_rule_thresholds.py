"""The counting rules of Argo Rollouts and Flagger, as their code counts."""

import pytest


@pytest.fixture(scope="module")
def rules():
    import rule_thresholds

    return rule_thresholds


BAD, GOOD = True, False


def test_an_analysis_fails_with_the_failure_beyond_its_limit(rules):
    assert rules.Argo().failed([BAD, GOOD, BAD, BAD, GOOD, BAD]) == 6
    assert rules.Argo(failure_limit=0).failed([GOOD, BAD]) == 2
    assert rules.Argo().failed([BAD] * 3 + [GOOD] * 90) is None


def test_an_analysis_ends_with_its_rollout(rules):
    late = [GOOD] * 5 + [BAD] * 4
    assert rules.Argo().failed(late) is None
    assert rules.Argo(count=None).failed(late) == 9


def test_failed_checks_are_counted_over_all_and_never_forgotten(rules):
    assert rules.Flagger(threshold=3).failed([BAD, GOOD, BAD, GOOD, GOOD, BAD]) == 6


def test_ten_checks_that_pass_promote(rules):
    assert rules.Flagger().failed([GOOD] * 10 + [BAD] * 10) is None
    assert rules.Flagger().failed([BAD] * 9 + [GOOD] * 9 + [BAD]) == 19
    assert rules.Flagger().failed([BAD] * 9) is None, "the stream ended"
