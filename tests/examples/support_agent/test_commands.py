"""`python -m examples.support_agent`: a CRM in one process, the agent in another, a store between."""

import sqlite3
import subprocess
import sys

import pytest

from examples.support_agent.shop import BUNDLES, HERE

ROOT = HERE.parents[1]
PYTHON = [sys.executable, "-m"]


@pytest.fixture
def environment(clean_environment, tmp_path):
    url = f"sqlite:///{tmp_path / 'lastgood.db'}"
    return {**clean_environment, "LASTGOOD_DATABASE": url, "LASTGOOD_ACTOR": "ana"}


def say(environment, *words):
    made = subprocess.run(
        [*PYTHON, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


def test_tickets_are_served_over_http_and_operators_have_their_say(environment, crm, tmp_path):
    environment = {**environment, "SUPPORT_CRM_URL": crm.url}
    say(environment, "lastgood.cli", "db", "upgrade")
    added = say(environment, "lastgood.cli", "bundle", "add", str(BUNDLES / "good.yaml"))
    bundle = next(word for word in added.split() if word.startswith("b-"))
    say(environment, "lastgood.cli", "adopt", "support", bundle, "--reason", "it serves today")
    served = say(
        environment, "examples.support_agent", "serve", "--tickets", "30", "--pace", "200", "--hurry", "1000"
    )
    assert served == "served 30 tickets\n"
    shown = crm.books.shown()
    assert len(shown["tickets"]) == len(shown["messages"]) == 30
    with sqlite3.connect(tmp_path / "lastgood.db") as connection:
        (ended,) = connection.execute("SELECT count(*) FROM outcome WHERE completed").fetchone()
        (late,) = connection.execute("SELECT count(*) FROM late_report").fetchone()
    connection.close()
    assert ended == 30
    assert late > 15


def test_the_crm_serves_until_it_is_stopped(environment, tmp_path, background):
    log = tmp_path / "crm.log"
    words = ["examples.support_agent", "crm", "--port", "0", "--database", str(tmp_path / "crm.db")]
    with background(
        [*PYTHON, *words], log, {**environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    ):
        said = wait_for(log, "the CRM answers at ")
    assert "export SUPPORT_CRM_URL=http://127.0.0.1:" in said


def wait_for(log, text):
    import time

    until = time.monotonic() + 60
    while time.monotonic() < until:
        if text in log.read_text():
            return log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
