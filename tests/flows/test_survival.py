"""What survives under `lastgood up`: a release whose flow is killed, or suspended; serving that is killed."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.flows.served import PATIENCE, at_work, kill_flow_process, wait_for

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def place(tmp_path_factory, clean_environment, background):
    """A user's folder with an adopted agent at work, and `lastgood up` whose schedule looks often."""
    folder = tmp_path_factory.mktemp("served")
    with at_work(folder, clean_environment, background, LASTGOOD_LOOK_EVERY="15 s") as place:
        yield place


#: its first evidence comes 10 s after the start: the flow is killed before that
SLOW = """
name: slow
lost_after: 10 s
look_every: 10 s
driver_timeout: 15 s
lease: 3 min
steps: [{share: 20%}]
guardrails: {validation: {margin: 5 points}}
reference: {validation: 0.92}
preflight: {open_incidents: allow}
"""


def test_a_flow_killed_with_nine_is_finished_by_the_schedule(place):
    (place.folder / "slow.yaml").write_text(SLOW)
    place.run("lastgood policy add slow.yaml")
    worse = place.register_with("from the documents only", "from memory, kindly")
    flow_run = place.start("release/release", agent="support", candidate=place.label(worse), policy="slow")
    assert place.reaches("compare"), place.logs()
    killed = kill_flow_process(flow_run)
    assert killed, "the flow run's process was not found"
    assert place.reaches("reverted"), place.run("lastgood status support") + place.logs()
    assert "sound" in place.run("lastgood status support")
    report = place.run("lastgood release status support --markdown")
    assert re.search(r"revert \| validation is worse .* \| evaluate", report), report


#: a person is asked first, and nothing is promoted while the test looks on
ASKING = SLOW.replace("name: slow", "name: asking\napproval: {before: [start], not_author: true}").replace(
    "{share: 20%}", "{share: 20%, min_time: 1 h}"
)


def test_an_approval_is_a_suspended_run_whose_form_is_recorded_in_our_tables(place):
    (place.folder / "asking.yaml").write_text(ASKING)
    place.run("lastgood policy add asking.yaml")
    candidate = place.register_with("Answer briefly", "Answer very briefly")
    author = place.run("id -un").strip()
    flow_run = place.start(
        "release/release", agent="support", candidate=place.label(candidate), policy="asking"
    )
    assert suspended(place, flow_run), place.logs()
    index = place.artifact("lastgood-releases")
    assert "awaiting" in index
    assert "a person has to approve the first share until" in index

    answer = {"decision": "promote", "who": author, "reason": "it is mine"}
    place.ask("POST", f"/flow_runs/{flow_run}/resume", {"run_input": answer})
    again = wait_for(lambda: "Not taken" in form(place, flow_run) and suspended(place, flow_run), PATIENCE)
    assert again, place.logs()
    assert "wants somebody else to approve it" in form(place, flow_run)
    assert "asked" in place.run("lastgood status support")

    place.run("lastgood approve support --decision promote --actor ben --reason 'looks good'")
    assert place.reaches("compare"), place.run("lastgood status support") + place.logs()
    assert "serves 20%" in place.run("lastgood notices list support")

    answer = {"decision": "revert", "who": "cleo", "reason": "too late"}
    place.ask("POST", f"/flow_runs/{flow_run}/resume", {"run_input": answer})
    said = wait_for(
        lambda: "decided already: promote by ben (looks good)" in boxes(place, flow_run), PATIENCE
    )
    assert said, boxes(place, flow_run) + place.logs()
    assert "another answer changes nothing; `lastgood rollback support` puts" in place.told(
        flow_run, "decided already"
    )
    assert place.reaches("compare"), place.logs()
    place.run("lastgood rollback support --reason 'enough seen'")
    assert place.ended(flow_run, PATIENCE)["name"] == "Reverted"


def suspended(place, flow_run):
    """Wait until a flow run is suspended with a form."""
    return wait_for(
        lambda: (
            place.ask("GET", f"/flow_runs/{flow_run}")["state"]["name"] == "Suspended"
            and form(place, flow_run)
        ),
        90,
    )


def form(place, flow_run):
    """The text above the form that a suspended run shows."""
    state = place.ask("GET", f"/flow_runs/{flow_run}")["state"]
    keys = state["state_details"].get("run_input_keyset")
    if not keys:
        return ""
    answer = place.api.get(f"/flow_runs/{flow_run}/input/{keys['description']}")
    return answer.text if answer.is_success else ""


def boxes(place, flow_run):
    """What the boxes of a flow run ended with; Prefect writes a box before its state."""
    body = {"flow_runs": {"id": {"any_": [flow_run]}}}
    states = [run["state"] for run in place.ask("POST", "/task_runs/filter", body)]
    return "\n".join(str(state["message"]) for state in states if state)


def test_a_serving_process_that_is_killed_is_started_again(place):
    before = serving(place)
    assert len(before) == 1, place.logs()
    os.kill(before[0], signal.SIGKILL)
    assert wait_for(lambda: serving(place) not in ([], before), PATIENCE), place.logs()
    said = (place.folder / "up.log").read_text()
    assert "serving ended (signal SIGKILL); it starts again in " in said


def serving(place):
    """The processes that serve, children of `lastgood up`."""
    told = Path(f"/proc/{place.up.pid}/task/{place.up.pid}/children").read_text().split()
    return [int(pid) for pid in told if b"flows" in Path(f"/proc/{pid}/cmdline").read_bytes()]
