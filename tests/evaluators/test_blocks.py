import numpy as np
import pytest

from evaluators.blocks import ALL, OTHER, BlockTable, check_order, check_strata, stratum_of
from lastgood.errors import InvalidEvidence


@pytest.mark.parametrize(
    ("counts", "column"),
    [
        ((-1, 0, 5, 0), "n_c"),
        ((3, 4, 5, 0), "y_c"),
        ((3, 0, 5, 6), "y_b"),
        ((3, 0, 5, -2), "y_b"),
        ((3.0, 0, 5, 0), "n_c"),
        ((float("nan"), 0, 5, 0), "n_c"),
        ((3, True, 5, 0), "y_c"),
        ((3, 0, "5", 0), "n_b"),
        ((3, 0, 10**7, 0), "n_b"),
    ],
)
def test_counts_that_cant_be_are_refused_by_block_and_column(block, counts, column):
    with pytest.raises(InvalidEvidence, match=rf"block 7 of stratum 'all': column {column}"):
        block(7, *counts)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"share_bp": 0}, "share_bp"),
        ({"share_bp": 10_000}, "share_bp"),
        ({"share_bp": 0.1}, "share_bp"),
        ({"closed": 1}, "closed"),
        ({"stratum": ""}, "stratum"),
    ],
)
def test_fields_that_cant_be_are_refused_by_block_and_column(block, change, column):
    with pytest.raises(InvalidEvidence, match=rf"block 7 .*column {column}"):
        block(7, 1, 0, 1, 0, **change)


def test_a_negative_block_number_is_refused(block):
    with pytest.raises(InvalidEvidence, match="block -1"):
        block(-1, 1, 0, 1, 0)


def test_numpys_whole_numbers_are_counts(block):
    assert block(0, np.int64(2), np.int64(1), np.int64(3), np.int64(0)).y_c == 1


def test_a_table_keeps_the_blocks_and_puts_open_ones_last(block):
    first, second = block(3, 1, 0, 2, 0, closed=False), block(9, 2, 1, 3, 1, stratum="b")
    table = BlockTable.of([first, second])
    assert [table.row(0), table.row(1)] == [second, first]


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1)])
def test_blocks_of_a_stratum_out_of_order_are_refused(block, numbers):
    table = BlockTable.of([block(number, 1, 0, 1, 0) for number in numbers])
    with pytest.raises(InvalidEvidence, match=rf"guardrail g: block {numbers[1]} .*column block"):
        check_order("g", table, {})


def test_two_open_blocks_of_a_stratum_are_refused(block):
    table = BlockTable.of([block(number, 1, 0, 1, 0, closed=False) for number in (1, 2)])
    with pytest.raises(InvalidEvidence, match=r"block 2 .*column closed"):
        check_order("g", table, {})


def test_strata_number_their_blocks_apart(block):
    check_order("g", BlockTable.of([block(2, 1, 0, 1, 0), block(1, 1, 0, 1, 0, stratum="b")]), {"b": 0})


def test_a_run_counts_in_its_listed_stratum_or_in_other(make_rules):
    rules = make_rules(strata=(("faq", 0.5), ("billing", 0.5)))
    assert [stratum_of(rules, name) for name in ("faq", "refund", None)] == ["faq", OTHER, OTHER]
    assert stratum_of(make_rules(), "faq") == ALL


def test_an_unlisted_stratum_is_refused(make_rules, block):
    rules = make_rules(strata=(("faq", 1.0),))
    table = BlockTable.of([block(5, 1, 0, 1, 0, stratum="refund")])
    with pytest.raises(InvalidEvidence, match=r"block 5, column stratum: 'refund'"):
        check_strata(rules, "g", table)
