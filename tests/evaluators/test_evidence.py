import json

import numpy as np
import pytest

from evaluators.blocks import BlockTable
from evaluators.clusters import unit_moments
from evaluators.evidence import BOTH, Evidence
from evaluators.guardrail_state import GuardrailState
from evaluators.history import History
from evaluators.terms import terms
from lastgood.errors import InvalidEvidence


@pytest.fixture
def fresh(make_rules):
    rules = make_rules("completion")
    return Evidence(
        GuardrailState(terms(rules.guardrails[0], rules, History.from_counts({"completion": (9, 1)})))
    )


def pair(block, number, every, first, moments):
    return (
        BlockTable.of([block(number, *every)]),
        BlockTable.of([block(number, *first, sums=tuple(moments))]),
    )


def moments_of(n_c, y_c, n_b, y_b):
    """Of units that came once each."""
    ours = unit_moments(np.ones(n_c), np.arange(n_c) < y_c, np.arange(n_c) < y_c)
    theirs = unit_moments(np.ones(n_b), np.arange(n_b) < y_b, np.arange(n_b) < y_b)
    return np.append(ours, theirs)


def test_while_no_unit_repeats_one_half_is_kept(fresh, block):
    counts = (4, 2, 16, 1)
    after = fresh.trace(*pair(block, 0, counts, counts, moments_of(*counts))).after
    assert after.first is None
    assert after.log_e_harm == fresh.every.add([block(0, *counts)]).log_e_harm


def test_when_a_unit_repeats_the_first_half_goes_on_from_what_both_had(fresh, block):
    once = (4, 2, 16, 1)
    held = fresh.trace(*pair(block, 0, once, once, moments_of(*once))).after
    twice = held.trace(*pair(block, 1, (4, 4, 16, 0), (2, 2, 16, 0), np.zeros(BOTH))).after
    alone = fresh.every.add([block(0, *once), block(1, 2, 2, 16, 0)])
    assert twice.first.to_json() == alone.to_json()
    again = Evidence.from_json(twice.terms, json.loads(json.dumps(twice.to_json())))
    assert again.to_json() == twice.to_json()


def test_a_pass_ends_where_the_evidence_stands(fresh, block):
    found = fresh.trace(*pair(block, 0, (8, 6, 32, 2), (3, 3, 16, 1), 2.0 * moments_of(8, 6, 32, 2)))
    exact, every = found.after.first, found.after.every
    assert found.harm[-1] == pytest.approx(found.after.log_e_harm, abs=1e-12)
    assert found.gates[-1] == pytest.approx(found.after.log_e_gates, abs=1e-12)
    deff = found.after.deff
    mean = np.mean(np.exp([exact.harm_now(1.0), every.harm_now(deff)]))
    assert np.exp(found.harm[-1]) == pytest.approx(mean)
    assert exact.harm_now(1.0) != pytest.approx(every.harm_now(deff))


def test_first_runs_that_stop_coming_are_asked_for(fresh, block):
    held = fresh.trace(*pair(block, 0, (4, 4, 16, 0), (2, 2, 16, 0), np.zeros(BOTH))).after
    with pytest.raises(InvalidEvidence, match=r"block \[1\]: units repeat"):
        held.trace(BlockTable.of([block(1, 2, 0, 18, 0)]))
