"""F4: evidence down, 500, slow, half JSON, NaN, inf, empty, negative, future-dated: nothing is promoted."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.stages import Move
from lastgood.errors import InvalidInput
from lastgood.outcome import Outcome

#: what stands in an outcome's row instead of what was reported, as SQL
FAULTS = {
    "down: no outcome came": "DELETE FROM outcome WHERE run_id = ?",
    "500: every run failed": "UPDATE outcome SET status = 'failed', completed = 0 WHERE run_id = ?",
    "slow": "UPDATE outcome SET received_us = received_us + 90000000 WHERE run_id = ?",
    "future-dated": "UPDATE outcome SET received_us = received_us + 315360000000000 WHERE run_id = ?",
    "half JSON": "UPDATE outcome SET metrics = '{\"mark\": 0.' WHERE run_id = ?",
    "no JSON": "UPDATE outcome SET metrics = 'Internal Server Error' WHERE run_id = ?",
    "a list for a map": "UPDATE outcome SET metrics = '[1, 2]' WHERE run_id = ?",
    "empty": "UPDATE outcome SET completed = NULL, cost_usd = NULL, metrics = '' WHERE run_id = ?",
    "NaN": "UPDATE outcome SET metrics = '{\"mark\": NaN}' WHERE run_id = ?",
    "NaN as text": "UPDATE outcome SET cost_usd = 'nan' WHERE run_id = ?",
    "infinite": "UPDATE outcome SET cost_usd = 9e999 WHERE run_id = ?",
    "minus infinite": "UPDATE outcome SET metrics = '{\"mark\": -Infinity}' WHERE run_id = ?",
    "negative": "UPDATE outcome SET cost_usd = -1000 WHERE run_id = ?",
    "off the scale": "UPDATE outcome SET metrics = '{\"mark\": 1e300}' WHERE run_id = ?",
    "text for a number": 'UPDATE outcome SET metrics = \'{"mark": "good"}\' WHERE run_id = ?',
    "half a flag": "UPDATE outcome SET completed = 0.5 WHERE run_id = ?",
    "half JSON of a late report": "UPDATE late_report SET fields = '{\"judgement\"' WHERE run_id = ?",
    "no mark": "DELETE FROM late_report WHERE run_id = ?",
}


def spoiled(release_id, statement, seed):
    """Spoils most of the candidate's runs."""
    draw = random.Random(seed)

    def spoil(connection):
        query = "SELECT id FROM run WHERE release_id = ? AND arm = 'candidate'"
        for (run_id,) in connection.execute(query, (release_id,)).fetchall():
            if draw.random() < 0.9:
                connection.execute(statement, (run_id,))

    return spoil


@pytest.mark.parametrize("fault", FAULTS)
def test_spoilt_evidence_never_promotes(ready, tmp_path, fault, cases, figure):
    spoils = [spoiled(ready.release_id, FAULTS[fault], seed) for seed in range(cases)]
    moves = [ready.decided(tmp_path, spoil) for spoil in spoils]
    reverts, promotes = moves.count(Move.REVERT), moves.count(Move.PROMOTE)
    figure(f"F4 {fault}: {cases} cases, reverts {reverts}, promotes {promotes}")
    assert set(moves) <= {Move.HOLD, Move.REVERT}


#: anything that a broken agent might report
JUNK = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(-(10**9), 10**9), st.booleans(),
    st.text(max_size=5), st.binary(max_size=3), st.lists(st.integers(), max_size=2),
)  # fmt: skip
NAMES = st.sampled_from(
    ["completed", "validated", "incidents", "cost_usd", "edits", "latency_s", "mark", "judgement"]
)


@given(st.dictionaries(NAMES, JUNK, max_size=4))
def test_what_is_reported_is_refused_whole_or_can_be_judged(fields):
    """Nothing half: a payload with one value that can't be leaves the run's outcome as it was."""
    outcome, before = Outcome(), Outcome()
    try:
        outcome.take(fields)
    except InvalidInput:
        assert outcome == before
        return
    numbers = [outcome.cost_usd, outcome.latency_s, outcome.incidents, outcome.operator_edits]
    assert all(number is None or 0 <= number < float("inf") for number in numbers)
    assert all(abs(value) < float("inf") for value in outcome.metrics.values())
