"""The model-based test, short: the unbroken code, and six bugs that it has to find. `make model` runs all.

On SQLite; the unbroken code on the suite's Postgres too, where there is one.
"""

import logging
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def on_path():
    """The model also runs as a script: its modules import each other by name."""
    sys.path.insert(0, str(Path(__file__).parent))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def yard(on_path):
    from bench import Yard

    with Yard() as made:
        yield made


def test_the_code_does_what_the_reference_says_and_every_situation_is_reached(yard):
    from finding import search
    from situations import never

    found = search(yard, examples=25, number=1, guided=True)
    if found.failure is not None:
        raise found.failure
    assert never(found.reached) == []


@pytest.mark.parametrize(
    "name",
    [
        "kill ignored",
        "stale epoch accepted",
        "late action let through",
        "ledger row skipped",
        "duplicate counted twice",
        "promote without evidence",
    ],
)
def test_a_planted_bug_is_found(name, yard):
    from bugs import BUGS
    from finding import search

    bug = next(each for each in BUGS if each.name == name)
    with bug.plant():
        found = search(yard, examples=5, number=1, guided=True)
    assert found.failure is not None, f"{name} was not found in {found.examples} examples"


def test_every_planted_bug_has_a_name_of_its_own_and_there_are_forty_at_least(on_path):
    from bugs import BUGS

    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 40


@pytest.mark.only("postgres")
def test_postgres_does_what_the_reference_says(on_path, postgres):
    from bench import Yard
    from finding import search

    with Yard(postgres) as made:
        found = search(made, examples=4, number=1)
    if found.failure is not None:
        raise found.failure
