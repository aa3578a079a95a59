"""The flows under a real Prefect server: what people see, what is refused, and what survives a kill."""

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from lastgood import control

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("harness")]

DRIVER = Path(__file__).with_name("driver.py")


def task_names(flow_run_id):
    """Names of a flow run's task runs, in the order in which they started."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        until = time.monotonic() + 20
        while time.monotonic() < until:  # task runs are written late
            found = client.read_task_runs(flow_run_filter=wanted)
            if found and all(run.state and run.state.is_final() for run in found):
                break
            time.sleep(0.3)
    return [run.name for run in sorted(found, key=lambda run: run.start_time)]


def artifacts(key):
    """The newest artifact of a key, or None."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return sorted(found, key=lambda artifact: artifact.created)


def run_release(place, **given):
    from flows.release import release

    candidate = given.pop("candidate", "b-" + place.candidate[:8])
    return release("support", candidate, **{"policy": "fast", "return_state": True, **given})


def ours(caplog):
    """What was logged as a warning or worse by us or by a run of ours."""
    return [r.getMessage() for r in caplog.records if r.levelno >= 30 and r.name != "prefect.events.clients"]


def test_a_good_candidate_is_promoted_in_stages_that_people_see(place, caplog):
    with place.serving(good=1.0):
        state = run_release(place)
    assert (state.name, state.is_completed()) == ("Promoted", True)
    assert state.message.startswith("PROMOTED: every guardrail is proven within its margin after ")
    assert place.point()["baseline"] == place.candidate
    names = task_names(state.state_details.flow_run_id)
    assert [name for name in names if not name.startswith("compare")] == [
        "preflight", "canary 30%", "cap 30%", "canary 60%", "cap 60%", "promote"
    ]  # fmt: skip
    looks = [name for name in names if name.startswith("compare")]
    assert looks[0] == "compare 30% look 1"
    numbers = [int(name.rpartition(" ")[2]) for name in looks]
    assert numbers == sorted(set(numbers))
    assert len(looks) <= 8
    assert ours(caplog) == []


def test_a_bad_candidate_is_reverted_and_the_report_says_why(place, caplog):
    with place.serving(good=0.0):
        state = run_release(place, note="why not")
    assert (state.name, state.is_completed()) == ("Reverted", True)
    names = task_names(state.state_details.flow_run_id)
    assert names[:4] == ["preflight", "canary 30%", "cap 30%", "compare 30% look 1"]
    assert names[-1] == "revert"
    release = place.release()
    key = f"release-{release['id'].replace('_', '-').lower()}"
    versions = artifacts(key)
    assert [str(version.flow_run_id) for version in versions] == [str(state.state_details.flow_run_id)]
    text = versions[-1].data
    assert f"**{state.message}**" in text
    assert state.message.startswith("REVERTED: completion is worse (")
    assert re.search(r"\| completion \| \*\*fail\*\* \| \d+/\d+ bad .* \+\d", text), text
    assert artifacts(f"{key}-figures")[-1].type == "table"
    assert text.count("](data:image/png;base64,") == 2
    assert ours(caplog) == []


def test_the_run_is_named_for_what_it_releases(place):
    from prefect.client.orchestration import get_client

    with place.serving(good=0.0):
        state = run_release(place, candidate=f"b-{place.candidate[:8]} support-2026-11-29.2")
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        states = client.read_flow_run_states(run.id)
    assert run.name == f"release support b-{place.baseline[:4]} -> b-{place.candidate[:4]}"
    assert set(run.tags) == {"lastgood", "support", "production", f"b-{place.candidate[:4]}"}
    told = [state.name for state in states if state.type.value == "RUNNING"]
    assert told[:4] == ["Running", "Canary 30%", "Cap 30%", "Compare 30%"]
    assert told[-1] == "Revert"
    assert states[-1].message.startswith("REVERTED: completion is worse (")


def test_what_is_refused_says_what_to_change(place):
    state = run_release(place, policy="nope")
    assert (state.name, state.is_failed()) == ("Refused", True)
    assert state.message == "no policy 'nope' is stored or built in; `lastgood policy list` shows them"
    state = run_release(place, candidate="b-00000000")
    assert (state.name, state.message) == ("Refused", "no bundle 'b-00000000'; see `lastgood bundle list`")


def test_a_refused_release_fails_with_our_words_and_moves_nothing(place):
    before = place.point(), place.ledger()
    state = run_release(place, candidate="b-" + place.baseline[:8])
    assert (state.name, state.is_failed()) == ("Refused", True)
    assert "is the baseline of support in production already: there is nothing to release" in state.message
    assert (place.point(), place.ledger()) == before
    assert place.rows("SELECT * FROM release") == []


@pytest.fixture
def driven(place, tmp_path):
    """A release driven by a flow in a process of its own, which compares; its process."""
    from prefect.settings import PREFECT_API_URL

    variables = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()}
    words = [sys.executable, str(DRIVER), "support", place.candidate, "slow"]
    with (tmp_path / "driver.log").open("w") as log:
        process = subprocess.Popen(words, env=variables, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while not place.rows("SELECT 1 FROM look LIMIT 1"):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_flow_is_taken_over_by_the_schedule_which_repeats_nothing(place, driven):
    from flows.evaluate_canaries import evaluate_canaries

    release_id = place.release()["id"]
    with place.serving(good=0.0):
        driven.send_signal(signal.SIGKILL)
        driven.wait()
        time.sleep(5.1)  # the driver's time-out
        for _ in range(20):
            state = evaluate_canaries(return_state=True)
            assert state.is_completed()
            if place.release()["ended_us"] is not None:
                break
            time.sleep(0.5)
    row = place.release()
    assert (row["id"], row["state"], row["driver"]) == (release_id, "reverted", "evaluate_canaries")
    actions = place.ledger()
    assert [actions.count(name) for name in ("start", "share", "arm", "compare", "revert")] == [1] * 5
    assert artifacts(f"release-{release_id.replace('_', '-').lower()}")[-1].description.startswith("REVERTED")


def test_a_living_flow_is_left_alone_and_a_second_release_is_told_of_it(place, driven):
    from flows.evaluate_canaries import evaluate_canaries

    live = place.release()
    assert evaluate_canaries(return_state=True).is_completed()
    assert place.release()["driver"] == live["driver"]
    state = run_release(place)
    assert state.is_failed()
    assert f"support in production has a live release: {live['id']}" in state.message
    assert len(place.rows("SELECT * FROM release")) == 1
    _cancel(place, driven)


def _cancel(place, driven):
    """SIGTERM, as a runner sends it: the waiting flow ends at once and the release stays live."""
    began = time.monotonic()
    driven.terminate()
    driven.wait(timeout=20)
    assert time.monotonic() - began < 15
    assert place.release()["ended_us"] is None


def test_a_rollback_reverts_the_live_release_and_its_flow_ends(place, driven, tmp_path):
    from flows.rollback import rollback

    state = rollback("support", reason="it feels wrong", return_state=True)
    assert state.is_completed()
    assert state.message == f"support in production serves b-{place.baseline[:8]} at epoch 3"
    row = place.release()
    assert (row["state"], row["reason"]) == ("reverted", "it feels wrong")
    log, until = tmp_path / "driver.log", time.monotonic() + 30
    while "Finished in state Reverted('REVERTED: it feels wrong'" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    assert place.ledger().count("revert") == 1


def test_a_rollback_takes_text_alone():
    from flows.rollback import rollback

    kinds = {p.annotation for p in inspect.signature(rollback.fn).parameters.values()}
    assert kinds == {str}


def test_a_rollback_without_a_release_goes_to_the_bundle_that_is_named(place):
    from flows.rollback import rollback

    vouch(place)
    state = rollback("support", to="b-" + place.baseline[:8], return_state=True)
    assert state.is_completed()
    assert place.point()["baseline"] == place.baseline


def vouch(place):
    """Make the candidate the last known good by hand."""
    point = control.rollback(
        place.store, "support", "production", actor="ann", reason="ours", to=place.candidate, vouched=True
    )
    assert point.baseline == place.candidate


def test_a_rollback_that_is_tried_again_goes_back_once(place):
    """What a retry of the flow run does: the task runs again under the same flow run."""
    from prefect import flow

    from tasks import by_hand

    vouch(place)

    @flow
    def again() -> list[str]:
        return [by_hand.roll_back("support", "production", "twice", place.baseline) for _ in range(2)]

    assert again() == [f"support in production serves b-{place.baseline[:8]} at epoch 3"] * 2
    assert place.ledger().count("rollback") == 2


def test_a_flow_that_is_tried_again_goes_on_with_its_own_release(place):
    from prefect import flow

    from lastgood import releasing
    from lastgood.releasing import Ending
    from tasks import stages
    from tasks.driving import ENDED
    from tasks.preflight import Wanted

    @flow
    def again() -> list[str]:
        wanted = Wanted("support", place.candidate, "fast")
        drivers = [stages.begin(wanted).driver, stages.begin(wanted).driver]
        releasing.revert(place.store, drivers[0].release_id, Ending("ann", "a typo", by="hand"))
        drivers.append(stages.begin(wanted).driver)
        assert stages.due(drivers[-1]) == ENDED
        assert stages.finish(drivers[-1]).name == "Reverted"
        return [driver.release_id for driver in drivers]

    assert len(set(again())) == 1
    assert len(place.rows("SELECT * FROM release")) == 1


def test_a_flow_outlives_a_store_that_could_not_be_used_for_a_moment(place, monkeypatch):
    from lastgood.errors import StoreUnavailable
    from tasks import driving
    from tasks.driving import StageName

    real, failed = driving.act, []

    def act(store, driver, what):
        real(store, driver, what)  # the commit may have been made although its answer was lost
        if what.stage in {StageName.CAP, StageName.COMPARE} and what.stage not in failed:
            failed.append(what.stage)
            raise StoreUnavailable("waited 5 s for the control point")

    monkeypatch.setattr(driving, "act", act)
    with place.serving(good=1.0):
        state = run_release(place)
    assert state.name == "Promoted"
    assert failed == [StageName.CAP, StageName.COMPARE]
    kinds = place.ledger()
    assert (kinds.count("share"), kinds.count("promote"), kinds.count("lapse")) == (2, 1, 0)


def test_a_flow_does_not_try_again_what_another_error_ended(place, monkeypatch):
    from tasks import driving

    tries = []

    def act(store, driver, what):
        tries.append(what.stage)
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(driving, "act", act)
    assert run_release(place).is_failed()
    assert len(tries) == 1


def test_a_release_that_can_not_be_evaluated_does_not_stop_the_others(place, monkeypatch):
    from flows.evaluate_canaries import evaluate_canaries
    from tasks import driving

    seen = []

    def one_breaks(_store, release_id, _name, _every_us):
        seen.append(release_id)
        if release_id == "rel_a":
            raise RuntimeError("its policy can't be read")

    monkeypatch.setattr(driving, "live_releases", lambda _store: ["rel_a", "rel_b"])
    monkeypatch.setattr(driving, "read", lambda _store, release_id: ({"id": release_id, "agent": "x"}, None))
    monkeypatch.setattr(driving, "evaluate", one_breaks)
    state = evaluate_canaries(return_state=True)
    assert seen == ["rel_a", "rel_b"]
    assert state.is_failed()
    assert state.message.startswith("1 of 2 live releases: ")
    assert "its policy can't be read" in state.message


def test_the_schedule_has_nothing_to_do_without_a_release(place):
    from flows.evaluate_canaries import evaluate_canaries

    before = place.ledger()
    state = evaluate_canaries(return_state=True)
    assert (state.is_completed(), state.message) == (True, "0 live releases")
    assert place.ledger() == before


def test_every_deployment_can_be_built():
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy

    from config.settings import Settings
    from flows.__main__ import deployments

    found = {
        made.name: made for made in deployments(Settings.from_environment({"LASTGOOD_LOOK_EVERY": "30 s"}))
    }
    assert set(found) >= {"release", "evaluate-canaries", "rollback", "kill", "clear", "readmit", "waiver"}
    scheduled = found["evaluate-canaries"]
    assert [schedule.schedule.interval for schedule in scheduled.schedules] == [timedelta(seconds=30)]
    assert scheduled.concurrency_limit == 1
    assert scheduled.concurrency_options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
    assert all(not found[name].schedules for name in ("release", "rollback"))


def test_a_recovery_undoes_what_it_can_and_shows_what_is_left_over(place, monkeypatch):
    import json

    from flows.recover_data import recover_data
    from lastgood import acting, incidents, profile
    from lastgood.acting import Effect
    from tests.tasks import crm

    monkeypatch.setattr(crm, "CRM", crm.Crm())
    undo = {"refund": "tests.tasks.crm:refund"}
    body = {"agent": "support", "owner": "", "routes": [], "replay": "", "undo": undo, "signals": {}}
    run_id = _acting_run(place)
    with place.store.transaction() as txn:
        profile.store_body(txn, "support", json.dumps(body), actor="ann")
    for kind, how in (("refund", {"kind": "refund"}), ("message", {})):
        gated = acting.reserve(place.store, run_id, Effect(kind, f"{kind}-1", how))
        acting.settle(place.store, gated.id, "done")
    control.rollback(place.store, "support", "production", actor="ann", reason="it is bad")
    with place.store.reading() as txn:
        (incident,) = incidents.listed(txn, "support", "production")
    for calls in (1, 1):  # a second start finds everything done
        state = recover_data(incident.id, return_state=True)
        assert (state.name, len(crm.CRM.undone), sum(crm.CRM.calls.values())) == ("residue", 1, calls)
    key = f"recovery-{incident.id.replace('_', '-').lower()}"
    assert "1 undone, 1 left over" in artifacts(key)[-1].data
    assert "message-1" in artifacts(f"{key}-residue")[-1].data


def _acting_run(place):
    """A run of a candidate that serves everybody."""
    from lastgood import points, releasing
    from lastgood.assigning import Request, assign
    from lastgood.ledger import Entry
    from lastgood.points import Expect
    from lastgood.release import ReleaseState, Terms
    from lastgood.releasing import Stage, Start
    from lastgood.snapshot import Serving

    given = ("support", "production", place.candidate, "p", "d" * 64, "{}", "{}", Terms(), "ann")
    release_id = releasing.start(place.store, Start(*given))
    with place.store.reading() as txn:
        expect = Expect.of(points.read(txn, "support", "production"))
    stage, entry = Stage("canary", ReleaseState.CANARY, 0), Entry("share", "ann", "all", release_id)
    moved = {"share_bp": 10_000, "lease_us": 60_000_000, "entry": entry, "expect": expect}
    releasing.set_share(place.store, release_id, stage, **moved)
    return assign(Serving(place.store, "support", "production"), Request("u", "faq", None, None)).run_id


#: an agent whose answers are right as long as its prompt is the old one
REPLAYED = """
import lastgood


def replay(inputs):
    with lastgood.run("support") as run:
        run.input = inputs
        run.output = f"{run.bundle.prompt.text} answer to {inputs['question']}"
        run.report(validated=run.bundle.prompt.text == "old")
        return run.output
"""


def test_an_incident_becomes_a_case_and_the_suite_refuses_the_bad_bundle(place, tmp_path, monkeypatch):
    import json
    import sys

    from flows.incident_to_tests import incident_to_tests
    from flows.regression_suite import regression_suite
    from lastgood import incidents, profile

    (tmp_path / "replayed_agent.py").write_text(REPLAYED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    body = {"agent": "support", "owner": "", "routes": [], "undo": {}, "signals": {}}
    with place.store.transaction() as txn:
        body["replay"] = "replayed_agent:replay"
        profile.store_body(txn, "support", json.dumps(body), actor="ann")
    _acting_run(place)  # from here on the candidate serves everybody
    import replayed_agent

    replayed_agent.replay({"question": "where is order 7"})
    control.rollback(place.store, "support", "production", actor="ann", reason="it answers wrongly")
    with place.store.reading() as txn:
        (incident,) = incidents.listed(txn, "support", "production")
    state = incident_to_tests(incident.id, return_state=True)
    assert state.message == f"{incident.id}: 1 of 1 cases are proven"
    assert "admitted" in artifacts(f"cases-{incident.id.replace('_', '-').lower()}")[-1].data
    refused = regression_suite("support", place.candidate, return_state=True)
    assert (refused.name, refused.is_failed()) == ("Refused", True)
    passed = regression_suite("support", place.baseline, return_state=True)
    assert passed.is_completed(), passed.message
    assert artifacts("regression-support-production")
    sys.modules.pop("replayed_agent")


def test_moves_by_hand_say_what_they_did_and_who_did_it(place):
    from flows.by_hand import clear, kill, readmit

    state = kill("support", reason="drill", actor="bea", return_state=True)
    assert state.message == f"support in production serves b-{place.baseline[:8]} at epoch 2, kill switch on"
    row = place.rows("SELECT actor, reason FROM ledger WHERE action = 'kill'")[0]
    assert row["actor"].startswith("bea, flow run kill support (")
    assert row["reason"] == "drill"
    state = clear("support", actor="bea", return_state=True)
    assert state.message == f"support in production serves b-{place.baseline[:8]} at epoch 3"
    before = place.ledger()
    state = readmit("support", "b-" + place.candidate[:8], "looked", "bea", return_state=True)
    assert (state.name, state.is_failed()) == ("Refused", True)
    assert state.message == f"b-{place.candidate[:8]} is not quarantined for support in production"
    assert place.ledger() == before


def test_a_long_release_is_handed_to_a_schedule_that_is_at_work_and_its_run_shows_the_end(place, monkeypatch):
    from prefect.client.orchestration import get_client

    from flows.evaluate_canaries import evaluate_canaries
    from tasks import beats

    monkeypatch.setenv("LASTGOOD_DRIVE_FOR", "1 s")
    monkeypatch.setenv("LASTGOOD_LOOK_EVERY", "2 s")
    beats.beat(place.store)
    monkeypatch.setattr(beats, "silent_us", lambda _store: 0)
    state = run_release(place, policy="slow")
    assert (state.name, state.is_completed()) == ("HandedOver", True)
    assert state.message.startswith("handed to the schedule; the next look is within 2 s. ")
    row = place.release()
    assert (row["driver"], row["ended_us"]) == ("evaluate_canaries", None)
    control.rollback(place.store, "support", "production", actor="ann", reason="it feels wrong")
    assert evaluate_canaries(return_state=True).is_completed()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert (run.state.name, run.state.message) == ("Reverted", "REVERTED: it feels wrong")
