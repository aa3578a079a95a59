from dataclasses import replace

import pytest

from evaluators.blocks import BlockTable
from evaluators.evidence import Evidence
from evaluators.guardrail_state import GuardrailState
from evaluators.history import History
from evaluators.terms import terms
from evaluators.verdict import Word
from evaluators.wording import describe

LONG = History.from_counts({"completion": (20_000, 1_600)})


@pytest.fixture
def told(make_rules):
    rules = make_rules("completion")

    def tell(blocks, *, history=LONG, culprits=(), invalid=""):
        fresh = Evidence(GuardrailState(terms(rules.guardrails[0], rules, history)))
        return describe(fresh.trace(BlockTable.of(blocks)).after, rules, culprits, invalid)

    return tell


def test_a_fail_names_the_counts_and_the_line(told, block):
    found = told([block(0, 9, 8, 11, 1)], culprits=("completion",))
    assert found.word is Word.FAIL
    assert "8 of 9 candidate runs bad, 1 of 11 baseline runs" in found.reason
    assert "3.00 decides alone" in found.reason


def test_a_pass_names_the_margin_in_points(told, block):
    found = told([block(i, 200, 2, 200, 16) for i in range(10)])
    assert (found.word, found.margin) == (Word.PASS, pytest.approx(2.0))
    assert "proven under its margin of +2 points" in found.reason


def test_undecided_says_what_is_missing(told, block):
    assert "not yet proven" in told([block(0, 9, 1, 11, 1)]).reason
    assert "no reference rate" in told([block(0, 9, 1, 11, 1)], history=History()).reason


@pytest.mark.parametrize(
    ("counts", "arm"),
    [((0, 0, 9, 1), "the candidate"), ((9, 1, 0, 0), "the baseline"), ((0,) * 4, "either arm")],
)
def test_no_data_names_the_arm(told, block, counts, arm):
    found = told([block(0, *counts)])
    assert (found.word, found.reason) == (Word.NO_DATA, f"no scored run of {arm}")


def test_invalid_evidence_hides_a_pass_but_not_a_fail(told, block):
    blocks = [block(i, 200, 2, 200, 16) for i in range(10)]
    assert told(blocks, invalid="why").word is Word.INVALID
    assert told(blocks, invalid="why").reason == "why"
    assert told(blocks, invalid="why", culprits=("completion",)).word is Word.FAIL


def test_rates_are_shares_and_differences_are_points(told, block):
    found = told([block(i, 100, 20, 100, 10) for i in range(20)])
    assert (found.candidate_rate, found.baseline_rate) == (0.2, 0.1)
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx(10.0, abs=0.5)


def test_an_open_block_shows_in_the_counts(told, block):
    assert told([replace(block(0, 4, 1, 5, 0), closed=False)]).n_c == 4
