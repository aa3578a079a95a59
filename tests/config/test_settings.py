"""Settings from environment variables."""

import pytest

from config.settings import Settings
from lastgood.errors import InvalidInput


@pytest.mark.parametrize("variables", [{}, {"LASTGOOD_LOOK_EVERY": ""}])
def test_a_variable_that_is_unset_or_empty_means_the_default(variables):
    assert Settings.from_environment(variables).look_every == 60_000_000


def test_the_process_environment_is_read(monkeypatch):
    monkeypatch.setenv("LASTGOOD_LOOK_EVERY", "30 s")
    assert Settings.from_environment().look_every == 30_000_000


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("60", "LASTGOOD_LOOK_EVERY 60 has no unit of time; write '60 s'"),
        ("2 h", "LASTGOOD_LOOK_EVERY should be 1 s to 1 h, not 2 h"),
    ],
)
def test_a_bad_value_is_refused_by_its_variable(value, problem):
    with pytest.raises(InvalidInput, match=problem):
        Settings.from_environment({"LASTGOOD_LOOK_EVERY": value})
