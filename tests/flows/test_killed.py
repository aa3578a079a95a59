"""A flow's process killed by SIGKILL around the moves of its stages: the schedule ends what it began, once.

`make faults` does the same at each stage under `lastgood up`, and to what serves the flows.
"""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("harness")]
HERE = Path(__file__).parent
PLANTED = HERE.parent / "faults" / "planted_kill.py"


def killed(place, folder, moment):
    """Run the release flow until it dies at a moment; the killed process's end."""
    from prefect.settings import PREFECT_API_URL

    shutil.copy(PLANTED, folder / "sitecustomize.py")
    (folder / "kill-support").write_text(moment)
    planted = {"PYTHONPATH": str(folder), "LASTGOOD_PLANTED": "1", "PREFECT_API_URL": PREFECT_API_URL.value()}
    words = [sys.executable, str(HERE / "driver.py"), "support", place.candidate, "fast"]
    with (folder / "driver.log").open("w") as log:
        return subprocess.run(
            words, env=os.environ | planted, stdout=log, stderr=log, timeout=200, check=False
        ).returncode


@pytest.mark.parametrize(
    ("moment", "good", "ends_as"),
    [
        ("canary after", 1.0, "promoted"),
        ("promote before", 1.0, "promoted"),
        ("promote after", 1.0, "promoted"),
        ("revert before", 0.0, "reverted"),
    ],
)
def test_a_flow_killed_around_a_move_ends_as_it_would_have_and_repeats_nothing(
    place, tmp_path, moment, good, ends_as
):
    from flows.evaluate_canaries import evaluate_canaries

    with place.serving(good=good):
        assert killed(place, tmp_path, moment) == -9, (tmp_path / "driver.log").read_text()[-2000:]
        until = time.monotonic() + 60
        while place.release()["ended_us"] is None:
            assert time.monotonic() < until, place.release()
            time.sleep(0.5)
            assert evaluate_canaries(return_state=True).is_completed()
    assert place.release()["state"] == ends_as
    assert place.point()["baseline"] == (place.candidate if ends_as == "promoted" else place.baseline)
    counts = Counter(place.ledger())
    steps = 2 if ends_as == "promoted" else 1
    assert {name: counts[name] for name in ("start", "share", "arm", "promote", "revert")} == {
        "start": 1, "share": steps, "arm": steps, "promote": steps - 1, "revert": 2 - steps
    }  # fmt: skip
