import json

import numpy as np
import pandas as pd
import pytest

from evaluators.history import History
from evaluators.rules import Guardrail, Kind
from lastgood.errors import InvalidEvidence


@pytest.fixture
def recorded():
    return pd.DataFrame(
        {
            "stratum": ["a", "a", "b", "b", "b"],
            "completed": [True, False, True, True, None],
            "escalated": [0, 0, 1, 0, 0],
            "lost": [False, False, False, True, False],
            "infra_failure": [True, False, False, False, False],
            "cost_usd": [0.1, 0.2, 0.3, 0.4, 0.5],
        }
    )


def test_records_are_counted_as_a_release_scores_them(recorded, make_rules):
    history = History(recorded)
    found = {g.name: history.of(g) for g in make_rules().guardrails}
    assert found["completion"] == (4, 3)
    assert found["escalation"] == (4, 2)
    assert found["lost"] == (4, 1)
    assert found["infra"] == (5, 1)
    assert found["validation"] == (0, 0)


def test_a_stratum_has_its_own_counts_and_an_unknown_one_the_whole(recorded, make_rules):
    completion = make_rules().guardrails[0]
    history = History(recorded)
    assert history.of(completion, "b") == (3, 2)
    assert history.of(completion, "never seen") == history.of(completion)


def test_a_repeated_unit_counts_once(recorded, make_rules):
    recorded["unit"] = ["u", "u", "v", "v", "v"]
    assert History(recorded).of(make_rules().guardrails[0]) == (1, 0)


def test_counts_and_records_survive_json(recorded, make_rules):
    for history in (
        History(recorded),
        History.from_counts({"completion": (10, 2)}, {"a": {"completion": (5, 1)}}),
    ):
        again = History.from_json(json.loads(json.dumps(history.to_json())))
        assert again == history
        assert again.of(make_rules().guardrails[0], "a") == history.of(make_rules().guardrails[0], "a")


def test_an_empty_history_knows_nothing(make_rules):
    assert History().of(make_rules().guardrails[0]) == (0, 0)


def test_more_bad_runs_than_runs_are_refused():
    with pytest.raises(InvalidEvidence, match=r"overall, completion: 3 bad runs of 2"):
        History.from_counts({"completion": (2, 3)})


def test_a_known_column_that_cant_be_read_is_refused():
    with pytest.raises(InvalidEvidence, match="column completed"):
        History(pd.DataFrame({"completed": [1, np.inf]}))


def test_runs_that_brought_no_amount_are_counted_beside_those_that_did(recorded):
    recorded["cost_usd"] = [0.1, 0.2, None, 0.4, 0.5]  # the first run is left out, the third says nothing
    found = History(recorded).measures["cost_usd"]
    assert (found.n, found.silent) == (2, 2)  # and the fourth is lost
    assert found.silent_flags == {"completed": 1}


def test_a_silent_run_is_past_a_threshold_as_a_release_scores_it(recorded):
    slow = Guardrail("cost_tail", "cost_usd", True, 1.0, None, 1.0, 0, kind=Kind.QUANTILE, limit=0.25)
    assert History(recorded).of(slow) == (4, 3)  # 0.3 and 0.5 are past it, 0.4 was lost
