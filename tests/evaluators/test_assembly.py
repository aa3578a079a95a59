import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.assembly import count, lay_out
from evaluators.blocks import BlockCounts


def strata_of(text):
    found = np.empty(len(text), dtype=object)
    found[:] = list(text)
    return found


def place(text, shares, size=3, last=None, pending=None):
    return lay_out(strata_of(text), np.array(shares), size, last or {}, pending or {})


def test_a_block_closes_when_it_is_full():
    layout = place("aaaaaaa", [1000] * 7)
    assert layout.table.block.tolist() == [0, 1, 2]
    assert layout.table.closed.tolist() == [True, True, False]
    assert layout.row_of_run.tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_a_block_never_spans_a_change_of_share():
    layout = place("aaaaa", [1000, 1000, 2000, 2000, 2000])
    assert layout.table.share_bp.tolist() == [1000, 2000]
    assert layout.table.closed.tolist() == [True, True]
    assert layout.row_of_run.tolist() == [0, 0, 1, 1, 1]


def test_strata_fill_their_own_blocks_in_the_order_in_which_they_close():
    layout = place("abababb", [1000] * 7)
    assert layout.table.stratum.tolist() == ["a", "b", "b"]
    assert layout.table.closed.tolist() == [True, True, False]


def test_an_open_block_goes_on_where_it_stood():
    held = BlockCounts("a", 4, 1000, 1, 0, 1, 1, closed=False)
    layout = place("aa", [1000, 1000], pending={"a": held}, last={"a": 3})
    assert layout.table.block.tolist() == [4, 5]
    everyone = np.ones(2, dtype=bool)
    table = count(layout, everyone, everyone, everyone, {"a": held})
    assert table.counts.tolist() == [[2, 1, 1, 1], [1, 1, 0, 0]]


def test_an_open_block_closes_when_the_share_changes():
    held = BlockCounts("a", 4, 1000, 1, 0, 1, 1, closed=False)
    layout = place("a", [2000], pending={"a": held}, last={"a": 3})
    assert layout.table.block.tolist() == [4, 5]
    assert layout.table.closed.tolist() == [True, False]
    assert layout.continues.tolist() == [True, False]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1000, 3000])), min_size=1, max_size=40),
    st.integers(1, 7),
)
def test_every_run_falls_into_one_block_of_its_stratum_and_share(runs, size):
    layout = place([name for name, _ in runs], [share for _, share in runs], size)
    table, rows = layout.table, layout.row_of_run
    assert [(table.stratum[r], table.share_bp[r]) for r in rows] == runs
    filled = np.bincount(rows, minlength=len(table))
    assert filled.min() >= 1
    assert filled.max() <= size


def test_an_empty_frame_has_no_layout():
    with pytest.raises(ValueError, match="concatenate"):
        place("", [])
