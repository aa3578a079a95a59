"""The quickest script runs and its promises hold; `make faults` runs all of them with many cases."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def lines(name):
    """What a script tells on SQLite, in its quick form."""
    ran = subprocess.run(
        [sys.executable, HERE / f"{name}.py", "--quick", "--only", "SQLite"],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_quick_script_holds():
    found = lines("tampered")
    assert [line["fault"] for line in found] == ["F13", "F15"]
    assert [line for line in found if not line["holds"]] == []


def test_a_fault_that_does_not_hold_ends_in_an_error(tmp_path):
    folder = tmp_path / "tests" / "faults"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text((HERE / "run.py").read_text())
    broken = {"fault": "F18", "what": "planted", "figure": "1", "holds": False, "seconds": 0.0}
    planted = f"import sys\nsys.stdout.write({json.dumps(json.dumps(broken))})\n"
    (folder / "schemas.py").write_text(planted)
    command = [sys.executable, folder / "run.py", "schemas"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "| F18 | planted | 1 | **no** | 0 |" in ran.stdout
