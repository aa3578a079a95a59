"""Each benchmark runs: a handful of rounds, no figure judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "program",
    [
        "routing --floor",
        "switching",
        "syscalls",
        "recording",
        "reverting",
        "starting",
        "over_http",
        "steady",
        "hearing",
    ],
)
def test_a_benchmark_tells_its_figures(program):
    name, *more = program.split()
    ran = subprocess.run(
        [sys.executable, HERE / f"{name}.py", "--quick", *more],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert any(figure["target"] for figure in told)
