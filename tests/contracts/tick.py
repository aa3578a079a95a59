"""What the fresh environment runs: `serve` schedules a tiny flow, `watch` waits for a scheduled run to end.

Run by test_fresh_environment.py with the fresh environment's own Python.
"""

import json
import sys
import time
from datetime import timedelta

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

#: seconds that a scheduled run may take to appear and to end; a healthy server needs about 15
PATIENCE = 120


@flow
def tick() -> str:
    """Do nothing, but do it on schedule."""
    return "done"


def scheduled_and_completed(client: SyncPrefectClient) -> FlowRun | None:
    """The first run that the server's own scheduler made and that ended well, if there is one by now."""
    runs = client.read_flow_runs()
    return next((run for run in runs if run.auto_scheduled and run.state and run.state.is_completed()), None)


def watch() -> None:
    """Print what `read_flows()` answers and the scheduled run that completed, or fail."""
    until = time.monotonic() + PATIENCE
    with get_client(sync_client=True) as client:
        while (run := scheduled_and_completed(client)) is None:
            if time.monotonic() > until:
                sys.exit(f"no scheduled run completed within {PATIENCE} s")
            time.sleep(0.5)
        print(json.dumps({"flows": [each.name for each in client.read_flows()], "run": run.name}))  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch()
    else:
        tick.serve("every-5-seconds", interval=timedelta(seconds=5))
