"""`lastgood up` where it can't work: a clear line, and nothing is left running."""

import socket

import pytest
from click.testing import CliRunner

from lastgood import agent
from lastgood.cli import main
from lastgood.store.connection import Store
from tasks.commands import up


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(up, "_configured", str)
    yield tmp_path
    agent.store().close()


def run(*words):
    return CliRunner().invoke(main, ["up", *words])


def test_a_url_where_nothing_answers_is_refused_with_both_ways_out(here, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    told = run()
    assert told.exit_code == 1
    assert "PREFECT_API_URL: nothing answers at http://127.0.0.1:9/api" in told.output
    assert "`lastgood up` starts a server by itself" in told.output
    assert (here / ".lastgood" / "lastgood.db").exists()  # the store was made: it needs no Prefect


def test_a_port_that_a_stranger_has_is_refused(here):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        told = run("--port", str(port))
    assert told.exit_code == 1
    assert f"port {port} is taken: nothing answers at" in told.output
    assert f"--port {port + 1}" in told.output


def test_a_wrong_setting_is_named_before_anything_starts(here, monkeypatch):
    monkeypatch.setenv("LASTGOOD_LOOK_EVERY", "often")
    told = run()
    assert told.exit_code == 1
    assert "LASTGOOD_LOOK_EVERY should be a duration" in told.output


def test_the_store_is_the_same_from_every_folder(here, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", "sqlite:///deep/x.db")
    assert up._places()["LASTGOOD_DATABASE"] == f"sqlite:///{here}/deep/x.db"
    monkeypatch.setenv("LASTGOOD_DATABASE", "postgresql://me@there/db")
    assert up._places()["LASTGOOD_DATABASE"] == "postgresql://me@there/db"
    assert up._places()["PYTHONPATH"].split(":")[0] == str(here)
    monkeypatch.delenv("LASTGOOD_DATABASE")
    assert Store(up._absolute(agent.database_url())).name.endswith(".lastgood/lastgood.db")
