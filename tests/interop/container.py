"""Build the images of examples/kubernetes for real, and run the service and an agent that are in them.

No registry of images is asked: the base is a root that debootstrap makes. `buildah` builds and runs in a
chroot, which is no runtime of Kubernetes: the root stays writable, and nothing is said of limits or networks.
Needs root, and `apt-get install buildah debootstrap`. Not part of `make interop`: it takes minutes and GBs.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE, PIPELINE, AGENT = "localhost/debian-python", "localhost/lastgood:1", "localhost/support:1"
#: a chroot asks nothing of the kernel that a container on this machine may lack
_BUILDAH = ["buildah", "--storage-driver", "vfs"]
_STORE = "LASTGOOD_DATABASE=sqlite:////home/lastgood/lastgood.db"


def _buildah(*words: str | Path) -> str:
    done = subprocess.run([*_BUILDAH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout.strip()


def make_base(work: Path) -> None:
    """Make the base from Debian's packages: Python with venv, and nothing else."""
    root = work / "root"
    if not (root / "usr/bin/python3").exists():
        shutil.rmtree(root, ignore_errors=True)
        packages = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, "bookworm", root]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    made = _buildah("from", "scratch")
    try:
        _buildah("add", "--quiet", made, root, "/")
        _buildah("commit", "--quiet", made, BASE)
    finally:
        _buildah("rm", made)


def build(target: str, image: str, certificates: Path | None) -> None:
    """Build one target of the container file."""
    mounts = [] if certificates is None else ["--volume", f"{certificates}:/etc/ssl/certs:ro"]
    began = time.monotonic()
    words = ["--isolation", "chroot", "--build-arg", f"BASE={BASE}", "--target", target, "-t", image]
    _buildah("bud", *words, *mounts, "-f", ROOT / "examples/kubernetes/Containerfile", ROOT)
    print(f"{target}: built in {time.monotonic() - began:.0f} s")


@contextlib.contextmanager
def container(image: str) -> Iterator[str]:
    """A working container of an image."""
    made = _buildah("from", image)
    try:
        yield made
    finally:
        _buildah("rm", made)


def _running(made: str, *words: str) -> list[str]:
    environment = [word for word in words if "=" in word and word.partition("=")[0].isupper()]
    command = words[len(environment) :]
    options = [option for each in environment for option in ("--env", each)]
    return [*_BUILDAH, "run", "--isolation", "chroot", *options, made, "--", *command]


def _inside(made: str, *words: str) -> str:
    done = subprocess.run(_running(made, *words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _background(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run in a container; it is told to end as a kubelet does it, by SIGTERM to its first process."""
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        yield process
    finally:
        for pid in _first(process.pid):
            os.kill(pid, signal.SIGTERM)
        process.wait(60)


def _first(pid: int) -> list[int]:
    """The processes below buildah's own that are no process of buildah."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            name = Path(f"/proc/{child}/cmdline").read_text().partition("\0")[0]
            found += _first(child) if name.startswith("buildah") else [child]
    return found


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-3_000:]
        time.sleep(0.2)


def run(work: Path) -> None:
    """Serve from the one image, and work from the other, each as its own user."""
    port = _free_port()
    with container(PIPELINE) as pipeline, container(AGENT) as agent:
        assert _inside(pipeline, "id", "-u") == _inside(agent, "id", "-u") == "10001"
        print(_inside(pipeline, _STORE, "lastgood", "db", "upgrade"))
        print(_inside(pipeline, _STORE, "lastgood", "bundle", "add", "/app/examples/kubernetes/bundle.yaml"))
        print(_inside(pipeline, _STORE, "lastgood", "adopt", "support", "support-1"))
        made = _inside(pipeline, _STORE, "lastgood", "token", "make", "workers", "--role", "agent")
        serve, log = _running(pipeline, _STORE, "lastgood", "serve", "--port", str(port)), work / "serve.log"
        with _background(serve, log) as process:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            url, token = f"LASTGOOD_URL=http://127.0.0.1:{port}", f"LASTGOOD_TOKEN={made.splitlines()[0]}"
            with _background(
                _running(agent, url, token, "python", "agent.py"), work / "agent.log"
            ) as working:
                time.sleep(10)
                assert working.poll() is None, (work / "agent.log").read_text()
        said = (work / "agent.log").read_text().splitlines()
        assert len(said) > 5 and said[-1] == "told to end, and ended between two runs", said
        print(f"the agent's image: {len(said) - 1} runs, the last words: {said[-1]}")
        print(_inside(pipeline, _STORE, "lastgood", "status"))
        up, log = _running(pipeline, _STORE, "lastgood", "up", "--port", str(port)), work / "up.log"
        with _background(up, log) as process:
            _wait(f"http://127.0.0.1:{port}/api/health", process, log)
            print("the pipeline's image: Prefect answers")
        packages = _inside(agent, "/venv/bin/python", "-m", "pip", "list", "--format=freeze")
        heavy = {line.partition("==")[0].lower() for line in packages.splitlines()} & {
            "prefect",
            "pandas",
            "scipy",
        }
        assert not heavy, heavy


def main() -> None:
    """Make the base, build both images, run them; any difference is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop/container")
    parser.add_argument("--certificates", type=Path, help="certificates of a proxy between here and packages")
    parser.add_argument("--built", action="store_true", help="only run the images that are there")
    given = parser.parse_args()
    missing = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        print(f"left out: it needs root, and of Debian's packages {' and '.join(missing) or 'no other'}")
        return
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not given.built:
        make_base(work)
        build("pipeline", PIPELINE, given.certificates)
        build("agent", AGENT, given.certificates)
    run(work)


if __name__ == "__main__":
    main()
