"""`lastgood.run` over LASTGOOD_URL: the same API for a process without the database."""

import json
import logging
import multiprocessing
import random
import subprocess
import sys
import threading
import time

import pytest

import lastgood
from lastgood import agent as agents
from lastgood import batching, registry, remote_hearing
from lastgood.bundle import Bundle, Part
from lastgood.clock import ManualClock
from lastgood.errors import (
    BadToken,
    CapReached,
    InvalidInput,
    Refused,
    StoreUnavailable,
)
from lastgood.remote import Service
from lastgood.remote_hearing import Hearing
from lastgood.remote_serving import RemoteServing

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")
fork = multiprocessing.get_context("fork")
TOOLS = [{"name": "send", "kind": "message", "target": "to", "key": "to"}, {"name": "read"}]


@pytest.fixture
def point_to(monkeypatch):
    """Point `lastgood.run` to a service."""

    def point(url: str, token: str):
        monkeypatch.setattr(agents, "_configured", {"url": url, "token": token})
        monkeypatch.setattr(agents, "_remotes", {})
        monkeypatch.setattr(agents, "_fallbacks", {})

    yield point
    for remote in agents._remotes.values():
        remote.end()
    for each in list(batching._recorders):
        each._waiting.clear()


@pytest.fixture
def remote(service, point_to):
    point_to(service.url, service.token("agent"))
    return service


def test_a_run_is_assigned_by_the_service_and_its_outcome_arrives(remote, desk):
    with lastgood.run("support", "u-1", task_type="faq") as run:
        assert run.bundle.id == desk.baseline
        assert run.bundle.prompt.data == "first"
        assert run.usage("small", tokens_in=1_000_000, tokens_out=0) == 1.0
        run.report(validated=True, mood=3)
        run.output = {"text": "hello"}
    lastgood.flush()
    [row] = desk.all("SELECT * FROM run")
    assert (row["id"], row["unit"], row["task_type"], row["arm"]) == (run.id, "u-1", "faq", "baseline")
    [outcome] = desk.all("SELECT * FROM outcome")
    assert (outcome["completed"], outcome["validated"], outcome["cost_usd"]) == (1, 1, 1.0)
    assert (json.loads(outcome["metrics"]), json.loads(outcome["output"])) == ({"mood": 3}, {"text": "hello"})


def test_a_candidates_run_is_evidence_and_a_revert_is_seen_by_the_next(remote, desk):
    release = desk.live(share_bp=10_000)
    remote.settled()
    with pytest.raises(ZeroDivisionError), lastgood.run("support", "u-1") as run:
        raise ZeroDivisionError
    assert (run.bundle.id, run.arm, run.reason) == (desk.candidate, "candidate", "split")
    [outcome] = desk.all("SELECT * FROM outcome")  # the candidate's goes out at once
    assert (outcome["status"], outcome["error"]) == ("failed", "ZeroDivisionError")
    assert desk.one("SELECT sum(runs) AS n FROM tally")["n"] == 1
    desk.revert(release)
    with lastgood.run("support", "u-1") as run:
        assert run.bundle.id == desk.baseline


def test_events_late_reports_and_actions_go_over_http(remote, desk):
    with lastgood.run("support", "u-1") as run:
        run.event("note", to="x")
        with run.action("message", "c-17", undo={"call": "retract"}) as action:
            pass
        with pytest.raises(KeyError), run.action("message", "c-18"):
            raise KeyError
    lastgood.report(run.id, edits=3, key="k")
    lastgood.report(run.id, edits=3, key="k")
    lastgood.report(run.id, event="note", edits=1)
    assert [row["name"] for row in desk.all("SELECT name FROM event")] == ["note", "note"]
    rows = desk.all("SELECT id, target, state FROM action ORDER BY target")
    assert [(row["target"], row["state"]) for row in rows] == [("c-17", "done"), ("c-18", "failed")]
    assert rows[0]["id"] == action
    assert [json.loads(row["fields"]) for row in desk.all("SELECT fields FROM late_report ORDER BY seq")] == [
        {"operator_edits": 3}, {"operator_edits": 1},
    ]  # fmt: skip


def test_a_tool_with_a_key_takes_effect_once(remote, desk):
    parts = {part.kind: part for part in registry.load(desk.store, desk.baseline).bundle.parts}
    bundle = Bundle([*(parts | {"tools": Part.of_value("tools", "2", TOOLS)}).values()])
    made = registry.register(desk.store, "support", bundle, author="ann")[0].bundle.id
    desk.live(share_bp=10_000, candidate=made)
    remote.settled()
    sent = []
    with lastgood.run("support", "u-1") as run:
        send = run.tool(lambda to: sent.append(to), name="send")  # noqa: PLW0108  a tool is a function
        assert [send(to="a"), send(to="a"), send(to="b")] == [None] * 3
        assert run.tool(lambda: 7, name="read")() == 7
        with pytest.raises(Refused, match="declares no such kind"):
            run.action("refund")
    assert sent == ["a", "b"]
    assert {row["state"] for row in desk.all("SELECT state FROM action")} == {"done"}


def test_a_run_that_outlives_many_others_still_reports(remote, desk, monkeypatch):
    monkeypatch.setattr("lastgood.remote_client._REMEMBERED", 1)
    with lastgood.run("support", "long") as run:
        for number in range(3):
            with lastgood.run("support", f"u-{number}"):
                pass
            with run.action("message", "c-17"):
                pass
            run.event("note")
    lastgood.flush()
    assert desk.one("SELECT count(*) AS n FROM outcome")["n"] == 4
    assert [row["state"] for row in desk.all("SELECT state FROM action")] == ["done"] * 3
    assert len(desk.all("SELECT * FROM event")) == 3


def test_an_effect_that_can_not_be_settled_is_no_error_of_the_agent(remote, caplog):
    with lastgood.run("support", "u-1") as run, run.action("message", "c-17"):
        (held,) = agents._remotes.values()
        held.service._client = Service(remote.url, "lgt_of_yesterday")._made()
    assert "is done, and stays `reserved` there: no valid token" in caplog.text


def test_what_the_gate_refuses_is_the_same_error(remote, desk):
    from lastgood import control

    with lastgood.run("support", "u-1") as run:
        control.stop(desk.store, "support", "production", actor="ann", reason="no more")
        with pytest.raises(Refused, match="no more"), run.action("message", "x"):
            pytest.fail("the effect must not happen")


def test_a_ceiling_says_by_its_fields_what_it_is(remote, desk):
    from dataclasses import replace

    from lastgood.caps import Caps
    from lastgood.release import Terms

    caps = replace(Caps(), spend_usd_per_hour=None, spend_usd_per_run=None, actions_per_run=(("message", 1),))
    desk.live(share_bp=10_000, terms=Terms(caps=caps))
    remote.settled()
    with lastgood.run("support", "u-1") as run:
        with run.action("message", "a"):
            pass
        with pytest.raises(CapReached) as found, run.action("message", "b"):
            pytest.fail("the effect must not happen")
    assert (found.value.cap, found.value.level, found.value.used) == ("actions_per_run:message", 1, 1)


def test_while_the_service_is_away_the_baseline_serves_and_outcomes_wait(serve, desk, point_to, caplog):
    desk.live(share_bp=10_000)
    first = serve()
    first.settled()
    point_to(first.url, first.token("agent"))
    remote = agents._remote()
    with lastgood.run("support", "u-1") as run:
        assert run.arm == "candidate"
        whole, remote.service.url = remote.service._client, "http://127.0.0.1:9"
        remote.service._client = None  # nobody listens there
    with caplog.at_level(logging.WARNING, "lastgood"), lastgood.run("support", "u-2") as lost:
        assert (lost.bundle.id, lost.recorded, lost.reason) == (desk.baseline, False, "store")
        lost.event("note")
        with lost.action("message", "x"):
            pass
    assert "served the baseline and not recorded" in caplog.text
    lastgood.report(lost.id, edits=1)
    with pytest.raises(StoreUnavailable):
        lastgood.flush()
    remote.service.url, remote.service._client = first.url, whole
    lastgood.flush()
    assert [row["run_id"] for row in desk.all("SELECT run_id FROM outcome")] == [run.id]
    assert [row["id"] for row in desk.all("SELECT id FROM run")] == [run.id]


def test_threads_that_ask_first_at_once_share_one_client(monkeypatch):
    service, made, together = Service("http://127.0.0.1:9", "lgt_x"), [], threading.Barrier(4)
    build = service._made

    def slow():
        time.sleep(0.05)
        made.append(build())
        return made[-1]

    monkeypatch.setattr(service, "_made", slow)
    held = []

    def ask():
        together.wait()
        held.append(service._held())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert held == made * 4
    made[0].close()


def test_without_a_service_that_was_ever_seen_only_a_fallback_serves(point_to, desk):
    point_to("http://127.0.0.1:9", "lgt_x")
    with pytest.raises(StoreUnavailable, match="can't be reached"), lastgood.run("support"):
        pass
    bundle = registry.load(desk.store, desk.baseline).bundle
    agents._remotes.clear()
    lastgood.configure(fallback={"support": bundle})
    with lastgood.run("support", "u-1") as run:
        assert (run.bundle.id, run.recorded) == (desk.baseline, False)


def test_a_lease_ends_by_this_hosts_clock_though_nobody_says_so(remote, desk):
    desk.serve(desk.start(), 10_000, lease_us=60_000_000)
    remote.settled()
    held = Service(remote.url, remote.token("agent"))
    held.clock = clock = ManualClock()
    served = RemoteServing(held, "support", "production")
    assert served.router.route("u-1").arm == "candidate"
    clock.advance(59_999_999)
    assert served.router.route("u-1").arm == "candidate"
    clock.advance(1)
    assert (served.router.route("u-1").arm, served.router.route("u-1").reason) == ("baseline", "lapsed")


def test_a_snapshot_that_is_old_is_asked_for_again_beside_the_work(remote, desk):
    served = RemoteServing(Service(remote.url, remote.token("agent")), "support", "production")
    assert served.router.snapshot.point.epoch == desk.point.epoch
    desk.live(share_bp=10_000)
    served._read_s -= 10
    assert served.router.snapshot.point.share_bp == 0  # this one waits for nothing
    served._helper.join(10)
    assert served.router.route("u-1").bundle.id == desk.candidate


def test_what_the_service_takes_later_waits_and_is_not_lost(remote, desk, monkeypatch):
    pace = remote.app.state.desk.pace
    with monkeypatch.context() as full, lastgood.run("support", "u-1") as run:
        run.report(validated=True)
        for name in ("burst", "per_s"):
            full.setattr(pace, name, 1e-9)
        pace._buckets.clear()
        run.__exit__(None, None, None)  # it ends while the service takes nothing of this token
        with pytest.raises(StoreUnavailable, match="answered 429"):
            lastgood.flush()
    pace._buckets.clear()
    lastgood.flush()
    assert [row["run_id"] for row in desk.all("SELECT run_id FROM outcome")] == [run.id]


def test_a_wrong_token_to_go_on_with_is_refused_and_counted(remote, desk):
    with lastgood.run("support", "u-1") as run:
        run.suspend()
    agents._remotes.popitem()[1].end()
    with pytest.raises(BadToken, match="not signed here"), lastgood.resume(run.id, token="lg1.x.y"):
        pass
    [row] = desk.all("SELECT reason, n FROM refusal WHERE agent = 'support'")
    assert (row["reason"], row["n"]) == ("forged", 1)


def test_a_move_is_heard_without_being_asked_for(remote, desk, monkeypatch):
    monkeypatch.setattr("lastgood.remote_serving.POLL_S", 3_600.0)
    with lastgood.run("support", "u-1"):
        pass
    served = agents._remote().serving("support", "production")
    assert served.hearing.connected.wait(10)
    release = desk.live(share_bp=10_000)
    _until(lambda: served.router.route("u-1").arm == "candidate")
    desk.revert(release)
    _until(lambda: served.router.route("u-1").arm == "baseline")
    desk.promote(desk.live(candidate=desk.register("third")))
    _until(lambda: served.router.snapshot.baseline.prompt.data == "third")


def _until(holds):
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_what_was_moved_while_the_stream_was_cut_is_asked_for_when_it_is_back(
    serve, desk, point_to, monkeypatch
):
    monkeypatch.setattr("lastgood.remote_serving.POLL_S", 3_600.0)
    first = serve()
    point_to(first.url, first.token("agent"))
    with lastgood.run("support", "u-1"):
        pass
    served = agents._remote().serving("support", "production")
    assert served.hearing.connected.wait(10)
    served.hearing._cut()
    desk.live(share_bp=10_000)
    _until(lambda: served.router.route("u-1").arm == "candidate")


def test_what_an_agent_draws_from_its_seed_is_the_same_beside_the_hearing():
    hearing = Hearing(Service("http://127.0.0.1:1", "lgt_none"), "production")
    random.seed(1)
    before, own = random.getstate(), remote_hearing._own.getstate()
    hearing.begin(RemoteServing(hearing._service, "support", "production"))
    _until(lambda: remote_hearing._own.getstate() != own)
    hearing.end()
    assert random.getstate() == before


def test_a_forked_child_hears_by_a_thread_of_its_own(remote, desk, monkeypatch):
    monkeypatch.setattr("lastgood.remote_serving.POLL_S", 3_600.0)
    with lastgood.run("support", "u-1"):
        pass
    mine, theirs = fork.Pipe()
    served = agents._remote().serving("support", "production")

    def work():
        assert served.router.route("u-1").arm == "baseline"
        theirs.send(served.hearing.connected.wait(10))
        _until(lambda: served.router.route("u-1").arm == "candidate")
        theirs.send(True)

    child = fork.Process(target=work)
    with served._asking:  # a question of the parent's is under way
        child.start()
    assert mine.poll(20)
    assert mine.recv() is True
    desk.live(share_bp=10_000)
    assert mine.poll(20)
    child.join(10)


def test_what_can_not_be_says_why(remote, desk):
    with lastgood.run("support", "u-1") as run:
        pass
    with pytest.raises(BadToken, match="not signed here"):
        lastgood.report(run.id, edits=1, token="lg1.x.y")
    agents._configured["token"] = ""
    with pytest.raises(InvalidInput, match="LASTGOOD_TOKEN is not"), lastgood.run("support"):
        pass


def test_a_run_of_another_process_is_reported_and_resumed_by_its_token_alone(remote, desk):
    with lastgood.run("support", "u-1") as run:
        run.report(validated=True)
        run.suspend()
    agents._remotes.popitem()[1].end()  # another process: it has seen nothing
    with pytest.raises(BadToken, match="brings no token"), lastgood.resume(run.id):
        pass
    with pytest.raises(BadToken, match="brings no token"):
        lastgood.report(run.id, edits=1)
    with lastgood.resume(run.id, token=run.token) as again:
        assert (again.id, again.bundle.id) == (run.id, desk.baseline)
    agents._remotes.popitem()[1].end()
    lastgood.report(run.id, token=run.token, edits=2)
    lastgood.flush()
    assert [row["validated"] for row in desk.all("SELECT validated FROM outcome")] == [1]
    assert len(desk.all("SELECT * FROM late_report")) == 1


def test_a_process_over_http_loads_no_orm_and_opens_no_database(service, desk, tmp_path, clean_environment):
    program = (
        "import lastgood, sys, os\n"
        "with lastgood.run('support', 'u-1') as run: run.report(validated=True)\n"
        "heavy = {'sqlmodel', 'sqlalchemy', 'pandas', 'prefect', 'pydantic', 'fastapi'} & set(sys.modules)\n"
        "print(run.bundle.id, heavy or 'none', os.listdir('.'))\n"
    )
    environment = clean_environment | {"LASTGOOD_URL": service.url, "LASTGOOD_TOKEN": service.token("agent")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[:2] == [desk.baseline, "none"], done.stderr
    assert [row["validated"] for row in desk.all("SELECT validated FROM outcome")] == [1]  # sent at its exit
