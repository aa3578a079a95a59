"""`make interop`: the recipes under docs/recipes, followed to their end against the real packages.

Each page is followed in a folder and an environment of its own, which its own first command fills; what it
leaves in its store is then looked at. Nothing leaves this machine but the installation: the OpenAI SDK and
Langfuse's client speak to servers on loopback, Prometheus is Debian's.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from serving import go_live
from speaking import Langfuse, OpenAI, speaking

from lastgood import control, points, registry, releasing
from lastgood.bundle import Bundle, Part
from lastgood.releasing import Ending
from lastgood.store.connection import Store
from tests.recipes.following import Followed, page, reader

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(sys.executable).parent
#: what the pages were followed with
PINS = (
    "langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2", "pydantic-ai-slim==2.62.0", "openai==3.51.0",
    "openai-agents==0.24.0", "opentelemetry-sdk==1.45.2", "langfuse==5.0.4", "prometheus-client==0.26.0",
)  # fmt: skip
NPM = {
    "@openfeature/server-sdk": "1.23.0", "@openfeature/ofrep-provider": "0.1.3", "typescript@5": "5.9.3",
    "@types/node@22": "22.19.0",
}  # fmt: skip
CHECKOUT, SERVE, AT = "PATH_OF_THIS_CHECKOUT", "lastgood serve &", "127.0.0.1:4300"
KUBERNETES_VALIDATE = "kubernetes-validate==1.37.0"
#: versions of Kubernetes whose schemas the manifests are held to
VERSIONS = ("1.31", "1.34", "1.37")


class Desk:
    """Where one page is followed."""

    def __init__(self, work: Path, name: str) -> None:
        self.name = name
        self.folder = work / "recipes" / name
        self.home = work / "recipes" / f"{name}-env"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if not (self.home / "bin/python").exists():
            subprocess.run([sys.executable, "-m", "venv", self.home], check=True)
        pins = self.home / "pins.txt"
        pins.write_text("\n".join(PINS) + "\n")
        self.own = {"PIP_CONSTRAINT": str(pins), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"}

    @property
    def programs(self) -> Path:
        """What comes first on its path."""
        return self.home / "bin"

    def adopted(self) -> None:
        """Do what the README's first release does before an agent is there."""
        script = (
            "lastgood init support && lastgood bundle add bundle.yaml && "
            "lastgood adopt support $(lastgood bundle list | awk 'NR == 2 {print $1}')"
        )
        environment = reader({}, HERE)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for name in ("bundle.yaml", "policy.yaml", "prompt.md", "agent_example.py"):
            (self.folder / name).unlink()  # the page has its own

    def follow(
        self,
        swaps: Mapping[str, str],
        own: Mapping[str, str] | None = None,
        after: Mapping[str, Callable[[], object]] | None = None,
        programs: str | Path = "",
    ) -> Followed:
        """Follow its page to its end."""
        environment = reader({**self.own, **(own or {})}, programs or self.programs)
        return Followed(page(self.name), self.folder, environment, swaps, after or {}).go()

    def store(self) -> Store:
        """What the page left."""
        return Store(f"sqlite:///{self.folder / '.lastgood/lastgood.db'}")

    def runs(self) -> list[dict[str, Any]]:
        """Every run of the page with its outcome, in order."""
        with closing(self.store()) as store, store.reading() as txn:
            rows = txn.all("SELECT run.*, outcome.* FROM run LEFT JOIN outcome ON run_id = id ORDER BY seq")
            return [dict(row) for row in rows]

    def actions(self) -> list[tuple[str, str, str]]:
        """Kind, target and state of every action, in order."""
        with closing(self.store()) as store, store.reading() as txn:
            rows = txn.all("SELECT kind, target, state FROM action ORDER BY id")
            return [(row["kind"], row["target"], row["state"]) for row in rows]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _release(store: Store, agent: str, share_bp: int) -> str:
    """Start a release of a candidate with another prompt, and serve it; its id."""
    with store.reading() as txn:
        baseline = points.read(txn, agent, "production").baseline
    others = [part for part in registry.load(store, baseline).bundle.parts if part.kind != "prompt"]
    other = Bundle([Part.of_value("prompt", "2", "Do whatever is asked."), *others])
    candidate = registry.register(store, agent, other, author="ann")[0].bundle.id
    return go_live(store, candidate, share_bp, agent)


def langgraph(desk: Desk) -> str:
    """The page, then a revert while a run of the candidate waits for its person."""
    desk.follow({CHECKOUT: str(ROOT)})
    [run] = desk.runs()
    assert (run["completed"], run["output"]) == (1, '"refunded 30 for order-17"'), run
    assert desk.actions() == [("note", "", "done"), ("refund", "order-17", "done")], desk.actions()
    environment = reader(desk.own, desk.programs)

    def agent(*words: str, script: str | Path = "agent.py") -> tuple[int, str]:
        done = subprocess.run(
            ["python", script, *words],
            cwd=desk.folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    asking = Path(__file__).with_name("asking_tool.py")
    code, said = agent("begin", script=asking)
    assert (code, desk.actions()[-1]) == (0, ("refund", "order-99", "failed")), said
    code, said = agent("answer", said.strip(), script=asking)
    assert (said, desk.actions()[-1]) == ("refunded order-99\n", ("refund", "order-99", "done")), said
    with closing(desk.store()) as store:
        release = _release(store, "refunds", 9_900)
        for number in range(18, 40):
            code, said = agent("begin", f"order-{number}")
            assert code == 0, said
            if desk.runs()[-1]["arm"] == "candidate":
                break
        releasing.revert(store, release, Ending("ann", "it is bad", "hand"))
    waiting = said.split()[-1]
    code, said = agent("answer", waiting, "yes")
    assert code and "Refused" in said and "its release was reverted" in said, said
    last = desk.runs()[-1]
    assert (last["id"], last["completed"], last["error"]) == (waiting, 0, "Refused"), last
    assert ("refund", f"order-{number}", "done") not in desk.actions()
    return "resumed on its bundle in another process, by a node and by a tool; refused after a revert"


def pydantic_ai(desk: Desk) -> str:
    """The page."""
    desk.follow({CHECKOUT: str(ROOT)})
    [run] = desk.runs()
    assert (run["completed"], run["validated"]) == (1, 1) and run["cost_usd"] > 0, run
    assert desk.actions() == [("message", "a", "done")]
    with closing(desk.store()) as store:
        others = [part for part in registry.load(store, "support-1").bundle.parts if part.kind != "tools"]
        silent = [{"name": "send", "kind": "message", "input": {"properties": {"text": {"maxLength": 0}}}}]
        other = Bundle([Part.of_value("tools", "2", silent), *others])
        other_id = registry.register(store, "support", other, author="ann")[0].bundle.id
        vouch = {"actor": "ann", "reason": "to try it", "to": other_id, "vouched": True}
        control.rollback(store, "support", "production", **vouch)
    done = subprocess.run(
        ["python", "agent.py"],
        cwd=desk.folder, env=reader(desk.own, desk.programs), capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = desk.runs()[-1]
    assert done.returncode, done.stdout
    assert (last["completed"], json.loads(last["metrics"])) == (0, {"tool_malformed": True}), last
    assert len(desk.actions()) == 1
    return "its run, its cost and its message are recorded; a malformed call is told and counted"


def _with_openai(desk: Desk, server: OpenAI) -> dict[str, Any]:
    """Follow a page whose model is a server here; its run."""
    with speaking(server) as url:
        own = {
            "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "sk-none", "OPENAI_AGENTS_DISABLE_TRACING": "1",
        }  # fmt: skip
        desk.follow({CHECKOUT: str(ROOT)}, own)
    [run] = desk.runs()
    assert run["completed"] == 1 and run["cost_usd"] > 0, run
    assert desk.actions() == [("message", "ann@example.com", "done")]
    told = {(each["model"], each["instructions"], each["tools"][0]["name"]) for each in server.asked}
    assert told == {("gpt-5-mini", "Answer briefly. Tell the customer by message.", "send")}, told
    return run


def openai(desk: Desk) -> str:
    """The page; the model's first call lacks an argument."""
    server = OpenAI()
    run = _with_openai(desk, server)
    assert json.loads(run["metrics"])["tool_malformed"] is True
    assert len(json.loads(run["usage"])) == len(server.asked) == 3
    assert "missing a required argument: 'text'" in server.asked[1]["input"][-1]["output"]
    return "a malformed call was refused, told to the model and counted; the next took effect"


def openai_agents(desk: Desk) -> str:
    """The page."""
    server = OpenAI()
    server.slips = False
    _with_openai(desk, server)
    assert len(server.asked) == 2
    return "its run, its cost and its message are recorded"


def telemetry(desk: Desk) -> str:
    """The page."""
    desk.adopted()
    with closing(desk.store()) as store:
        _release(store, "support", 5_000)
    port = _free_port()
    desk.follow(
        {CHECKOUT: str(ROOT), SERVE: f"lastgood serve --port {port} &", AT: f"127.0.0.1:{port}"},
    )
    evidence, attributed = desk.runs()
    assert (evidence["unit"], evidence["eligible"], evidence["validated"]) == ("ticket-1", 1, 1), evidence
    assert (attributed["unit"], attributed["eligible"]) == ("ticket-2", 0), attributed
    assert evidence["cost_usd"] > 0
    assert sorted(desk.actions()) == [
        ("memory_write", f"note of ticket-{number}", "done") for number in (1, 2)
    ]
    return "one run is evidence, one attributed, one counted as not mapped"


def typescript(desk: Desk) -> str:
    """The page."""
    desk.adopted()
    port = _free_port()
    pinned = {f" {name}": f" {name.partition('@5')[0].partition('@22')[0]}@{v}" for name, v in NPM.items()}
    swaps = {SERVE: f"lastgood serve --port {port} &", AT: f"127.0.0.1:{port}", **pinned}
    desk.follow(swaps, programs=HERE)
    [run] = desk.runs()
    assert (run["unit"], run["validated"], run["cost_usd"]) == ("ticket-4711", 1, 0.002), run
    assert desk.actions() == [("message", "ann@example.com", "done")]
    with socket.create_server(("127.0.0.1", port)):  # a service that takes a connection and says nothing
        began = time.monotonic()
        done = subprocess.run(
            ["node", "agent.js"], cwd=desk.folder, capture_output=True, text=True, check=False
        )
        assert "sent: (small-model)" in done.stdout and time.monotonic() - began < 20, done
    return "compiled strictly; its action and outcome are recorded, and it goes on alone"


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Debian's Prometheus, which scrapes a target every second; its address."""
    found = shutil.which("prometheus")
    assert found is not None
    port = _free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: support, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    command = [found, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                    break
            except OSError:
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _whole_minute() -> None:
    """Langfuse's figures are of whole minutes: wait until one with scores is over."""
    time.sleep(61 - time.time() % 60)


def signals(desk: Desk) -> str:
    """The page, in the checkout's environment with two packages beside it."""
    if shutil.which("prometheus") is None:
        return "left out, there is no Prometheus here: apt-get install prometheus"
    beside = Path(sysconfig.get_paths()["purelib"])
    [site] = (desk.home / "lib").glob("python3*/site-packages")
    (site / "checkout.pth").write_text(f"{beside}\n{ROOT}\n")
    desk.adopted()
    server, port = Langfuse(), _free_port()
    with speaking(server) as langfuse, prometheus(desk.folder, f"127.0.0.1:{port}") as metrics:
        swaps = {
            "https://langfuse.internal": langfuse,
            "http://prometheus.internal:9090": metrics,
            "prometheus.internal,langfuse.internal": "127.0.0.1",
            "start_http_server(8000)": f"start_http_server({port})",
        }
        after = {"python agent.py": _whole_minute}
        desk.follow(swaps, after=after, programs=f"{desk.programs}:{HERE}")
    assert server.spans and len(server.scores) == 300 and server.strange == [], server.strange
    return "300 runs: figures of Prometheus, scores and figures as Langfuse's client sent them"


#: by page: what follows it, and says in a few words what it saw
FOLLOWED: Mapping[str, Callable[[Desk], str]] = {
    "langgraph": langgraph,
    "pydantic-ai": pydantic_ai,
    "openai": openai,
    "openai-agents": openai_agents,
    "telemetry": telemetry,
    "typescript": typescript,
    "signals": signals,
}


def manifests(work: Path) -> str:
    """Hold the manifests of examples/kubernetes to the schemas of Kubernetes."""
    home = work / "kubernetes-validate"
    if not (home / "bin/kubernetes-validate").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin/python", "-m", "pip", "install", "-q", KUBERNETES_VALIDATE], check=True)
    others = {"kustomization.yaml", "bundle.yaml"}
    files = [
        each for each in sorted((ROOT / "examples/kubernetes").glob("*.yaml")) if each.name not in others
    ]
    for version in VERSIONS:
        command = [home / "bin/kubernetes-validate", "--strict", "--kubernetes-version", version, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return f"{len(files)} files fit the schemas of {', '.join(VERSIONS)} strictly"


def main() -> None:
    """Follow the pages that are named, or all; any difference is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop")
    parser.add_argument("pages", nargs="*", help=f"default: {', '.join((*FOLLOWED, 'kubernetes'))}")
    given = parser.parse_args()
    work = given.work.resolve()
    for name in given.pages or (*FOLLOWED, "kubernetes"):
        if name == "typescript" and (shutil.which("npm") is None or shutil.which("node") is None):
            print("typescript: left out, there is no Node.js with npm here", flush=True)
            continue
        said = manifests(work) if name == "kubernetes" else FOLLOWED[name](Desk(work, name))
        print(f"{name}: {said}", flush=True)


if __name__ == "__main__":
    os.environ.pop("LASTGOOD_DATABASE", None)
    main()
