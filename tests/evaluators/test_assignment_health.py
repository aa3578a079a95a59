import json
from itertools import product

import numpy as np
import pytest

from evaluators.assignment_health import (
    SHIFT_PRIOR,
    SHIFTS,
    Assigned,
    mismatch_increments,
    mismatch_log_e,
    mismatch_log_e_over_shares,
)
from evaluators.blocks import BlockTable
from lastgood.errors import InvalidEvidence


def test_the_mismatch_is_the_published_one(published):
    for fixture in published("srm_dirichlet_log_e"):
        row = fixture["input"]
        found = float(mismatch_log_e(row["n_c"], row["n_b"], row["q"], row["k"]))
        assert found == pytest.approx(fixture["expected"], abs=1e-9)


def test_the_mismatch_has_mean_one_under_the_recorded_share():
    mean = 0.0
    for arms in product([0, 1], repeat=10):
        n_c = sum(arms)
        mean += 0.3**n_c * 0.7 ** (10 - n_c) * np.exp(float(mismatch_log_e(n_c, 10 - n_c, 0.3, 5.0)))
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_a_wrong_share_is_found_and_the_right_one_is_not():
    assert mismatch_log_e(1500, 8500, 0.1) > np.log(1000)
    assert mismatch_log_e(1010, 8990, 0.1) < 0


def test_several_shares_multiply():
    parts = [(0.1, 120, 900), (0.5, 480, 500)]
    expected = sum(float(mismatch_log_e(n_c, n_b, share)) for share, n_c, n_b in parts)
    assert mismatch_log_e_over_shares(parts) == pytest.approx(expected)


def test_assignments_add_up_by_share_and_open_blocks_count_as_runs_only(block):
    blocks = [
        block(0, 2, 0, 18, 0),
        block(1, 3, 0, 17, 0),
        block(2, 9, 0, 11, 0, share_bp=5000),
        block(3, 4, 0, 3, 0, share_bp=5000, closed=False),
    ]
    found = Assigned().add(BlockTable.of(blocks))
    assert found.shares == {1000: (5, 35), 5000: (9, 11)}
    assert found.runs == (18, 49)
    assert found.log_mismatch == pytest.approx(mismatch_log_e_over_shares([(0.1, 5, 35), (0.5, 9, 11)]))


def test_the_path_ends_where_the_sum_does_and_goes_on_from_it(block):
    table = BlockTable.of([block(i, 2 + i, 0, 18 - i, 0, share_bp=1000 + 500 * (i // 2)) for i in range(6)])
    start = Assigned().add(table.take(slice(0, 3)))
    mismatch, runs = start.path(table.take(slice(3, 6)))
    whole = start.add(table.take(slice(3, 6)))
    assert mismatch[-1] == pytest.approx(whole.log_mismatch)
    assert tuple(runs[-1]) == whole.runs


def test_assignments_survive_json(block):
    found = Assigned().add(BlockTable.of([block(0, 2, 0, 18, 0), block(1, 1, 0, 3, 0, closed=False)]))
    assert Assigned.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()


def test_candidate_runs_are_kept_by_share_once_their_block_is_closed(block):
    blocks = [block(0, 2, 1, 18, 0), block(1, 5, 0, 15, 0, share_bp=2500), block(2, 7, 0, 3, 0, closed=False)]
    assert Assigned().add(BlockTable.of(blocks)).candidate == {1000: 2, 2500: 5}


def test_a_block_sent_twice_is_refused(block):
    once = Assigned().add(BlockTable.of([block(4, 2, 0, 18, 0)]))
    with pytest.raises(InvalidEvidence, match=r"block 4 of stratum 'all', column block"):
        once.add(BlockTable.of([block(4, 2, 0, 18, 0)]))


def test_the_form_for_a_moving_share_is_the_written_one_and_has_mean_one():
    mean = np.zeros(len(SHIFTS))
    for arms in product([0, 1], repeat=6):
        n_c, n_b = np.array([sum(arms[:3]), sum(arms[3:])]), np.array([3 - sum(arms[:3]), 3 - sum(arms[3:])])
        q = np.array([0.1, 0.5])
        shifted = 1.0 / (1.0 + np.exp(-(np.log(q / (1 - q))[:, None] + SHIFTS)))
        factor = mismatch_increments(n_c, n_b, q)
        plain = n_c[:, None] * np.log(shifted / q[:, None])
        plain += n_b[:, None] * np.log((1 - shifted) / (1 - q)[:, None])
        assert np.allclose(factor, plain, atol=1e-12)
        mean += np.prod(q**n_c * (1 - q) ** n_b) * np.exp(factor.sum(axis=0))
    assert np.allclose(mean, 1.0, rtol=1e-12)
    assert np.exp(SHIFT_PRIOR).sum() == pytest.approx(1.0)
