"""The deployments as people meet them: a real Prefect server, `python -m flows`, releases over its API."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.prefect

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def wait_for(what, seconds):
    """Call until it answers something true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.5)
    return None


@pytest.fixture(scope="module")
def place(tmp_path_factory, real_server, background):
    """A user's folder with an adopted agent at work, a server, and the served deployments."""
    folder = tmp_path_factory.mktemp("served")
    with real_server(sys.executable, folder) as environment:
        environment |= {
            "LASTGOOD_DATABASE": f"sqlite:///{folder}/lastgood.db",
            "LASTGOOD_LOOK_EVERY": "5 s",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        place = Place(folder, environment)
        place.run("lastgood init support")
        place.good = place.register()
        place.run(f"lastgood adopt support {place.good}")
        place.run("lastgood policy add policy.yaml")
        place.run("python agent_example.py 1200")
        serve = [sys.executable, "-m", "flows"]
        agent = [sys.executable, str(folder / "agent_example.py"), "100000"]
        with (
            background(serve, folder / "serve.log", environment),
            background(agent, folder / "agent.log", environment),
        ):
            yield place


class Place:
    """The folder, its shell and its Prefect API."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        self.api = httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=30)

    def run(self, line):
        """Run one line as the user would."""
        made = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, f"{line}\n{made.stdout}{made.stderr}"
        return made.stdout

    def register(self):
        """Register bundle.yaml as it stands; return its short id."""
        return re.search(r"b-\w+", self.run("lastgood bundle add bundle.yaml"))[0]

    def start(self, deployment, **parameters):
        """Start a flow run of a deployment; return its id."""
        found = wait_for(lambda: self._deployment(deployment), 60)
        assert found, self.logs()
        return self.ask("POST", f"/deployments/{found}/create_flow_run", {"parameters": parameters})["id"]

    def ask(self, method, path, body=None):
        """Call the API; its SQLite answers 503 for a moment when it is busy."""
        answer = wait_for(lambda: self._answer(method, path, body), 60)
        assert answer, self.logs()
        return answer.json()

    def _answer(self, method, path, body):
        answer = self.api.request(method, path, json=body)
        return answer if answer.is_success else None

    def _deployment(self, name):
        answer = self.api.get(f"/deployments/name/{name}")
        return answer.json()["id"] if answer.status_code == 200 else None

    def ended(self, flow_run, seconds=90):
        """Wait for a flow run's last state."""

        def look():
            state = self.ask("GET", f"/flow_runs/{flow_run}")["state"]
            return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

        state = wait_for(look, seconds)
        assert state, self.logs()
        return state

    def task_runs(self, flow_run):
        """Names of a flow run's task runs in the order they began; Prefect writes these rows late."""
        body = {"flow_runs": {"id": {"any_": [flow_run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run["name"] for run in self.ask("POST", "/task_runs/filter", body)]

    def logs(self):
        """What the processes said last."""
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))


def test_a_release_started_over_the_api_reverts_a_worse_candidate(place):
    prompt = place.folder / "prompt.md"
    text = prompt.read_text()
    prompt.write_text(text.replace("from the documents only", "from memory"))
    worse = place.register()
    prompt.write_text(text)
    flow_run = place.start("release/release", agent="support", candidate=worse, policy="support")
    state = place.ended(flow_run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Reverted"), place.logs()
    assert "validation is worse" in state["message"]
    names = wait_for(lambda: (found := place.task_runs(flow_run))[-1:] == ["revert"] and found, 30)
    assert names, place.task_runs(flow_run)
    assert [name.split()[0] for name in names[:3]] == ["preflight", "canary", "cap"]
    artifacts = place.ask("POST", "/artifacts/latest/filter", {})
    pages = {found["key"]: found for found in artifacts if found["type"] == "markdown"}
    report = next(found for key, found in pages.items() if key.startswith("release-rel-"))
    assert "no live release" in pages["lastgood-releases"]["data"]
    assert "REVERTED: validation is worse" in report["data"]


#: its first evidence comes 10 s after the start: the flow is killed before that
SLOW = """
name: slow
lost_after: 10 s
look_every: 10 s
driver_timeout: 15 s
lease: 3 min
steps: [{share: 20%}]
guardrails: {validation: {margin: 5 points}}
"""


def test_a_flow_killed_with_nine_is_finished_by_the_schedule(place):
    (place.folder / "slow.yaml").write_text(SLOW)
    place.run("lastgood policy add slow.yaml")
    prompt = place.folder / "prompt.md"
    prompt.write_text(prompt.read_text().replace("from the documents only", "from memory, kindly"))
    worse = place.register()
    flow_run = place.start("release/release", agent="support", candidate=worse, policy="slow")
    assert wait_for(lambda: "(compare)" in place.run("lastgood status support"), 60), place.logs()
    killed = kill_flow_process(flow_run)
    assert killed, "the flow run's process was not found"
    ended = wait_for(lambda: place.run("lastgood release status support").startswith("REVERTED"), 180)
    assert ended, place.run("lastgood status support") + place.logs()
    assert "sound" in place.run("lastgood status support")
    report = place.run("lastgood release status support --markdown")
    assert re.search(r"revert \| validation is worse .* \| evaluate", report), report


ASKING = SLOW.replace("name: slow", "name: asking\napproval: {before: [start], not_author: true}")


def test_an_approval_is_a_suspended_run_whose_form_is_recorded_in_our_tables(place):
    (place.folder / "asking.yaml").write_text(ASKING)
    place.run("lastgood policy add asking.yaml")
    prompt = place.folder / "prompt.md"
    prompt.write_text(prompt.read_text() + "\nBe brief.\n")
    candidate = place.register()
    author = place.run("id -un").strip()
    flow_run = place.start("release/release", agent="support", candidate=candidate, policy="asking")
    assert suspended(place, flow_run), place.logs()
    index = artifact(place, "lastgood-releases")
    assert "awaiting" in index
    assert "a person has to approve the first share until" in index

    answer = {"decision": "promote", "who": author, "reason": "it is mine"}
    place.ask("POST", f"/flow_runs/{flow_run}/resume", {"run_input": answer})
    again = wait_for(lambda: "Not taken" in form(place, flow_run) and suspended(place, flow_run), 180)
    assert again, place.logs()
    assert "wants somebody else to approve it" in form(place, flow_run)
    assert "asked" in place.run("lastgood status support")

    place.run("lastgood approve support --decision promote --actor ben --reason 'looks good'")
    status = wait_for(lambda: "serves 20%" in place.run("lastgood notices list support"), 180)
    assert status, place.run("lastgood status support") + place.logs()

    answer = {"decision": "revert", "who": "cleo", "reason": "too late"}
    place.ask("POST", f"/flow_runs/{flow_run}/resume", {"run_input": answer})
    said = wait_for(lambda: "decided already: promote by ben (looks good)" in boxes(place, flow_run), 180)
    assert said, boxes(place, flow_run) + place.logs()
    assert "(compare)" in wait_for(
        lambda: (shown := place.run("lastgood status support")) and "(compare)" in shown and shown, 180
    )
    place.run("lastgood rollback support --reason 'enough seen'")
    assert place.ended(flow_run, 180)["name"] == "Reverted"


def suspended(place, flow_run):
    """Wait until a flow run is suspended with a form."""
    return wait_for(
        lambda: (
            place.ask("GET", f"/flow_runs/{flow_run}")["state"]["name"] == "Suspended"
            and form(place, flow_run)
        ),
        90,
    )


def form(place, flow_run):
    """The text above the form that a suspended run shows."""
    state = place.ask("GET", f"/flow_runs/{flow_run}")["state"]
    keys = state["state_details"].get("run_input_keyset")
    if not keys:
        return ""
    answer = place.api.get(f"/flow_runs/{flow_run}/input/{keys['description']}")
    return answer.text if answer.is_success else ""


def boxes(place, flow_run):
    """What the boxes of a flow run ended with."""
    body = {"flow_runs": {"id": {"any_": [flow_run]}}}
    return "\n".join(str(run["state"]["message"]) for run in place.ask("POST", "/task_runs/filter", body))


def artifact(place, key):
    """What an artifact shows."""
    found = place.ask("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"any_": [key]}}})
    return found[0]["data"]


def kill_flow_process(flow_run):
    """SIGKILL the process that runs a flow run, found by the id in its environment."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            variables = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"PREFECT__FLOW_RUN_ID={flow_run}".encode() in variables:
            os.kill(int(folder.name), signal.SIGKILL)
            return True
    return False


def test_rollback_works_from_prefect_and_without_it(place):
    said = place.run("lastgood rollback support 2>&1 || true")
    assert "rolled back" in said or "no other" in said
    flow_run = place.start("rollback/rollback", agent="nobody")
    state = place.ended(flow_run)
    assert state["type"] == "FAILED"
    assert "no agent 'nobody'" in state["message"]
