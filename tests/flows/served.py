"""All as people meet it: `lastgood up` in a folder of one's own, and what reaches its API."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import httpx

from lastgood.store import statements as sql
from lastgood.store.connection import Store

#: seconds that a loaded machine may take; what is waited for comes within a few
PATIENCE = 300
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


@contextlib.contextmanager
def up(folder, clean_environment, background, **settings):
    """`with up(...) as place`: `lastgood up` on a free port, with all it keeps in the folder."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = clean_environment | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "prefect"),
        **settings,
    }
    place = Place(folder, environment, f"http://127.0.0.1:{port}/api")
    place.run("lastgood db upgrade")
    command = ["bash", "-c", f"cd {folder} && exec lastgood up --port {port}"]
    with background(command, folder / "up.log", environment) as place.up:
        try:
            yield place
        finally:
            place.store.close()


@contextlib.contextmanager
def at_work(folder, clean_environment, background, **settings):
    """`up` with an adopted agent that serves; `place.good` is what it serves."""
    with up(folder, clean_environment, background, **settings) as place:
        place.run("lastgood init support")
        place.good = place.register()
        place.run(f"lastgood adopt support {place.good}")
        place.run("lastgood policy add policy.yaml")
        place.run("python agent_example.py 1200")
        # 40 runs a second are enough from here on, and leave the machine to what is tested
        text = (folder / "agent_example.py").read_text()
        assert "sleep(0.005)" in text
        (folder / "calm.py").write_text(text.replace("sleep(0.005)", "sleep(0.025)"))
        agent = ["bash", "-c", f"cd {folder} && exec python calm.py 100000"]
        with background(agent, folder / "agent.log", place.environment):
            assert place.is_up(), place.logs()
            yield place


class Place:
    """The folder, its shell, its store and its Prefect API."""

    def __init__(self, folder, environment, url):
        self.folder, self.environment, self.url = folder, environment, url
        self.api = httpx.Client(base_url=url, timeout=30)

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

    def register_with(self, old, new):
        """Register the bundle with a sentence of its prompt changed; return its short id."""
        prompt = self.folder / "prompt.md"
        text = prompt.read_text()
        assert old in text
        prompt.write_text(text.replace(old, new))
        try:
            return self.register()
        finally:
            prompt.write_text(text)

    @cached_property
    def store(self):
        """The store, read in this process: a start of the command costs a second of CPU."""
        own = f"sqlite:///{self.folder}/.lastgood/lastgood.db"
        return Store(self.environment.get("LASTGOOD_DATABASE", own))

    def release(self, agent="support"):
        """The newest release of an agent, as the store has it."""
        with self.store.reading() as txn:
            found = txn.all(sql.RELEASES, agent=agent, environment="production", most=1)
        return dict(found[0]) if found else {}

    def reaches(self, state):
        """Wait until the newest release is in a state."""
        return wait_for(lambda: self.release().get("state") == state, PATIENCE)

    def is_up(self):
        """Wait until everything is served."""
        return wait_for(lambda: "the UI is at" in self.logs("up"), PATIENCE)

    def register(self):
        """Register bundle.yaml as it stands; return its short id."""
        return re.search(r"b-\w+", self.run("lastgood bundle add bundle.yaml"))[0]

    def start(self, deployment, *, state=None, **parameters):
        """Start a flow run of a deployment; return its id."""
        found = wait_for(lambda: self._deployment(deployment), PATIENCE)
        assert found, self.logs()
        body = {"parameters": parameters, **({"state": state} if state else {})}
        return self.ask("POST", f"/deployments/{found}/create_flow_run", body)["id"]

    def ask(self, method, path, body=None):
        """Call the API; its SQLite answers 503 for a moment when it is busy."""
        answer = wait_for(lambda: self._answer(method, path, body), PATIENCE)
        assert answer, self.logs()
        return answer.json()

    def _answer(self, method, path, body):
        try:
            answer = self.api.request(method, path, json=body)
        except httpx.TransportError:  # it is busy
            return None
        return answer if answer.is_success else None

    def _deployment(self, name):
        answer = self.api.get(f"/deployments/name/{name}")
        return answer.json()["id"] if answer.status_code == 200 else None

    def ended(self, flow_run, seconds=PATIENCE):
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

    def told(self, flow_run, text):
        """Wait until the log that the page of a flow run shows has a text; return the log."""
        body = {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"}
        lines = lambda: "\n".join(each["message"] for each in self.ask("POST", "/logs/filter", body))  # noqa: E731
        found = wait_for(lambda: text in (shown := lines()) and shown, PATIENCE)
        assert found, lines()
        return found

    def logs(self, name="*"):
        """What the processes said last."""
        found = [*self.folder.glob(f"{name}.log"), *self.folder.glob(f".lastgood/{name}.log")]
        return "\n".join(path.read_text()[-3000:] for path in found)

    def offered(self):
        """The bundles that the release form offers."""
        found = self.ask("GET", "/deployments/name/release/release")
        return found["parameter_openapi_schema"]["properties"]["candidate"].get("enum", [])

    def artifact(self, key):
        """What an artifact shows."""
        found = self.ask("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"any_": [key]}}})
        return found[0]["data"]

    def label(self, bundle):
        """What the form calls a bundle, once it offers it: registering one is enough, within seconds."""
        label = wait_for(
            lambda: next((each for each in self.offered() if each.startswith(f"{bundle} ")), None), PATIENCE
        )
        assert label, self.offered()
        return label

    def runs(self, deployment):
        """The flow runs of a deployment, the newest first."""
        body = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_DESC"}
        return self.ask("POST", "/flow_runs/filter", body)

    def emit(self, event, resource, related=(), **payload):
        """Send an event as Prefect's own client does."""
        told = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": event,
            "resource": {"prefect.resource.id": resource},
            "related": list(related),
            "payload": payload,
        }
        assert wait_for(lambda: self.api.post("/events", json=[told]).is_success, PATIENCE), self.logs()

    def refused(self, deployment, **parameters):
        """What the API says to a start that it refuses."""
        body = {"parameters": parameters}
        path = f"/deployments/{self._deployment(deployment)}/create_flow_run"
        answer = wait_for(lambda: (a := self.api.post(path, json=body)).status_code == 409 and a, PATIENCE)
        assert answer, self.logs()
        return answer.json()["detail"]
