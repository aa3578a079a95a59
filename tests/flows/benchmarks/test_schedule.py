"""What one scheduled evaluation of 20 live releases costs in CPU beyond the start of its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.policy import Policy
from lastgood import agent, control, registry, releasing
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade
from tasks import policies, preflight

pytestmark = [pytest.mark.benchmark, pytest.mark.prefect]
ROOT = Path(__file__).parents[3]
RELEASES = 20
#: runs that each agent serves between two looks
RUNS = 100
POLICY = """
name: many
lost_after: 1 s
look_every: 1 s
lease: 10 min
steps: [{share: 20%, min_runs: 100000, rule_out: 2}, {share: 50%}]
guardrails:
  completion: {margin: 5 points}
  validation: {margin: 5 points}
  escalation: {margin: 5 points}
horizon: {runs: 1000000}
reference: {completion: 0.9, validation: 0.9, escalation: 0.1}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
"""
#: evaluates three times, with new runs before the second; prints the CPU seconds of each
MEASURE = """
import sys, time
sys.path.insert(0, {root!r})
from flows.evaluate_canaries import evaluate_canaries
import runpy; serve = runpy.run_path({path!r})["serve"]
evaluate_canaries()  # takes over, draws every report once
for name in ("new evidence", "nothing new"):
    if name == "new evidence":
        serve()
        time.sleep(2)
    began = time.process_time()
    state = evaluate_canaries(return_state=True)
    print(f"{{name}}: {{time.process_time() - began:.2f}} CPU-s; {{state.message[:200]}}", flush=True)
    time.sleep(2)
"""


def serve():
    """RUNS runs of each agent."""
    import lastgood

    for number in range(RUNS):
        for place in range(RELEASES):
            with lastgood.run(agent=f"agent{place}", unit=f"u{number}-{os.getpid()}") as run:
                run.report(completed=number % 10 != 0, validated=number % 11 != 0, escalated=number % 9 == 0)


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """A store with 20 agents, each with a history and a live release."""
    url = f"sqlite:///{tmp_path}/lastgood.db"
    upgrade(url)
    store = Store(url)
    monkeypatch.setenv("LASTGOOD_DATABASE", url)
    policies.keep(store, Policy.load(POLICY), "ann")
    for place in range(RELEASES):
        name = f"agent{place}"
        ids = []
        for text in ("old", "new"):
            bundle = Bundle([Part.of_value(kind, "1", f"{text} {place}") for kind in KINDS])
            ids.append(registry.register(store, name, bundle, author="ann")[0].bundle.id)
        control.adopt(store, name, "production", ids[0], actor="ann", reason="it serves today")
    serve()
    import time

    time.sleep(2)
    for place in range(RELEASES):
        with store.reading() as txn:
            candidate = txn.one(
                "SELECT id FROM bundle WHERE agent = :a AND name LIKE '%.2'", a=f"agent{place}"
            )
        wanted = preflight.Wanted(f"agent{place}", candidate["id"], "many", actor="ann")
        releasing.start(store, preflight.check(store, wanted))
    yield
    agent.store().close()
    store.close()


def test_twenty_live_releases_cost_under_three_cpu_seconds_a_minute(busy, tmp_path):
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
        made = subprocess.run(
            [sys.executable, "-c", MEASURE.format(root=str(ROOT), path=__file__)],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    print(made.stdout)
    spent = [float(line.partition(": ")[2].partition(" ")[0]) for line in made.stdout.splitlines()]
    assert len(spent) == 2
    assert max(spent) < 3.0, made.stdout
