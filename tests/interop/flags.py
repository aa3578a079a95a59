"""`make interop`: real OpenFeature clients on one release, each against a running service.

In process, the OFREP provider of Python and that of JavaScript (installed by npm in a folder of its own):
the same assignment for every unit, a revert at the next evaluation, the default once the service stopped,
and no default that is served in silence. Without Node.js and npm the JavaScript part is left out, and said.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from lastgood.openfeature import Provider

sys.path.insert(0, str(Path(__file__).parent))
from serving import Served, serving

ROOT = Path(__file__).resolve().parents[2]
#: what INTEROP was checked with
PACKAGES = ("@openfeature/server-sdk@1.23.0", "@openfeature/ofrep-provider@0.1.3")
DEFAULT = "the default"
#: value, variant, reason, error code
Told = list[list[Any]]


class Python:
    """A client of the Python SDK."""

    def __init__(self, domain: str, provider: Any) -> None:
        self.name = domain
        api.set_provider_and_wait(provider, domain)
        self._client = api.get_client(domain)

    def ask(self, kind: str, flag: str, units: list[str | None]) -> Told:
        """Evaluate a flag for each unit."""
        default = {"string": DEFAULT, "object": {"id": DEFAULT}, "boolean": True}[kind]
        find = getattr(self._client, f"get_{kind}_details")
        found = [find(flag, default, EvaluationContext(unit)) for unit in units]
        return [
            [one.value, one.variant, str(one.reason), one.error_code and str(one.error_code.value)]
            for one in found
        ]


class JavaScript:
    """A client of the JavaScript SDK, in a process of its own."""

    name = "JS OFREP"

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, kind: str, flag: str, units: list[str | None]) -> Told:
        """Evaluate a flag for each unit."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"kind": kind, "flag": flag, "units": units}) + "\n")
        self._process.stdin.flush()
        found: Told = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def javascript(work: Path, served: Served, token: str) -> Iterator[JavaScript | None]:
    """The client, or None where there is no npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("JS OFREP: left out, there is no Node.js with npm here")
        yield None
        return
    home = work / "ofrep-js"
    if not (home / "node_modules/@openfeature/ofrep-provider").exists():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES]
        subprocess.run(command, cwd=home, check=True)
    shutil.copy(Path(__file__).with_name("flags.mjs"), home / "flags.mjs")
    process = subprocess.Popen(
        ["node", "flags.mjs", served.url, token],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield JavaScript(process)
    finally:
        process.kill()
        process.wait(20)


def _same_assignment(clients: list[Any], units: list[str | None], served: Served) -> None:
    first: Told | None = None
    for client in clients:
        began = time.monotonic()
        told = client.ask("string", "support:id", units)
        print(f"{client.name}: {len(units)} evaluations in {time.monotonic() - began:.1f} s")
        assert all(one[3] is None for one in told), told[:3]
        first = first or told
        values = [[one[0], one[1]] for one in told]
        assert values == [[one[0], one[1]] for one in first], client.name
        assert all(one[2] == "SPLIT" for one in told), client.name
    assert first is not None
    share = sum(one[1] == "candidate" for one in first) / len(first)
    assert {one[0] for one in first} == {served.baseline, served.candidate}
    print(f"identical for {len(units)} units in {len(clients)} clients; {share:.1%} of them the candidate's")


def _no_silent_default(clients: list[Any]) -> None:
    """What can't be evaluated serves the default and says why, in the protocol's words."""
    for client in clients:
        wrong = [
            ("object", "coder", "u", "FLAG_NOT_FOUND"),
            ("string", "support:id", None, "TARGETING_KEY_MISSING"),
            ("boolean", "support:id", "u", "TYPE_MISMATCH"),
        ]
        for kind, flag, unit, code in wrong:
            [[_, _, reason, error]] = client.ask(kind, flag, [unit])
            assert (reason, error) == ("ERROR", code), (client.name, kind, flag, reason, error)
        [[value, variant, _, error]] = client.ask("object", "support", ["u"])
        assert error is None and variant in {"baseline", "candidate"}, (client.name, error)
        assert value["parts"]["prompt"]["value"] in {"first", "second"}, client.name
    print(f"no default in silence: {len(clients)} clients")


def main() -> None:
    """Run them all; any difference is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop")
    parser.add_argument("--units", type=int, default=10_000)
    given = parser.parse_args()
    work = given.work.resolve()
    units: list[str | None] = [f"unit-{number}" for number in range(given.units)]
    with serving(work / "flags") as served:
        token = served.token("observer")
        os.environ["LASTGOOD_DATABASE"] = served.store.url
        with javascript(work, served, token) as js:
            remote = OFREPProvider(
                served.url, headers_factory=lambda: {"Authorization": f"Bearer {token}"}, timeout=20
            )
            clients: list[Any] = [
                Python("in process", Provider(enters=False)),
                Python("Python OFREP", remote),
            ]
            clients += [] if js is None else [js]
            _same_assignment(clients, units, served)
            _no_silent_default(clients)
            served.revert()
            for client in clients:
                told = client.ask("string", "support:id", units[:200])
                assert {one[0] for one in told} == {served.baseline}, client.name
            print("a revert: seen at the next evaluation by each")
            served.stop()
            for client in clients[1:]:
                [[value, _, reason, error]] = client.ask("string", "support:id", ["u"])
                assert (value, reason) == (DEFAULT, "ERROR") and error, (client.name, value, reason, error)
            print("the service stopped: the caller's default, and the reason ERROR, by each over HTTP")


if __name__ == "__main__":
    main()
