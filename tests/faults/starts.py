"""F3 under `lastgood up`: twenty starts of one release at once, by Prefect's API, commands and a schedule."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from common import ENVIRONMENT, Line, Place, main, rows
from prefect_kills import Fate, under_up

from lastgood import control
from lastgood.store.connection import Store
from tests.flows import served

#: starts at once, by each way
API, CLI, SCHEDULED = 7, 7, 6


def run(place: Place, quick: bool) -> Iterator[Line]:
    """One race."""
    del quick  # it is one race, however little time there is
    raced = Fate("raced", "", good=True)
    with under_up(place, [raced]) as (up, store):
        yield at_once(up, store, raced)


def at_once(up: served.Place, store: Store, fate: Fate) -> Line:
    """Twenty starts of one release; one is live, and the others are told of it."""
    given = {"agent": fate.agent, "candidate": fate.label, "policy": "endless"}
    later = (datetime.now(UTC) + timedelta(seconds=12)).isoformat()
    planned = {"type": "SCHEDULED", "state_details": {"scheduled_time": later}}
    runs = [up.start("release/release", state=planned, **given) for _ in range(SCHEDULED)]
    runs += [up.start("release/release", **given) for _ in range(API)]
    bundle = fate.label.split()[0]
    line = f"lastgood release start {fate.agent} {bundle} --policy endless --detach"
    processes = [
        subprocess.Popen(
            ["bash", "-c", line], cwd=up.folder, env=up.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for _ in range(CLI)
    ]  # fmt: skip
    said = [process.communicate()[0] for process in processes]
    refused = [text for text in said if "has a live release" in text]
    states = [ended_or_live(up, store, run) for run in runs]
    refused += [state["message"] for state in states if "has a live release" in (state["message"] or "")]
    live = rows(store, "SELECT count(*) AS n FROM release WHERE agent = :agent", agent=fate.agent)[0]["n"]
    control.rollback(store, fate.agent, ENVIRONMENT, actor="ann", reason="the race is over")
    figure = f"releases {live}; told of the live one {len(refused)} of {API + CLI + SCHEDULED - 1}"
    what = f"{API} starts by the API, {CLI} by the command line and {SCHEDULED} by a schedule, at once"
    return Line(
        "F3", f"{what}, under `lastgood up`", figure, live == 1 and len(refused) == API + CLI + SCHEDULED - 1
    )


def ended_or_live(up: served.Place, store: Store, flow_run: str) -> dict:
    """The state in which a flow run ended; that of the one that drives the live release."""

    def look() -> dict | None:
        state = up.ask("GET", f"/flow_runs/{flow_run}")["state"]
        driving = rows(store, "SELECT 1 FROM release WHERE started_by LIKE :run", run=f"%{flow_run}%")
        return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED"} or driving else None

    return served.wait_for(look, 240) or {"message": "it never ended"}


if __name__ == "__main__":
    main(run, "F3", ("SQLite",))
