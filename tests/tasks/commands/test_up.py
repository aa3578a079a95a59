"""`lastgood up` where it can't work: a clear line, and nothing is left running."""

import os
import socket
import sys
import time

import pytest
from click.testing import CliRunner

from lastgood import agent
from lastgood.cli import main
from lastgood.store.connection import Store
from tasks import server
from tasks.commands import up
from tasks.supervising import Child


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


@pytest.fixture
def left(here):
    """A process as a server is whose `lastgood up` was killed: nobody has ended it. Port and process id."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        code = "import time; print('up', flush=True); time.sleep(60)"
        it = Child("it", [sys.executable, "-c", code, "--port", str(port)], os.environ, here, up._log())
        it.start()
        try:
            until = time.monotonic() + 20
            while not it.tail():
                assert time.monotonic() < until
                time.sleep(0.02)
            yield port, it.process.pid
        finally:
            it.end()


def test_a_server_that_outlived_its_lastgood_up_is_used_and_said_what_ends_it(left, monkeypatch, capsys):
    port, pid = left
    monkeypatch.setattr(up.server, "look", lambda url: server.Found(url, "3.8.8"))
    up._at_work(f"http://127.0.0.1:{port}/api", port)
    said = f"a `lastgood up` of this folder started it, `kill {pid}` ends it"
    assert f"/api already: it is used, and goes on after this; {said}\n" in capsys.readouterr().out
    up._at_work(f"http://127.0.0.1:{port + 1}/api", port + 1)
    assert capsys.readouterr().out.endswith("it is used, and goes on after this\n")


def test_one_that_does_not_answer_is_named_with_what_ends_it(left):
    port, pid = left
    told = run("--port", str(port))
    assert told.exit_code == 1
    assert f"`kill {pid}` ends it. Choose another: --port {port + 1}" in told.output


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
