"""A store with a live release at half the share, and a real `lastgood serve` over it, for real clients."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lastgood import control, points, registry, releasing, tokens
from lastgood.bundle import Bundle, Part
from lastgood.caps import Caps
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Ending, Stage, Start
from lastgood.roles import Role
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade

PRICES = {"small": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}}
TOOLS = [{"name": "send", "kind": "message", "target": "to", "undo": "retract"}, {"name": "retract"}]
HOUR_US = 3_600_000_000
OPEN = Terms(caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None))


@dataclass
class Served:
    """A running service."""

    store: Store
    url: str
    baseline: str
    candidate: str
    release: str
    process: subprocess.Popen[bytes]

    def token(self, role: str) -> str:
        """A new token of a role."""
        return tokens.mint(self.store, f"the {role}", Role(role), actor="root").text

    def revert(self) -> None:
        """Put the baseline back."""
        releasing.revert(self.store, self.release, Ending("ann", "it is bad", "hand"))

    def stop(self) -> None:
        """End the service."""
        self.process.terminate()
        self.process.wait(20)


def _register(store: Store, prompt: str) -> str:
    bundle = Bundle(
        [
            Part.of_value("prompt", "1", prompt),
            Part.of_value("model", "1", {"default": "small", "prices": PRICES}),
            Part.of_value("tools", "1", TOOLS),
            Part.of_value("memory", "1", {"retrieval": "none"}),
            Part.of_value("policy", "1", {"escalate_below": 0.5}),
        ]
    )
    return registry.register(store, "support", bundle, author="ann")[0].bundle.id


def go_live(store: Store, candidate: str, share_bp: int, agent: str = "support") -> str:
    """Start a release and serve its candidate; the release."""
    wanted = Start(agent, "production", candidate, "default", "d" * 64, "{}", "{}", OPEN, "ann")
    release = releasing.start(store, wanted)
    with store.reading() as txn:
        point = points.read(txn, agent, "production")
    stage = Stage("canary:0", ReleaseState.CANARY, 0)
    entry = Entry("share", "ann", "half", release)
    given = {"share_bp": share_bp, "lease_us": HOUR_US, "entry": entry, "expect": Expect.of(point)}
    releasing.set_share(store, release, stage, **given)
    return release


@contextlib.contextmanager
def serving(folder: Path, share_bp: int = 5_000) -> Iterator[Served]:
    """A service over a new store in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("lastgood.db*"):
        file.unlink()
    url = f"sqlite:///{folder / 'lastgood.db'}"
    upgrade(url)
    store = Store(url)
    baseline, candidate = _register(store, "first"), _register(store, "second")
    control.adopt(store, "support", "production", baseline, actor="ann", reason="it serves today")
    release = go_live(store, candidate, share_bp)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [Path(sys.executable).with_name("lastgood"), "serve", "--port", str(port)]
    environment = {**os.environ, "LASTGOOD_DATABASE": url}
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        at = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{at}/health", timeout=5):
                break
            assert process.poll() is None and time.monotonic() < until, (folder / "serve.log").read_text()
            time.sleep(0.1)
        yield Served(store, at, baseline, candidate, release, process)
    finally:
        process.kill()
        process.wait(20)
