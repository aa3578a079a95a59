"""`make interop`: the answers of Langfuse that the suite uses, read with the models of Langfuse's own client.

No server of Langfuse runs here: its answers in tests/data/langfuse are written, not recorded. Its client
knows their shape, and how it makes a trace's id of a run's.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tasks import scored

ROOT = Path(__file__).resolve().parents[2]
LANGFUSE = "langfuse==5.0.4"
_SCRIPT = """
import json, sys
from langfuse import Langfuse
from langfuse.api.core.pydantic_utilities import parse_obj_as
from langfuse.api.scores.types import GetScoresV3Response
found = parse_obj_as(GetScoresV3Response, json.load(open(sys.argv[1])))
print(json.dumps({
    "scores": [[type(row).__name__, row.value, row.subject.kind, row.subject.id] for row in found.data],
    "trace": Langfuse.create_trace_id(seed=sys.argv[2]),
}))
"""


def main() -> None:
    """Compare; any difference is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".interop")
    work = parser.parse_args().work.resolve()
    python, answers = work / "langfuse/bin/python", ROOT / "tests/data/langfuse/scores_v3.json"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "langfuse"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", LANGFUSE], check=True)
    run = "run_01HF7YAT00CGSX65H1AFV494MA"
    done = subprocess.run(
        [python, "-c", _SCRIPT, answers, run], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    rows = json.loads(answers.read_text())["data"]
    assert [row[1:] for row in found["scores"]] == [
        [row["value"], row["subject"]["kind"], row["subject"]["id"]] for row in rows
    ]
    assert found["trace"] == scored.trace_id(run)
    print(f"{LANGFUSE}: its client reads the {len(rows)} scores of the suite, and makes the same trace's id")


if __name__ == "__main__":
    main()
