"""Forms and automations as people meet them: `lastgood up` in a folder, releases over Prefect's API.

What survives a death is in test_survival.py, with a `lastgood up` of its own: one for each of two workers.
"""

import signal
from pathlib import Path

import httpx
import pytest

from tests.flows.served import PATIENCE, ROOT, at_work, wait_for

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def place(tmp_path_factory, clean_environment, background):
    """A user's folder with an adopted agent at work, and `lastgood up` as it is by itself."""
    folder = tmp_path_factory.mktemp("served")
    with at_work(folder, clean_environment, background, LASTGOOD_RUN_LOST_AFTER="45 s") as place:
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
    worse = place.register_with("from the documents only", "from memory")
    flow_run = place.start("release/release", agent="support", candidate=place.label(worse), policy="support")
    state = place.ended(flow_run)
    assert (state["type"], state["name"]) == ("COMPLETED", "Reverted"), place.logs()
    assert "validation is worse" in state["message"]
    names = wait_for(lambda: (found := place.task_runs(flow_run))[-1:] == ["revert"] and found, PATIENCE)
    assert names, place.task_runs(flow_run)
    assert [name.split()[0] for name in names[:3]] == ["preflight", "canary", "cap"]
    started = place.release()["id"]
    key = f"release-{started.replace('_', '-').lower()}"
    artifacts = place.ask("POST", "/artifacts/latest/filter", {})
    report = next(found for found in artifacts if found["key"] == key)
    assert "REVERTED: validation is worse" in report["data"]
    assert report["flow_run_id"] == flow_run
    assert "no live release" in place.artifact("lastgood-releases")
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
    right = {"agent": "support", "candidate": place.label(place.good), "policy": "support"}
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
    # the run's log says it once too, though to Prefect a failed state is an error of its engine
    log = place.told(flow_run, "Finished in state Refused")
    assert "Traceback" not in log
    assert "NoneType" not in log


def test_a_plan_leaves_its_answer_as_an_artifact(place):
    state = place.ended(place.start("plan/plan", agent="support", policy="support"))
    assert state["type"] == "COMPLETED", state
    assert "A candidate that does harm is caught after" in place.artifact("plan-support-production")


def test_kill_and_clear_are_forms_whose_runs_say_what_was_done(place):
    state = place.ended(place.start("kill/kill", agent="support", reason="drill", actor="bea"))
    assert state["message"].endswith(", kill switch on"), state
    assert "bea, flow run kill support (" in place.run("lastgood status support")
    state = place.ended(place.start("clear/clear", agent="support", actor="bea"))
    assert "kill switch" not in state["message"]


def test_a_rollback_from_prefect_goes_back_or_says_why_not(place):
    state = place.ended(place.start("rollback/rollback", agent="support", reason="drill"))
    assert state["name"] in {"Completed", "Refused"}
    assert "has no other last known good bundle" in state["message"] or " serves b-" in state["message"]


def test_a_run_whose_process_vanished_is_marked_as_crashed_and_the_evaluation_looks_at_once(place, silent):
    assert wait_for(lambda: place.ask("GET", f"/flow_runs/{silent}")["state_type"] == "CRASHED", PATIENCE)
    message = place.ask("GET", f"/flow_runs/{silent}")["state"]["message"]
    assert message == "no sign of life for 45 s: its process is gone"

    def started():
        made = [run["created_by"] or {} for run in place.runs("evaluate-canaries")]
        return any(each.get("type") == "AUTOMATION" for each in made)

    assert wait_for(started, PATIENCE), place.logs()


def test_looks_that_are_let_in_nowhere_start_the_sweep_which_ends_a_lost_one(place):
    found = place._deployment("evaluate_canaries/evaluate-canaries")
    for _ in range(4):
        run = place.ask("POST", f"/deployments/{found}/create_flow_run", {})
        state = {"type": "CANCELLED", "name": "Cancelled"}
        place.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})

    def swept():
        made = [each for each in place.runs("sweep-runs") if each["state_type"] == "COMPLETED"]
        return [each for each in made if (each["created_by"] or {}).get("type") == "AUTOMATION"]

    assert wait_for(swept, PATIENCE), place.logs()


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
    assert names == ["action failed", "heartbeat lost", "looks kept out", "run crashed", "trigger fired"]
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
