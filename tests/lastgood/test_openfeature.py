import logging

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason
from openfeature.track import TrackingEventDetails

from lastgood import agent as agents
from lastgood.openfeature import Provider

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")
PINNED = {"id": "the last good bundle, pinned by the agent"}


@pytest.fixture
def client(lab):
    """A client of OpenFeature's own SDK."""
    api.set_provider_and_wait(Provider())
    yield api.get_client()
    api.clear_providers()


def context(unit="u-1", **attributes):
    return EvaluationContext(unit, attributes)


def test_a_bundle_is_served_as_a_map_and_as_its_id(client, lab):
    found = client.get_object_details("support", PINNED, context())
    assert found.value["id"] == lab.baseline
    assert found.value["parts"]["prompt"]["value"] == "first"
    assert (found.variant, found.reason, found.error_code) == ("baseline", Reason.STATIC, None)
    assert found.flag_metadata["why"] == "no_release"
    assert client.get_string_value("support", "", context()) == lab.baseline
    assert client.get_string_value("support:id", "", context()) == lab.baseline


def test_assignment_is_the_routers_own_and_a_revert_is_seen_at_the_next_evaluation(client, lab):
    release = lab.live(share_bp=5_000)
    [unit] = lab.units(release, 5_000, candidate=True)
    before = client.get_string_details("support", "", context(unit))
    assert (before.value, before.variant, before.reason) == (lab.candidate, "candidate", Reason.SPLIT)
    lab.revert(release)
    assert client.get_string_value("support", "", context(unit)) == lab.baseline


def test_an_evaluation_enters_a_run_once_while_it_is_open(client, lab):
    runs = {client.get_string_details("support", "", context()).flag_metadata["run"] for _ in range(3)}
    [row] = lab.all("SELECT * FROM run")
    assert {row["id"]} == runs


def test_one_that_only_looks_enters_none(client, lab):
    client.get_string_value("support", "", context(record=False))
    api.set_provider_and_wait(Provider(enters=False))
    assert client.get_string_value("support", "", context()) == lab.baseline
    assert lab.all("SELECT * FROM run") == []


def test_what_is_tracked_is_the_runs_outcome(client, lab):
    client.get_string_value("support", "", context(task_type="faq"))
    client.track("run.completed", context(), TrackingEventDetails(1, {"validated": True, "cost_usd": 0.25}))
    client.track("operator.edits", context(), TrackingEventDetails(3))
    client.track("run.escalated", context())
    client.track("event.note", context(), TrackingEventDetails(attributes={"to": "x"}))
    [outcome] = lab.all("SELECT * FROM outcome")
    assert (outcome["completed"], outcome["validated"], outcome["cost_usd"]) == (1, 1, 0.25)
    late = [row["fields"] for row in lab.all("SELECT * FROM late_report ORDER BY seq")]
    assert late == ['{"operator_edits": 3}', '{"escalated": true}']
    assert [row["name"] for row in lab.all("SELECT * FROM event")] == ["note"]


@pytest.mark.parametrize(
    ("name", "given", "details", "said"),
    [
        ("run.completed", context("u-9"), None, "entered no run 'u-9'"),
        ("run.completed", context("u-9", agent="support"), None, "entered a run 'u-9'"),
        ("run.completd", context(), None, "none that a run is reported by"),
        ("operator.edits", context(), TrackingEventDetails(-1), "operator_edits=-1"),
        ("operator.edits", context(), None, "needs a value"),
        ("run.completed", context(), TrackingEventDetails(1, {"mood": "good"}), "mood='good'"),
        ("run.completed", EvaluationContext(), None, "no targetingKey"),
    ],
)
def test_what_can_not_be_taken_is_logged_by_name_and_never_raised(
    client, lab, caplog, name, given, details, said
):
    client.get_string_value("support", "", context())
    with caplog.at_level(logging.WARNING, "lastgood"):
        client.track(name, given, details)
    assert said in caplog.text
    assert lab.all("SELECT * FROM outcome") == lab.all("SELECT * FROM late_report") == []


@pytest.mark.parametrize(
    ("flag", "given", "code"),
    [
        ("coder", context(), "FLAG_NOT_FOUND"),
        ("No Agent", context(), "FLAG_NOT_FOUND"),
        ("support", EvaluationContext(), "TARGETING_KEY_MISSING"),
        ("support", context(risk="huge"), "INVALID_CONTEXT"),
        ("support", context(task_type=7), "INVALID_CONTEXT"),
    ],
)
def test_what_can_not_be_evaluated_serves_the_callers_default_and_says_why(client, lab, flag, given, code):
    found = client.get_object_details(flag, PINNED, given)
    assert (found.value, found.reason, found.error_code) == (PINNED, Reason.ERROR, code)
    assert found.error_message
    assert lab.all("SELECT * FROM run") == []


@pytest.mark.parametrize("kind", ["boolean", "integer", "float"])
def test_a_bundle_is_no_truth_value_and_no_number(client, kind):
    defaults = {"boolean": True, "integer": 1, "float": 1.0}
    found = getattr(client, f"get_{kind}_details")("support", defaults[kind], context())
    assert (found.value, found.error_code) == (defaults[kind], "TYPE_MISMATCH")


def test_a_store_that_goes_away_leaves_the_baseline_as_stale(client, lab):
    lab.live(share_bp=10_000)
    client.get_string_value("support", "", context())
    lab.vanish()
    found = client.get_string_details("support", "", context("u-2"))
    assert (found.value, found.variant, found.reason) == (lab.baseline, "baseline", Reason.STALE)
    assert found.flag_metadata["eligible"] is False


def test_a_provider_without_a_store_is_not_ready(monkeypatch, tmp_path):
    monkeypatch.setattr(agents, "_configured", {"database": f"sqlite:///{tmp_path}/none.db"})
    monkeypatch.setattr(agents, "_stores", {})
    api.set_provider(Provider())
    found = api.get_client().get_object_details("support", PINNED, context())
    assert found.value == PINNED
    assert found.reason == Reason.ERROR
    api.clear_providers()


def test_over_a_service_it_names_the_provider_to_take(lab, monkeypatch):
    monkeypatch.setitem(agents._configured, "url", "http://127.0.0.1:4300")
    with pytest.raises(Exception, match="take your SDK's OFREP provider"):
        api.set_provider_and_wait(Provider())
    api.clear_providers()
