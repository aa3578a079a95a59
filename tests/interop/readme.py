"""`make interop`: the agent in TypeScript of the README, type-checked and run as it stands there.

With the service its run is recorded with its outcome; where that hangs, and without it, the bundle in the
file serves, and the agent ends well. Without Node.js and npm it is left out, and said.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from serving import Served, serving

ROOT = Path(__file__).resolve().parents[2]
#: the clients that INTEROP was checked with, and what compiles TypeScript
PACKAGES = (
    "@openfeature/server-sdk@1.23.0", "@openfeature/ofrep-provider@0.1.3", "typescript@5.9.3",
    "@types/node@22.19.0",
)  # fmt: skip
_TYPED = {"strict": True, "module": "nodenext", "target": "es2022", "skipLibCheck": True, "types": ["node"]}


def snippet() -> str:
    """The agent as the README shows it."""
    found = re.search(r"```ts\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found, "README.md shows no agent in TypeScript"
    return found[1]


def build(home: Path, url: str) -> None:
    """Compile the agent; an error of its types is an error."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    if not (home / "node_modules/typescript").exists():
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES]
        subprocess.run(command, cwd=home, check=True)
    code = snippet().replace("http://127.0.0.1:4300", url)
    (home / "agent.ts").write_text(f"{code}console.log(answer);\n")
    (home / "tsconfig.json").write_text(json.dumps({"compilerOptions": _TYPED, "files": ["agent.ts"]}))
    subprocess.run([home / "node_modules/.bin/tsc"], cwd=home, check=True)


def answer(home: Path, token: str) -> str:
    """Run the agent; what it answered."""
    done = subprocess.run(
        ["node", "agent.js"],
        cwd=home,
        env={**os.environ, "LASTGOOD_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout.strip()


def keep_last_good(served: Served, home: Path, token: str) -> None:
    """Write the baseline beside the agent, its model under another name to be known by."""
    asked = urllib.request.Request(
        f"{served.url}/v1/bundles/{served.baseline}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as got:
        bundle = json.loads(got.read())
    bundle["parts"]["model"]["value"]["default"] = "kept"
    (home / "last-good.json").write_text(json.dumps(bundle))


def main() -> None:
    """Run it with the service, with one that hangs and without; any difference is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop")
    work = parser.parse_args().work.resolve()
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("the agent in TypeScript: left out, there is no Node.js with npm here")
        return
    home = work / "readme-ts"
    with serving(work / "readme") as served:
        build(home, served.url)
        token = served.token("agent")
        keep_last_good(served, home, token)
        assert answer(home, token) == "(small) 42"
        with served.store.reading() as txn:
            [row] = txn.all("SELECT run.unit, outcome.* FROM outcome JOIN run ON run.id = outcome.run_id")
        assert (row["unit"], row["validated"], row["cost_usd"]) == ("ticket-4711", 1, 0.002)
        served.process.send_signal(signal.SIGSTOP)
        try:
            assert answer(home, token) == "(kept) 42"
        finally:
            served.process.send_signal(signal.SIGCONT)
        served.stop()
        assert answer(home, token) == "(kept) 42"
    print(
        "the agent in TypeScript: compiled, recorded its run, and served the bundle in its file beside a "
        "service that hangs and without one"
    )


if __name__ == "__main__":
    main()
