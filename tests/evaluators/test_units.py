import json

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from evaluators.units import Units

NAMES = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=20)


def test_a_units_first_run_is_told_and_no_name_is_a_unit_of_its_own():
    placed = Units().place(pd.Series(["a", None, "b", "a", None], dtype=object))
    assert placed.first.tolist() == [True, True, True, False, True]
    assert (placed.size, dict(placed.index)) == (4, {"a": 0, "b": 2})


@given(NAMES, st.integers(0, 20), st.randoms())
def test_what_came_before_is_the_sum_of_the_units_counted_runs(names, cut, random):
    """By brute force, and however the runs are cut."""
    x = np.array([random.randint(0, 8) / 4 for _ in names])
    counted = np.array([random.random() < 0.8 for _ in names])
    expected = [
        [
            sum(counted[j] for j in range(i) if names[j] is not None and names[j] == names[i]),
            sum(x[j] * counted[j] for j in range(i) if names[j] is not None and names[j] == names[i]),
        ]
        for i in range(len(names))
    ]
    units, found = Units(), []
    for part in (slice(0, cut), slice(cut, None)):
        placed = units.place(pd.Series(names[part], dtype=object))
        ahead, sums = units.before("g", placed, counted[part], x[part])
        units = units.after(placed, {"g": sums})
        found += ahead.tolist()
    assert found == expected
    assert Units.from_json(json.loads(json.dumps(units.to_json()))).to_json() == units.to_json()
