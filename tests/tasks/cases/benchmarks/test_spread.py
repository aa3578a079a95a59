"""A suite spread over real workers: each takes a part, and a part whose process dies is no pass."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from config.policy import Policy
from lastgood import case_store
from lastgood.ids import new_id
from tasks import case_making, policies

pytestmark = [pytest.mark.benchmark, pytest.mark.prefect]
ROOT = Path(__file__).parents[4]
WORKERS = ("w1", "w2")
#: its preflight replays the cases in two flow runs
POLICY = """
name: spread
guardrails: {completion: {margin: 20 points}}
on_undecided: ask
preflight: {min_eligible_runs: 0, cases: {spread: 2}}
"""


def wait_for(what, seconds=300):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.2)
    return None


def git(*words):
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


class Pool:
    """A Prefect server with our flows deployed from this checkout's branch, and two process workers."""

    def __init__(self, shop, environment):
        self.folder = shop.folder
        self.environment = environment | {
            "LASTGOOD_DATABASE": shop.store.url,
            "LASTGOOD_REPOSITORY": f"file://{ROOT}",
            "LASTGOOD_BRANCH": git("rev-parse", "--abbrev-ref", "HEAD"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(shop.folder),  # the agent's own code is on each worker's host
        }
        self.api = httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60)

    def run(self, line):
        made = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, f"{line}\n{made.stdout}{made.stderr}"
        return made.stdout

    def ask(self, method, path, body=None):
        """Call the API; its SQLite may be busy for a while."""

        def answered():
            with contextlib.suppress(httpx.TransportError):
                answer = self.api.request(method, path, json=body)
                return answer if answer.is_success else None

        return (wait_for(answered) or pytest.fail(self.logs())).json()

    def start(self, deployment, **parameters):
        found = self.ask("GET", f"/deployments/name/{deployment}")["id"]
        asked = {"parameters": parameters, "idempotency_key": new_id("key_", time.time_ns() // 1_000)}
        return self.ask("POST", f"/deployments/{found}/create_flow_run", asked)

    def ended(self, flow_run):
        def state():
            found = self.ask("GET", f"/flow_runs/{flow_run['id']}")["state"]
            return found if found["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

        return wait_for(state) or pytest.fail(self.logs())

    def parts(self):
        """The flow runs that are parts of a suite, the newest first."""
        asked = {"sort": "EXPECTED_START_TIME_DESC", "flows": {"name": {"any_": ["regression_suite"]}}}
        return [run for run in self.ask("POST", "/flow_runs/filter", asked) if run["parameters"].get("part")]

    def log(self, worker):
        return (self.folder / f"{worker}.log").read_text()

    def took(self, worker, run):
        """Whether a worker started a flow run: two may submit it, and the server refuses the second."""
        said = self.log(worker)
        return (
            f"submitting flow run '{run}'" in said and f"Aborted submission of flow run '{run}'" not in said
        )

    def logs(self):
        return "\n".join(f"--- {each}\n{self.log(each)[-3000:]}" for each in WORKERS)


@pytest.fixture
def pool(shop, real_server, background):
    with real_server(sys.executable, shop.folder) as environment, contextlib.ExitStack() as stack:
        made = Pool(shop, environment)
        made.run("prefect work-pool create lastgood --type process")
        made.run("prefect --no-prompt deploy -n regression-suite -n release")
        for name in WORKERS:
            words = ["prefect", "worker", "start", "-p", "lastgood", "-n", name, "--limit", "2"]
            stack.enter_context(background(words, shop.folder / f"{name}.log", made.environment))
        yield made


@pytest.fixture
def cased(shop):
    """Four proven cases of the malformed wrapper; nothing outside answers any more."""
    shop.bad = shop.register(wrapper="broken")
    [made] = case_making.make(shop.store, shop.wanted(shop.bad, shop.fail(shop.bad)))
    for number in range(1, 4):
        case_store.put(shop.store, replace(made.draft, case=replace(made.case, name=f"another-{number}")))
    shop.close_crm()
    return shop


def test_each_worker_takes_a_part_and_a_failing_case_refuses_by_hand_and_in_preflight(cased, pool):
    suite = {"agent": "support", "spread": "4"}
    state = pool.ended(pool.start("regression_suite/regression-suite", bundle=cased.good, **suite))
    assert (state["type"], state["message"].endswith("passes 4 of 4 regression cases")) == ("COMPLETED", True)
    ran = pool.parts()
    assert len(ran) == 4
    assert all(run["state"]["message"].endswith("passes 1 of 1 regression case") for run in ran)
    by = [sum(pool.took(worker, run["id"]) for run in ran) for worker in WORKERS]
    assert sum(by) == 4, pool.logs()
    assert min(by) >= 1, pool.logs()
    assert sorted(run["name"] for run in ran) == [
        f"regression suite support b-{cased.good[:4]} part {number}/4" for number in (1, 2, 3, 4)
    ]
    assert cased.calls() == []

    state = pool.ended(pool.start("regression_suite/regression-suite", bundle=cased.bad, **suite))
    assert (state["name"], "passes 0 of 4" in state["message"]) == ("Refused", True)

    policies.keep(cased.store, Policy.load(POLICY), "ann")
    given = {"agent": "support", "candidate": cased.bad, "policy": "spread"}
    state = pool.ended(pool.start("release/release", **given))
    assert (state["name"], "refused before any canary" in state["message"]) == ("Refused", True)
    assert len(pool.parts()) == 10
    with cased.store.reading() as txn:
        assert txn.all("SELECT id FROM release") == []
        assert txn.all("SELECT part FROM suite_part") == []


def test_a_part_whose_process_was_killed_is_missed_and_the_others_are_called_back(cased, pool, monkeypatch):
    module = cased.folder / f"{cased.module}.py"
    module.write_text(module.read_text() + "\nimport time\n_replay = replay\n\n\ndef replay(inputs):\n"
                      "    time.sleep(300)\n    return _replay(inputs)\n")  # fmt: skip
    flow_run = pool.start("regression_suite/regression-suite", bundle=cased.good, agent="support", spread="2")
    running = wait_for(
        lambda: len(found := [r for r in pool.parts() if r["state"]["type"] == "RUNNING"]) == 2 and found
    )
    assert running, pool.logs()
    pid = wait_for(lambda: process_of(running[0]["id"]))
    os.kill(pid, signal.SIGKILL)
    state = pool.ended(flow_run)
    assert state["name"] == "Refused"
    assert "ended without a report, so the suite" in state["message"]
    gone = wait_for(lambda: all(r["state"]["type"] in {"CRASHED", "CANCELLED"} for r in pool.parts()))
    assert gone, [(r["name"], r["state"]) for r in pool.parts()]


def process_of(flow_run):
    """The process of a flow run: it has the run's id in its environment."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                folder.name.isdigit()
                and f"PREFECT__FLOW_RUN_ID={flow_run}".encode() in (folder / "environ").read_bytes()
            ):
                return int(folder.name)
    return None
