"""A run whose process is gone holds up no schedule; on a real server's API."""

from datetime import timedelta

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("harness")]
NOW, LATER = timedelta(0), timedelta(hours=1)


@pytest.fixture
def client():
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def deployment(client):
    """A deployment of ours of which one run at a time is let in."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    from flows.sweep_runs import sweep_runs
    from tasks.forms import TAG

    once = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    made = sweep_runs.to_deployment("only-one", tags=[TAG], concurrency_limit=once).apply()
    yield made
    client.delete_deployment(made)


def begun(client, deployment):
    """Let a run begin as a runner does; the name of the state that the server allowed."""
    from prefect.states import Pending, Running

    run = client.create_flow_run_from_deployment(deployment)
    answer = client.set_flow_run_state(run.id, Pending())
    if answer.status == "ACCEPT":
        client.set_flow_run_state(run.id, Running())
    return client.read_flow_run(run.id)


def test_a_run_whose_process_is_gone_gives_its_place_free(client, deployment):
    from tasks import lost_runs

    first = begun(client, deployment)
    assert [first.state.name, begun(client, deployment).state.name] == ["Running", "Cancelled"]
    assert lost_runs.end(client, ["only-one"], NOW) == [first.name]
    ended = client.read_flow_run(first.id).state
    assert (ended.name, ended.message) == ("Crashed", "no sign of life for 0 s: its process is gone")
    assert begun(client, deployment).state.name == "Running"
    assert lost_runs.end(client, ["only-one"], NOW) != []


def test_a_run_that_began_just_now_is_left_alone(client, deployment):
    from tasks import lost_runs

    begun(client, deployment)
    assert lost_runs.end(client, ["only-one"], LATER) == []
    assert lost_runs.end(client, ["another"], NOW) == []


def test_a_heartbeat_is_a_sign_of_life(client, deployment, monkeypatch):
    from types import SimpleNamespace

    from prefect.client.orchestration import SyncPrefectClient

    from tasks import lost_runs

    run, asked = begun(client, deployment), []

    def events(_client, **wanted):
        asked.append(wanted["filter"].resource.id)
        return SimpleNamespace(events=["a heartbeat"])

    monkeypatch.setattr(SyncPrefectClient, "read_events", events)
    assert lost_runs.end(client, ["only-one"], NOW) == []
    assert asked == [[f"prefect.flow-run.{run.id}"]]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("lost", ["evaluate-canaries", "sweep-runs"])
def test_of_the_two_schedules_each_gives_the_others_place_free(client, deployment, monkeypatch, lost):
    """Workers, whom nobody serves: the sweep ends a lost evaluation, an evaluation a lost sweep."""
    from config.settings import Settings
    from tasks import evaluating, forms, housekeeping, lost_runs

    settings = Settings.from_environment({}).model_copy(update={"lost_after": 0})
    monkeypatch.setattr(Settings, "from_environment", lambda: settings)
    ours = forms.ours(client)
    named = [each.model_copy(update={"name": lost}) for each in ours if each.id == deployment]
    monkeypatch.setattr(lost_runs.forms, "ours", lambda _client: named)
    run = begun(client, deployment)
    if lost == "sweep-runs":
        evaluating.follow()
    else:
        housekeeping.sweep_now()
    assert client.read_flow_run(run.id).state.name == "Crashed"
