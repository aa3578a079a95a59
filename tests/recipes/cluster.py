"""What Kubernetes would do with the manifests of a recipe, done with processes on loopback.

`kubectl` and `podman` of a reader's path (`stand_in`) come here. Each replica of a Deployment is a process
with the command, the arguments and the environment of its container, at an address of its own (127.0.x.y);
one that dies is started again. Secrets, Jobs, probes and Services mean what they mean there. No image is
built and none is run: `tests/interop/container.py` does that. What is not known here is refused, so that the
page can't say more than was tried.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
#: the variable of the folder in which a cluster keeps what it knows
HOME = "RECIPE_CLUSTER"
#: seconds for what has to become ready, where no manifest says it
_PATIENCE_S = 120.0
#: seconds that a container without a probe has to live to count as started
_LIVES_S = 1.0


def stand_in(folder: Path) -> Path:
    """Make `kubectl` and `podman` over a new cluster in `folder`; return where they are."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    for name in ("kubectl", "podman"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        program.chmod(0o755)
    return programs


class Cluster:
    """What was applied, and the processes that it became."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "cluster.json"
        self.state: dict[str, Any] = {"secrets": {}, "objects": {}, "pods": {}, "images": []}
        if self._file.exists():
            self.state = json.loads(self._file.read_text(encoding="utf-8"))

    def keep(self) -> None:
        """Remember it for the next command."""
        self._file.write_text(json.dumps(self.state), encoding="utf-8")

    def object(self, kind: str, name: str) -> dict[str, Any]:
        """What was applied under a name."""
        return self.state["objects"][f"{kind}/{name}"]

    def deployments(self) -> list[dict[str, Any]]:
        """Every Deployment."""
        return [each for key, each in self.state["objects"].items() if key.startswith("Deployment/")]

    def apply(self, folder: Path) -> None:
        """Take what a kustomization names, run its Jobs, and start what can be."""
        wanted = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        for name in wanted["resources"]:
            for each in yaml.safe_load_all((folder / name).read_text(encoding="utf-8")):
                self.state["objects"][f"{each['kind']}/{each['metadata']['name']}"] = each
        for key, each in self.state["objects"].items():
            if key.startswith("Job/"):
                self.run_job(each["spec"])

    def run_job(self, spec: dict[str, Any]) -> None:
        """Run the container of a Job to its end."""
        pod = spec["template"]["spec"]
        environment = self.environment(pod, "127.0.0.1")
        assert environment is not None, "a secret of the Job is not there"
        subprocess.run(self._command(pod, "127.0.0.1"), env=environment, cwd=self.folder, check=True)

    def environment(self, pod: dict[str, Any], address: str) -> dict[str, str] | None:
        """The environment of a pod's container; None while a secret that it names is not there."""
        [container] = pod["containers"]
        plain = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(self.folder)}
        found = {**plain, "PYTHONUNBUFFERED": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        for each in container.get("envFrom", ()):
            if each["secretRef"]["name"] not in self.state["secrets"]:
                return None
            found |= self.state["secrets"][each["secretRef"]["name"]]
        for each in container.get("env", ()):
            value = each.get("value")
            if value is None:
                named = each["valueFrom"]["secretKeyRef"]
                if named["name"] not in self.state["secrets"]:
                    return None
                value = self.state["secrets"][named["name"]][named["key"]]
            found[each["name"]] = self._reached(value, address)
        return found

    def _reached(self, value: str, address: str) -> str:
        """A value with the name of a Service as one of its pods: replicas are spread over them."""
        for key, each in self.state["objects"].items():
            host = f"http://{key.partition('/')[2]}"
            if key.startswith("Service/") and value == host:
                [port] = each["spec"]["ports"]
                assert port["port"] == 80, "http:// means port 80"
                name, number = self._behind(each, port)
                pods = self.state["pods"].get(name, [])
                turn = int(address.rpartition(".")[2])
                return f"http://{pods[turn % len(pods)]['address']}:{number}" if pods else host
        return value

    def _behind(self, service: dict[str, Any], port: dict[str, Any]) -> tuple[str, int]:
        """The Deployment that a Service selects, and the number of the port that it targets."""
        for each in self.deployments():
            pod = each["spec"]["template"]
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items():
                return each["metadata"]["name"], _port(pod["spec"], port["targetPort"])
        raise AssertionError(f"nothing is behind {service['metadata']['name']}")

    def _command(self, pod: dict[str, Any], address: str) -> list[str]:
        [container] = pod["containers"]
        assert container["image"] in self.state["images"], f"{container['image']} was pushed by nobody"
        words = [*container["command"], *container.get("args", ())]
        return [word.replace("0.0.0.0", address) for word in words]

    def reconcile(self) -> None:
        """Start what is missing and end what is too much."""
        for place, each in enumerate(self.deployments()):
            name, spec = each["metadata"]["name"], each["spec"]
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
            pods = self.state["pods"].setdefault(name, [])
            for surplus in pods[spec["replicas"] :]:
                end(surplus["pid"])
            del pods[spec["replicas"] :]
            for number in range(spec["replicas"]):
                if number < len(pods) and lives(pods[number]["pid"]):
                    continue
                started = self._start(name, spec["template"]["spec"], f"127.0.{10 + place}.{number + 1}")
                if started is not None:
                    pods[number : number + 1] = [started]

    def _start(self, name: str, pod: dict[str, Any], address: str) -> dict[str, Any] | None:
        environment = self.environment(pod, address)
        if environment is None:
            return None
        folder = self.folder / f"pod-{address}"
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / "examples/kubernetes/agent.py", folder)  # as the container file does
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self._command(pod, address),
                env={**environment, "HOME": str(folder)},
                cwd=folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return {"pid": process.pid, "address": address, "log": str(folder / "log"), "name": name}

    def wait_ready(self, name: str) -> None:
        """Wait until every replica is there and its probe answers, as long as the manifest gives it."""
        spec = self.object("Deployment", name)["spec"]
        until = time.monotonic() + _startup_s(spec["template"]["spec"])
        while True:
            self.reconcile()
            pods = self.state["pods"][name]
            if len(pods) == spec["replicas"] and all(_ready(spec["template"]["spec"], pod) for pod in pods):
                return
            said = [Path(pod["log"]).read_text(errors="replace")[-2_000:] for pod in pods]
            assert time.monotonic() < until, f"{name} is not ready: {said}"
            time.sleep(0.2)


def _startup_s(pod: dict[str, Any]) -> float:
    """Seconds after which a container that has not started is killed by its own startup probe."""
    [container] = pod["containers"]
    probe = container.get("startupProbe")
    return _PATIENCE_S if probe is None else float(probe["periodSeconds"] * probe["failureThreshold"])


def _port(pod: dict[str, Any], named: str | int) -> int:
    [container] = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", ())}
    return int(ports.get(named, named))


def _ready(pod: dict[str, Any], started: dict[str, Any]) -> bool:
    [container] = pod["containers"]
    probes = [
        container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe") if name in container
    ]
    if not probes:
        time.sleep(_LIVES_S)
        return lives(started["pid"])
    return all(_answers(pod, probe, started["address"]) for probe in probes)


def _answers(pod: dict[str, Any], probe: dict[str, Any], address: str) -> bool:
    how = probe.get("httpGet") or probe["tcpSocket"]
    port = _port(pod, how["port"])
    with contextlib.suppress(OSError):
        if "path" not in how:
            socket.create_connection((address, port), timeout=5).close()
            return True
        with urllib.request.urlopen(f"http://{address}:{port}{how['path']}", timeout=5) as said:
            return said.status == 200
    return False


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def end(pid: int) -> None:
    """Ask a process to end, as Kubernetes does, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _PATIENCE_S
    while lives(pid):
        assert time.monotonic() < until, f"process {pid} does not end"
        time.sleep(0.05)


def kubectl(cluster: Cluster, words: list[str]) -> int:
    """One command; `AssertionError` for one that is not known here."""
    match words:
        case ["create", "secret", "generic", name, *pairs]:
            assert name not in cluster.state["secrets"]
            read = (pair.removeprefix("--from-literal=").partition("=") for pair in pairs)
            cluster.state["secrets"][name] = {key: value for key, _, value in read}
        case ["apply", "-k", folder]:
            cluster.apply(Path(folder))
        case ["wait", "--for=condition=complete", job, *_]:
            cluster.object("Job", job.removeprefix("job/"))  # it ran to its end when it was applied
        case ["rollout", "status", deployment]:
            cluster.wait_ready(deployment.removeprefix("deploy/"))
        case ["scale", deployment, replicas]:
            spec = cluster.object("Deployment", deployment.removeprefix("deploy/"))["spec"]
            spec["replicas"] = int(replicas.removeprefix("--replicas="))
        case ["create", "job", _, source]:
            template = cluster.object("CronJob", source.removeprefix("--from=cronjob/"))["spec"][
                "jobTemplate"
            ]
            cluster.run_job(template["spec"])
        case ["logs", deployment, "--tail=1"]:
            print(_said(cluster.state["pods"][deployment.removeprefix("deploy/")][0]))
        case ["exec", deployment, "--", *command]:
            return _inside(cluster, deployment.removeprefix("deploy/"), command)
        case _:
            raise AssertionError(f"nobody knows here what `kubectl {' '.join(words)}` does")
    cluster.reconcile()
    return 0


def _said(pod: dict[str, Any]) -> str:
    until = time.monotonic() + _PATIENCE_S
    while not (lines := Path(pod["log"]).read_text(encoding="utf-8").splitlines()):
        assert time.monotonic() < until, f"{pod['name']} says nothing"
        time.sleep(0.1)
    return lines[-1]


def _inside(cluster: Cluster, name: str, command: list[str]) -> int:
    pod = cluster.object("Deployment", name)["spec"]["template"]["spec"]
    environment = cluster.environment(pod, cluster.state["pods"][name][0]["address"])
    assert environment is not None
    words = [word.replace("/app/", f"{ROOT}/") for word in command]
    return subprocess.run(words, env={**environment, "LASTGOOD_ACTOR": "reader"}, check=False).returncode


def podman(cluster: Cluster, words: list[str]) -> int:
    """Check what a build names, and remember what was pushed; nothing is built."""
    match words:
        case ["build", "--target", target, "-t", image, "-f", file, folder]:
            text = (Path(folder) / file).read_text(encoding="utf-8")
            assert f" AS {target}\n" in text, f"{file} has no target {target}"
            for source in copied(text):
                assert (Path(folder) / source).exists(), f"{file} copies {source}, which is not there"
            cluster.state.setdefault("built", []).append(image)
        case ["push", image]:
            assert image in cluster.state["built"], f"{image} was built by nobody"
            cluster.state["images"].append(image)
        case _:
            raise AssertionError(f"nobody knows here what `podman {' '.join(words)}` does")
    return 0


def copied(containerfile: str) -> Iterator[str]:
    """What a container file copies from its context."""
    for line in containerfile.splitlines():
        if line.startswith("COPY "):
            yield from line.split()[1:-1]


def main() -> int:
    """One command of a reader."""
    program, *words = sys.argv[1:]
    cluster = Cluster(Path(os.environ[HOME]))
    try:
        return {"kubectl": kubectl, "podman": podman}[program](cluster, words)
    finally:
        cluster.keep()


if __name__ == "__main__":
    sys.exit(main())
