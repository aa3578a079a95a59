"""All as people meet it: `lastgood up` in a folder, releases over Prefect's API, what automations do."""

import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.flows.served import PATIENCE, ROOT, up, wait_for

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def place(tmp_path_factory, clean_environment, background):
    """A user's folder with an adopted agent at work, and `lastgood up`."""
    folder = tmp_path_factory.mktemp("served")
    often = {"LASTGOOD_LOOK_EVERY": "15 s", "LASTGOOD_RUN_LOST_AFTER": "45 s"}
    with up(folder, clean_environment, background, **often) as place:
        place.run("lastgood init support")
        place.good = place.register()
        place.run(f"lastgood adopt support {place.good}")
        place.run("lastgood policy add policy.yaml")
        place.run("python agent_example.py 1200")
        agent = ["bash", "-c", f"cd {folder} && exec python agent_example.py 100000"]
        with background(agent, folder / "agent.log", place.environment):
            assert place.is_up(), place.logs()
            yield place


@pytest.fixture(scope="module")
def silent(place):
    """A run of ours that claims to be at work and gave one sign of life: process and runner are gone."""
    found = wait_for(lambda: place._deployment("plan/plan"), PATIENCE)
    body = {"parameters": {"agent": "support"}, "state": {"type": "RUNNING", "name": "Running"}}
    run = place.ask("POST", f"/deployments/{found}/create_flow_run", body)
    related = [
        {"prefect.resource.id": f"prefect.flow.{run['flow_id']}", "prefect.resource.role": "flow",
         "prefect.resource.name": "plan"},
        {"prefect.resource.id": "prefect.tag.lastgood", "prefect.resource.role": "tag"},
    ]  # fmt: skip
    place.emit("prefect.flow-run.heartbeat", f"prefect.flow-run.{run['id']}", related)
    return run["id"]


@pytest.mark.usefixtures("silent")
def test_a_release_started_over_the_api_reverts_a_worse_candidate(place):
    prompt = place.folder / "prompt.md"
    text = prompt.read_text()
    prompt.write_text(text.replace("from the documents only", "from memory"))
    worse = place.register()
    prompt.write_text(text)
    # registering one is enough: the form offers it within seconds
    label = wait_for(
        lambda: next((each for each in place.offered() if each.startswith(f"{worse} ")), None), PATIENCE
    )
    assert label, place.offered()
    flow_run = place.start("release/release", agent="support", candidate=label, policy="support")
    state = place.ended(flow_run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Reverted"), place.logs()
    assert "validation is worse" in state["message"]
    names = wait_for(lambda: (found := place.task_runs(flow_run))[-1:] == ["revert"] and found, PATIENCE)
    assert names, place.task_runs(flow_run)
    assert [name.split()[0] for name in names[:3]] == ["preflight", "canary", "cap"]
    artifacts = place.ask("POST", "/artifacts/latest/filter", {})
    started = re.search(r"rel_\w+", place.run("lastgood release status support | grep rel_"))[0]
    key = f"release-{started.replace('_', '-').lower()}"
    report = next(found for found in artifacts if found["key"] == key)
    index = next(found for found in artifacts if found["key"] == "lastgood-releases")
    assert "no live release" in index["data"]
    assert "REVERTED: validation is worse" in report["data"]
    assert report["flow_run_id"] == flow_run
    run = place.ask("GET", f"/flow_runs/{flow_run}")
    assert run["name"] == f"release support {place.good[:6]} -> {worse[:6]}"
    assert {"support", "production", worse[:6], "lastgood"} <= set(run["tags"])


def test_a_revert_is_followed_up_by_the_automation(place):
    found = wait_for(
        lambda: [run for run in place.runs("follow-up") if run["state_type"] == "COMPLETED"], PATIENCE
    )
    assert found, place.logs()
    assert found[-1]["parameters"] == {"agent": "support", "environment": "production"}
    assert found[-1]["created_by"]["type"] == "AUTOMATION"


def test_wrong_values_are_refused_in_the_form_or_by_the_first_task(place):
    right = {"agent": "support", "candidate": place.good, "policy": "support"}
    for name, wrong in {"agent": "nobody", "candidate": "b-00000000", "policy": "nope"}.items():
        assert f"Validation failed for field '{name}'" in place.refused(
            "release/release", **right | {name: wrong}
        )
    assert "is too long" in place.refused("release/release", **right, note="x" * 501)
    flow_run = place.start(
        "waiver/waiver", policy="support", guardrail="speed", slice="faq", reason="why", approver="bea"
    )
    state = place.ended(flow_run)
    assert (state["type"], state["name"]) == ("FAILED", "Refused")
    assert "no slice of this policy" in state["message"]
    assert "Traceback" not in state["message"]


def test_a_plan_leaves_its_answer_as_an_artifact(place):
    state = place.ended(place.start("plan/plan", agent="support", policy="support"))
    assert state["type"] == "COMPLETED", state
    artifacts = place.ask("POST", "/artifacts/latest/filter", {})
    page = next(found for found in artifacts if found["key"] == "plan-support-production")
    assert "A candidate that does harm is caught after" in page["data"]


def test_kill_and_clear_are_forms_whose_runs_say_what_was_done(place):
    state = place.ended(place.start("kill/kill", agent="support", reason="drill", actor="bea"))
    assert state["message"].endswith(", kill switch on"), state
    assert "bea, flow run kill support (" in place.run("lastgood status support")
    state = place.ended(place.start("clear/clear", agent="support", actor="bea"))
    assert "kill switch" not in state["message"]


#: its first evidence comes 10 s after the start: the flow is killed before that
SLOW = """
name: slow
lost_after: 10 s
look_every: 10 s
driver_timeout: 15 s
lease: 3 min
steps: [{share: 20%}]
guardrails: {validation: {margin: 5 points}}
preflight: {open_incidents: allow}
"""


def test_a_flow_killed_with_nine_is_finished_by_the_schedule(place):
    (place.folder / "slow.yaml").write_text(SLOW)
    place.run("lastgood policy add slow.yaml")
    prompt = place.folder / "prompt.md"
    prompt.write_text(prompt.read_text().replace("from the documents only", "from memory, kindly"))
    worse = place.register()
    flow_run = place.start("release/release", agent="support", candidate=worse, policy="slow")
    assert wait_for(lambda: "(compare)" in place.run("lastgood status support"), PATIENCE), place.logs()
    killed = kill_flow_process(flow_run)
    assert killed, "the flow run's process was not found"
    ended = wait_for(lambda: place.run("lastgood release status support").startswith("REVERTED"), PATIENCE)
    assert ended, place.run("lastgood status support") + place.logs()
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
    prompt = place.folder / "prompt.md"
    prompt.write_text(prompt.read_text() + "\nBe brief.\n")
    candidate = place.register()
    author = place.run("id -un").strip()
    flow_run = place.start("release/release", agent="support", candidate=candidate, policy="asking")
    assert suspended(place, flow_run), place.logs()
    index = artifact(place, "lastgood-releases")
    assert "awaiting" in index
    assert "a person has to approve the first share until" in index

    answer = {"decision": "promote", "who": author, "reason": "it is mine"}
    place.ask("POST", f"/flow_runs/{flow_run}/resume", {"run_input": answer})
    again = wait_for(lambda: "Not taken" in form(place, flow_run) and suspended(place, flow_run), PATIENCE)
    assert again, place.logs()
    assert "wants somebody else to approve it" in form(place, flow_run)
    assert "asked" in place.run("lastgood status support")

    place.run("lastgood approve support --decision promote --actor ben --reason 'looks good'")
    status = wait_for(lambda: "serves 20%" in place.run("lastgood notices list support"), PATIENCE)
    assert status, place.run("lastgood status support") + place.logs()

    answer = {"decision": "revert", "who": "cleo", "reason": "too late"}
    place.ask("POST", f"/flow_runs/{flow_run}/resume", {"run_input": answer})
    said = wait_for(
        lambda: "decided already: promote by ben (looks good)" in boxes(place, flow_run), PATIENCE
    )
    assert said, boxes(place, flow_run) + place.logs()
    assert "(compare)" in wait_for(
        lambda: (shown := place.run("lastgood status support")) and "(compare)" in shown and shown, PATIENCE
    )
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
    """What the boxes of a flow run ended with."""
    body = {"flow_runs": {"id": {"any_": [flow_run]}}}
    return "\n".join(str(run["state"]["message"]) for run in place.ask("POST", "/task_runs/filter", body))


def artifact(place, key):
    """What an artifact shows."""
    found = place.ask("POST", "/artifacts/latest/filter", {"artifacts": {"key": {"any_": [key]}}})
    return found[0]["data"]


def kill_flow_process(flow_run):
    """SIGKILL the process that runs a flow run, found by the id in its environment."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            variables = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"PREFECT__FLOW_RUN_ID={flow_run}".encode() in variables:
            os.kill(int(folder.name), signal.SIGKILL)
            return True
    return False


def test_a_rollback_from_prefect_goes_back_or_says_why_not(place):
    state = place.ended(place.start("rollback/rollback", agent="support", reason="drill"))
    assert state["name"] in {"Completed", "Refused"}
    assert "has no other last known good bundle" in state["message"] or " serves b-" in state["message"]


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


def test_a_run_whose_process_vanished_is_marked_as_crashed_and_the_evaluation_looks_at_once(place, silent):
    assert wait_for(lambda: place.ask("GET", f"/flow_runs/{silent}")["state_type"] == "CRASHED", PATIENCE)
    message = place.ask("GET", f"/flow_runs/{silent}")["state"]["message"]
    assert message == "no sign of life for 45 s: its process is gone"

    def started():
        made = [run["created_by"] or {} for run in place.runs("evaluate-canaries")]
        return any(each.get("type") == "AUTOMATION" for each in made)

    assert wait_for(started, PATIENCE), place.logs()


def test_an_action_that_fails_is_told(place):
    place.api.delete(f"/deployments/{place._deployment('follow_up/follow-up')}")
    place.emit(
        "lastgood.release.reverted", "lastgood.release.rel_x", agent="support", environment="production"
    )
    told = wait_for(
        lambda: [run for run in place.runs("inform") if run["state_type"] == "COMPLETED"], PATIENCE
    )
    assert told, place.logs()
    assert told[0]["parameters"]["about"] == "lastgood: trigger fired"
    assert told[0]["state"]["message"].startswith("lastgood: trigger fired: ")


def test_installing_again_changes_nothing(place):
    def automations():
        found = place.ask("POST", "/automations/filter", {})
        return sorted((each["name"], each["id"], str(each["actions"])) for each in found)

    before = automations()
    names = [name.removeprefix("lastgood: ") for name, *_ in before]
    assert names == ["action failed", "heartbeat lost", "run crashed", "trigger fired"]
    database = f"sqlite:///{place.folder}/.lastgood/lastgood.db"
    where = f"PREFECT_API_URL={place.url} LASTGOOD_DATABASE={database}"
    place.run(f"cd {ROOT} && {where} python -m flows install")
    assert automations() == before


def test_a_signal_ends_everything_that_was_started(place):
    children = Path(f"/proc/{place.up.pid}/task/{place.up.pid}/children").read_text().split()
    assert len(children) == 2
    place.up.send_signal(signal.SIGINT)
    assert place.up.wait(60) == 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    with pytest.raises(httpx.ConnectError):
        place.api.get("/health")
