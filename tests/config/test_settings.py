"""Settings from environment variables."""

import pytest

from config.settings import Settings
from lastgood.errors import InvalidInput


def test_nothing_set_means_the_defaults():
    settings = Settings.from_environment({})
    assert (settings.database, settings.environment) == ("sqlite:///lastgood.db", "production")
    assert settings.look_every == 60_000_000


def test_an_empty_variable_is_an_unset_one():
    assert Settings.from_environment({"LASTGOOD_ENVIRONMENT": ""}).environment == "production"


def test_the_process_environment_is_read(monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", "sqlite:////srv/lastgood.db")
    monkeypatch.setenv("LASTGOOD_ENVIRONMENT", "staging")
    monkeypatch.setenv("LASTGOOD_LOOK_EVERY", "30 s")
    settings = Settings.from_environment()
    assert settings.database == "sqlite:////srv/lastgood.db"
    assert (settings.environment, settings.look_every) == ("staging", 30_000_000)


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("LASTGOOD_ENVIRONMENT", "My Env", "LASTGOOD_ENVIRONMENT should be a name of lower-case letters"),
        ("LASTGOOD_LOOK_EVERY", "60", "LASTGOOD_LOOK_EVERY 60 has no unit of time; write '60 s'"),
        ("LASTGOOD_LOOK_EVERY", "2 h", "LASTGOOD_LOOK_EVERY should be 1 s to 1 h, not 2 h"),
    ],
)
def test_a_bad_value_is_refused_by_its_variable(variable, value, problem):
    with pytest.raises(InvalidInput, match=problem):
        Settings.from_environment({variable: value})


def test_a_password_in_the_url_is_not_shown():
    settings = Settings.from_environment({"LASTGOOD_DATABASE": "postgresql://lastgood:s3cret@db/lastgood"})
    assert "s3cret" not in repr(settings)
