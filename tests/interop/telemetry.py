"""`make interop`: an agent of the OpenTelemetry SDK and pydantic-evals, with nothing of ours in its process.

Its spans, and the evaluations that pydantic-evals sends as events with the request's W3C baggage, have to
arrive attributed to the right bundle, with its model's cost, its tool's action and its memory writes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from serving import serving

from lastgood import traces

ROOT = Path(__file__).resolve().parents[2]
#: what INTEROP was checked with
PACKAGES = (
    "opentelemetry-sdk", "opentelemetry-exporter-otlp-json-http", "opentelemetry-processor-baggage",
    "pydantic-evals==2.62",
)  # fmt: skip


def main() -> None:
    """Run the agent, and say what arrived; any difference is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop")
    parser.add_argument("--python", type=Path, help="an environment that has the packages already")
    given = parser.parse_args()
    work = given.work.resolve()
    python = given.python or work / "otel/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "otel"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    with serving(work / "telemetry") as served:
        script = Path(__file__).with_name("otel_agent.py")
        arguments = [served.url, served.token("agent"), served.baseline, served.candidate]
        done = subprocess.run(
            [python, script, *arguments], cwd=work, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3_000:]
        assert "rror" not in done.stderr, done.stderr[-3_000:]
        with served.store.reading() as txn:
            runs = txn.all(
                "SELECT run.*, outcome.completed, outcome.cost_usd, outcome.usage FROM run "
                "LEFT JOIN outcome ON outcome.run_id = run.id ORDER BY run.unit"
            )
            actions = txn.all("SELECT * FROM action ORDER BY kind")
            late = txn.all("SELECT run.unit, late_report.fields FROM late_report JOIN run ON run.id = run_id")
            strange = traces.unmapped(txn, "support", "production", 100)
        found = [(run["unit"], run["bundle_id"], run["completed"], run["cost_usd"]) for run in runs]
        wanted = [(f"c-{n}", (served.baseline, served.candidate)[n % 2], 1, 0.002) for n in range(4)]
        assert found == wanted, found
        assert all(json.loads(run["usage"])[0]["model"] == "small-0519" for run in runs)
        assert [(each["kind"], each["state"]) for each in actions] == (
            [("memory_write", "done")] * 4 + [("message", "done")] * 4
        )
        fields = [json.loads(each["fields"]) for each in late]

        assert len(fields) == 4 and all(each == {"polite": True} for each in fields), fields
        print(f"4 runs, 8 actions, 4 evaluations attributed to 2 bundles; not mapped: {strange or 'nothing'}")


if __name__ == "__main__":
    main()
