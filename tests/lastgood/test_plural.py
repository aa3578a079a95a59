"""Plurals: one run, two runs."""

import pytest

from lastgood.plural import counted


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 regression cases"), (1, "1 regression case"), (2, "2 regression cases")]
)
def test_a_noun_stands_as_its_number_wants_it(n: int, said: str) -> None:
    assert counted(n, "regression case") == said


def test_an_irregular_plural_and_a_form_are_taken() -> None:
    assert counted(1, "memory entry", "memory entries") == "1 memory entry"
    assert counted(12_000, "delivery", "deliveries", form=",") == "12,000 deliveries"
