import asyncio
import json
import multiprocessing
import subprocess
import sys
import threading

import pytest

import lastgood
from lastgood import agent as agents
from lastgood.caps import Caps
from lastgood.errors import InvalidInput, InvalidMove, NotFound, Refused, StoreUnavailable
from lastgood.release import Terms
from lastgood.store import connection as connecting
from lastgood.store.connection import Store

#: the same tests over a store and over a service
pytestmark = pytest.mark.ways("store", "service")
OPEN = Terms(caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, runs_per_hour=None))
fork = multiprocessing.get_context("fork")


def begin(**how):
    return lastgood.run(**{"agent": "support", "unit": "user-1", "task_type": "faq", **how})


def outcome(lab, run):
    return lab.one("SELECT * FROM outcome WHERE run_id = :id", id=run.id)


# -- the assignment


def test_the_row_is_committed_before_the_work(lab):
    with begin() as run:
        found = lab.hand("SELECT bundle_id, arm FROM run WHERE id = ?", run.id)
        assert found == [(lab.baseline, "baseline")]
        assert outcome(lab, run) is None


def test_a_run_gives_its_bundle_with_the_content_of_its_parts(lab):
    lab.live()
    with begin() as run:
        assert run.bundle.id == lab.candidate
        assert run.bundle.prompt.text == "second"
        assert run.bundle.model.data["default"] == "small"
        assert (run.arm, run.reason, run.recorded) == ("candidate", "split", True)
        assert repr(run) == f"<Run {run.id} of support on {run.bundle.short}>"


def test_a_run_keeps_its_bundle_over_a_revert(lab):
    release_id = lab.live()
    with begin() as run:
        lab.revert(release_id)
        assert run.bundle.id == lab.candidate


def test_without_a_unit_every_run_is_its_own(lab):
    for _ in range(2):
        with lastgood.run("support"):
            pass
    assert len({row["unit"] for row in lab.all("SELECT unit FROM run")}) == 2


def test_without_a_unit_a_conversation_is_the_unit(lab):
    with lastgood.run("support", conversation="c-1"):
        pass
    assert lab.one("SELECT unit FROM run")["unit"] == "c-1"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"agent": ""}, "agent is empty; name it"),
        ({"task_type": ""}, "task_type is empty; name it"),
        ({"unit": 17}, r"unit=17 is no text; give a str"),
        ({"conversation": 17}, "conversation=17 is no text"),
        ({"unit": "\ud800"}, "is no text"),
        ({"risk": "wild"}, "use one of low, medium, high"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_written(how, said, lab):
    with pytest.raises(InvalidInput, match=said), begin(**how):
        pass
    assert lab.all("SELECT * FROM run") == []


def test_an_unknown_agent(lab):
    with (
        pytest.raises(NotFound, match="no agent 'sales' in production: it has no baseline yet"),
        begin(agent="sales"),
    ):
        pass


def test_a_run_is_started_once(lab):
    pending = begin()
    with pending:
        pass
    with pytest.raises(InvalidMove, match="was started already"), pending:
        pass


# -- how it ends


def test_a_block_that_ends_has_completed(lab):
    with begin() as run:
        pass
    found = outcome(lab, run)
    assert (found["status"], found["completed"], found["error"]) == ("ended", 1, None)
    assert 0 <= found["latency_s"] < 5


def test_what_was_reported_counts(lab):
    with begin() as run:
        run.report(completed=False, validated=True, edits=2, latency_s=1.5, score=0.5)
        run.report(validated=False)
    found = outcome(lab, run)
    assert (found["completed"], found["validated"], found["operator_edits"]) == (0, 0, 2)
    assert found["latency_s"] == 1.5
    assert json.loads(found["metrics"]) == {"score": 0.5}


def test_an_exception_is_a_failure_and_goes_on(lab):
    runs = []

    def work():
        with begin() as run:
            runs.append(run)
            run.report(completed=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    found = outcome(lab, runs[0])
    assert (found["status"], found["completed"], found["error"]) == ("failed", 0, "ZeroDivisionError")


@pytest.mark.parametrize("gone", [GeneratorExit, asyncio.CancelledError, lastgood.Disconnected])
def test_a_client_that_went_away_is_no_failure(gone, lab):
    with pytest.raises(gone), begin() as run:
        raise gone
    found = outcome(lab, run)
    assert (found["status"], found["completed"], found["error"]) == ("disconnected", None, None)


def stream(ids):
    with begin() as run:
        ids.append(run)
        yield "one"
        yield "two"


def test_a_stream_that_is_read_to_its_end_has_completed(lab):
    assert list(stream(ids := [])) == ["one", "two"]
    assert outcome(lab, ids[0])["status"] == "ended"


def test_a_stream_that_is_closed_early_is_no_failure(lab):
    answer = stream(ids := [])
    next(answer)
    answer.close()
    assert outcome(lab, ids[0])["status"] == "disconnected"


def test_async_with(lab):
    async def work():
        async with begin() as run:
            await asyncio.sleep(0)
            run.report(validated=True)
        return run

    found = outcome(lab, asyncio.run(work()))
    assert (found["status"], found["validated"]) == ("ended", 1)


def test_an_async_stream_that_is_closed_early_is_no_failure(lab):
    ids = []

    async def answer():
        async with begin() as run:
            ids.append(run)
            yield "one"
            yield "two"

    async def read():
        reading = answer()
        await anext(reading)
        await reading.aclose()

    asyncio.run(read())
    assert outcome(lab, ids[0])["status"] == "disconnected"


def test_a_task_that_is_cancelled_at_work_is_no_failure(lab):
    ids = []

    async def work(begun):
        async with begin() as run:
            ids.append(run)
            begun.set()
            await asyncio.sleep(60)

    async def main():
        begun = asyncio.Event()
        task = asyncio.create_task(work(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert outcome(lab, ids[0])["status"] == "disconnected"


def test_a_task_that_is_cancelled_while_it_is_assigned_leaves_no_lost_run(lab):
    async def work():
        async with begin():
            raise AssertionError("never reached")

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0.05)  # the thread waits for the lock
        task.cancel()
        await asyncio.sleep(0.05)
        release()
        with pytest.raises(asyncio.CancelledError):
            await task

    release = lab.lock()
    asyncio.run(main())
    assert [row["status"] for row in lab.all("SELECT status FROM outcome")] == ["disconnected"]
    assert len(lab.all("SELECT id FROM run")) == 1


def test_an_outcome_is_counted_once(lab):
    from lastgood import recorder
    from lastgood.outcome import Outcome

    with begin() as run:
        pass
    lab.flush()
    assert recorder.record(lab.store, run.id, run.arm, Outcome(completed=False), None, None) is False
    assert outcome(lab, run)["completed"] == 1


# -- ceilings


def test_a_full_hour_leaves_the_baseline_and_no_evidence(lab):
    lab.live(terms=Terms(caps=Caps(None, None, runs_per_hour=2)))
    found = []
    for _ in range(3):
        with lastgood.run("support") as run:
            found.append((run.arm, run.reason))
    assert found == [("candidate", "split")] * 2 + [("baseline", "cap")]
    assert [row["eligible"] for row in lab.all("SELECT eligible FROM run ORDER BY seq")] == [1, 1, 0]


def test_a_run_that_spends_above_its_ceiling_reverts(lab):
    lab.live(terms=Terms(caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=0.5, runs_per_hour=None)))
    with begin() as run:
        run.usage("small", tokens_in=1_000_000, tokens_out=0)
    assert lab.point.release_id is None
    with begin() as run:
        assert run.arm == "baseline"


def test_a_zero_tolerance_event_reverts_and_fences_its_own_run(lab):
    lab.live(terms=OPEN)
    with begin() as run:
        run.event("data_leak")
        with pytest.raises(Refused), run.action("message", "c-1"):
            pytest.fail("the effect must not happen")
    assert lab.point.release_id is None


# -- suspend and resume


def _resume(url, run_id, answers):
    agents._stores.clear()
    agents._serving.clear()
    lastgood.configure(database=url)
    with lastgood.resume(run_id) as run:
        run.output = f"by {run.bundle.short}"
        run.usage("small", tokens_in=1_000_000, tokens_out=0)
        answers.put((run.id, run.arm, run.bundle.id, run.input))


def test_another_process_goes_on_with_a_suspended_run(lab):
    lab.live()
    with begin() as run:
        run.input = {"question": "why?"}
        run.report(validated=True, score=3)
        run.usage("small", tokens_in=2_000_000, tokens_out=0)
        run.suspend()
    assert outcome(lab, run) is None
    answers = fork.SimpleQueue()
    child = fork.Process(target=_resume, args=(lab.store.url, run.id, answers))
    child.start()
    assert answers.get() == (run.id, "candidate", lab.candidate, {"question": "why?"})
    child.join(10)
    found = outcome(lab, run)
    assert (found["status"], found["completed"], found["validated"]) == ("ended", 1, 1)
    assert found["cost_usd"] == 3.0
    assert json.loads(found["metrics"]) == {"score": 3}
    assert json.loads(found["output"]) == f"by {run.bundle.short}"
    assert json.loads(found["input"]) == {"question": "why?"}


def test_an_ended_run_is_not_resumed(lab):
    with begin() as run:
        pass
    with (
        pytest.raises(
            InvalidMove, match=f"has ended; report what comes later with lastgood.report.'{run.id}'"
        ),
        lastgood.resume(run.id),
    ):
        pass


def test_an_unknown_run_is_not_resumed(lab):
    with pytest.raises(NotFound, match="no run 'run_none'"), lastgood.resume("run_none"):
        pass


def test_a_run_is_not_resumed_where_its_runtime_is_not_announced(lab, monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUNTIME", "image:2")
    lab.promote(lab.live(candidate=lab.register("needs", "image:2")))
    with begin() as run:
        run.suspend()
    monkeypatch.delenv("LASTGOOD_RUNTIME")
    agents._serving.clear()
    with (
        pytest.raises(Refused, match="needs image:2; resume it in a process that announces"),
        lastgood.resume(run.id),
    ):
        pass


# -- reports


def test_a_late_report_stands_beside_the_outcome(lab):
    with begin() as run:
        pass
    before = outcome(lab, run)
    lastgood.report(run.id, edits=3, incident=1)
    late = lab.one("SELECT fields FROM late_report WHERE run_id = :id", id=run.id)
    assert json.loads(late["fields"]) == {"operator_edits": 3, "incidents": 1}
    assert dict(outcome(lab, run)) == dict(before)


@pytest.mark.parametrize(
    "fields", [{}, {"edits": -1}, {"completed": 1}, {"mood": "bad"}, {"cost_usd": float("nan")}]
)
def test_a_late_report_that_can_not_be(fields, lab):
    with begin() as run:
        pass
    with pytest.raises(InvalidInput):
        lastgood.report(run.id, **fields)
    assert lab.all("SELECT * FROM late_report") == []


def test_a_report_of_an_unknown_run(lab):
    with pytest.raises(NotFound, match="no run 'run_none' in this store"):
        lastgood.report("run_none", edits=1)


def test_a_late_event_with_details_and_outcomes(lab):
    with begin() as run:
        pass
    lastgood.report(run.id, event="complaint", where="mail", edits=2)
    event = lab.one("SELECT name, detail FROM event")
    assert (event["name"], json.loads(event["detail"])) == ("complaint", {"where": "mail", "edits": 2})
    assert json.loads(lab.one("SELECT fields FROM late_report")["fields"]) == {"operator_edits": 2}


def test_a_late_event_with_an_outcome_that_can_not_be_writes_nothing(lab):
    with begin() as run:
        pass
    with pytest.raises(InvalidInput):
        lastgood.report(run.id, event="complaint", edits=-2)
    assert lab.all("SELECT * FROM event") == []


# -- the store goes away: the baseline is served, and nothing is raised


@pytest.fixture
def warm(lab):
    """A process that has served a run of a live release already."""
    lab.live()
    with begin():
        pass
    return lab


def lock(lab, monkeypatch):
    monkeypatch.setattr("lastgood.remote_client.ASSIGN_S", 0.3)
    monkeypatch.setattr(connecting, "BUSY_S", 0.05)
    lab.store.close()
    return lab.lock()


def vanish(lab, monkeypatch):
    lab.vanish()


def replace(lab, monkeypatch):
    """An empty store at the same place: the agent is unknown there."""
    lab.replace()


def tamper(lab, monkeypatch):
    lab.hand("UPDATE control_point SET share_bp = 9999")


def age(lab, monkeypatch):
    lab.store.close()
    lab.hand("UPDATE alembic_version SET version_num = '0999'")


@pytest.mark.parametrize("trouble", [lock, vanish, replace, tamper, age])
def test_a_run_without_a_store_is_served_the_baseline_and_is_no_evidence(trouble, warm, monkeypatch, caplog):
    release = trouble(warm, monkeypatch)
    with begin() as run:
        assert (run.bundle.id, run.arm, run.reason) == (warm.baseline, "baseline", "store")
        assert run.recorded is False
        run.report(validated=True)
        run.usage("small", tokens_in=1, tokens_out=1)
        run.event("data_leak")
        with run.action("message", "c-1"):
            pass
    assert "is served the baseline and not recorded" in caplog.text
    assert f"the event data_leak of run {run.id} is not recorded" in caplog.text
    assert release is None or release() is None


@pytest.mark.parametrize("trouble", [lock, vanish, replace, tamper, age])
def test_a_store_that_goes_mid_way_breaks_no_run(trouble, way, warm, monkeypatch, caplog):
    monkeypatch.setattr("lastgood.remote.ANSWER_S", 1.0)
    with begin() as run:
        release = trouble(warm, monkeypatch)
    waits = way == "service" and trouble is not replace  # a service over another store says so
    became = "waits for the service" if waits else "could not be recorded and counts as lost"
    assert f"the outcome of {run.id} {became}" in caplog.text
    assert release is None or release() is None


def test_an_exception_of_the_agent_is_not_hidden_by_one_of_the_store(warm, monkeypatch):
    def work():
        with begin():
            vanish(warm, monkeypatch)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_an_unknown_risk_is_refused_without_a_store_too(warm, monkeypatch):
    vanish(warm, monkeypatch)
    with pytest.raises(InvalidInput, match="use one of low"), begin(risk="wild"):
        pass


def test_a_process_that_never_saw_a_bundle_says_so(lab, monkeypatch):
    vanish(lab, monkeypatch)
    with (
        pytest.raises(StoreUnavailable, match=r"there is no store at .*lastgood db upgrade|does not exist"),
        begin(),
    ):
        pass


def test_the_store_comes_back(warm, monkeypatch):
    monkeypatch.setattr("lastgood.remote_client.RETRY_S", 0.0)
    release = lock(warm, monkeypatch)
    with begin() as run:
        assert not run.recorded
    release()
    with begin() as run:
        assert (run.recorded, run.arm) == (True, "candidate")


# -- threads, configuration


def test_threads_share_a_process(lab):
    lab.live(5_000)

    def work(number):
        for i in range(10):
            with begin(unit=f"unit-{number}-{i}") as run:
                run.report(validated=True)
        agents.store().close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert lab.one("SELECT count(*) AS n FROM run JOIN outcome ON outcome.run_id = run.id")["n"] == 40
    assert lab.one("SELECT count(DISTINCT id) AS n FROM run")["n"] == 40


def test_the_store_is_named_by_configure_then_the_environment_then_the_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(agents, "_configured", {})
    monkeypatch.chdir(tmp_path)
    assert agents.database_url() == f"sqlite:///{tmp_path}/.lastgood/lastgood.db"
    (tmp_path / ".lastgood").mkdir()
    (tmp_path / ".lastgood" / "lastgood.db").touch()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert agents.database_url() == f"sqlite:///{tmp_path}/.lastgood/lastgood.db"
    monkeypatch.setenv("LASTGOOD_DATABASE", "sqlite:///env.db")
    assert agents.database_url() == "sqlite:///env.db"
    lastgood.configure(database="sqlite:///configured.db")
    assert agents.database_url() == "sqlite:///configured.db"


def test_the_environment_is_named_the_same_way(lab, monkeypatch):
    assert agents.environment_name() == "production"
    monkeypatch.setenv("LASTGOOD_ENVIRONMENT", "staging")
    assert agents.environment_name() == "staging"
    lastgood.configure(environment="canary")
    assert agents.environment_name() == "canary"
    with pytest.raises(NotFound, match="no agent 'support' in canary"), begin():
        pass
    with begin(environment="production") as run:
        assert run.recorded


def test_an_agent_imports_no_orm_and_no_cli(lab):
    """Not even after a whole run, with an event, an action and a late report."""
    code = (
        "import lastgood, sys\n"
        "with lastgood.run('support', 'u') as run:\n"
        "    run.output = 'a'; run.usage('small', tokens_in=1, tokens_out=1); run.event('note')\n"
        "    with run.action('message'): pass\n"
        "lastgood.report(run.id, edits=1)\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'sqlmodel', 'sqlalchemy', 'alembic',"
        " 'click', 'yaml', 'pydantic', 'prefect', 'pandas', 'scipy', 'numpy'}))"
    )
    root = str(agents.Path(agents.__file__).parents[1])
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"LASTGOOD_DATABASE": lab.store.url, "PYTHONPATH": root},
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == "[]"


def test_a_fork_serves_on_in_the_child(warm):
    answers = fork.SimpleQueue()

    def work():
        with begin(unit="in the child") as run:
            answers.put((run.recorded, run.bundle.id))

    child = fork.Process(target=work)
    child.start()
    assert answers.get() == (True, warm.candidate)
    child.join(10)
    assert (
        warm.one("SELECT count(*) AS n FROM outcome JOIN run ON run.id = run_id WHERE unit = 'in the child'")[
            "n"
        ]
        == 1
    )
    assert isinstance(agents.store(), Store)
