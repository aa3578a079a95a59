"""What a run failed by, and runs grouped by it: pure functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.failures import MOST, Told, grouped, normalised, said, signature_of
from lastgood.outcome import Outcome
from lastgood.triggers import TOOL_MALFORMED

FINE = Outcome(completed=True)
FAILED = Outcome(status="failed", completed=False, error="KeyError", error_text="'order'")


def told(outcome, run_id="run_1", task_type="faq", **given):
    return Told(run_id, task_type, outcome, **given)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("order 1234 costs 5.50", "order <n> costs <n>"),
        ("run run_01HV5Q2M3N4P5Q6R7S8T9V0W1X is refused", "run <id> is refused"),
        ("no 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no <id>"),
        ("at 0x7f2a deadbeef12", "at <hex> <hex>"),
        ("'order_id' is missing", "'order_id' is missing"),
        ("'Jane Doe' is missing", "<text> is missing"),
        ("GET https://crm.example/tickets/7?x=1 failed", "GET <url> failed"),
        ("two\n  lines", "two lines"),
    ],
)
def test_what_differs_from_run_to_run_is_taken_out(text, left):
    assert normalised(text) == left


@given(st.text(max_size=600))
def test_a_message_is_short_and_stays_as_it_is_when_it_is_normalised_again(text):
    once = normalised(text)
    assert len(once) <= MOST
    assert len(normalised(once)) <= MOST


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_don_t_tell_failures_apart(first, second):
    assert normalised(f"order {first} is gone") == normalised(f"order {second} is gone")


def test_an_exception_that_can_not_say_what_it_is_says_nothing():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert said(Mute()) == ""
    assert said(ValueError("no order 12")) == "no order <n>"


@pytest.mark.parametrize(
    ("outcome", "bad"),
    [
        (FAILED, ("completion",)),
        (Outcome(completed=False), ("completion",)),
        (Outcome(completed=True, validated=False), ("validation",)),
        (Outcome(completed=True, incidents=1), ("incidents",)),
        (Outcome(completed=True, metrics={TOOL_MALFORMED: True}), (TOOL_MALFORMED,)),
        (Outcome(completed=False, infra_failure=True), ("completion", "infrastructure")),
    ],
)
def test_a_failure_says_what_went_bad(outcome, bad):
    assert signature_of(told(outcome)).bad == bad


@pytest.mark.parametrize(
    "outcome",
    [
        FINE,
        Outcome(completed=True, escalated=True, operator_edits=3),
        Outcome(status="disconnected"),
        Outcome(completed=True, infra_failure=True),
        None,
    ],
)
def test_a_run_that_did_not_fail_has_no_signature(outcome):
    assert signature_of(told(outcome)) is None


@pytest.mark.parametrize(
    ("culprit", "outcome"),
    [
        ("escalation", Outcome(completed=True, escalated=True)),
        ("corrections", Outcome(completed=True, operator_edits=1)),
        ("validation", FINE),
    ],
)
def test_what_the_incident_is_about_counts_as_a_failure(culprit, outcome):
    assert signature_of(told(outcome), [culprit]).bad == (culprit,)
    assert signature_of(told(outcome), ["cost"]) is None


def test_a_client_that_went_away_is_no_failure_but_of_what_was_reported_before():
    assert signature_of(told(Outcome(status="disconnected")), ["completion", "validation"]) is None
    assert signature_of(told(Outcome(status="disconnected", validated=False))).bad == ("validation",)


def test_an_event_counts_where_the_incident_is_about_it():
    run = told(FINE, events=("data_leak", "note"))
    assert signature_of(run, ["data_leak"]).bad == ("data_leak",)
    assert signature_of(run) is None


def test_a_run_that_never_reported_is_lost_once_its_time_is_over():
    assert signature_of(told(None, lost=True)).bad == ("lost",)


def test_a_run_that_reported_after_its_time_is_lost_and_what_it_told_counts():
    fine, failed = (signature_of(told(outcome, lost=True)) for outcome in (FINE, FAILED))
    assert (fine.bad, fine.merely_lost) == (("lost",), True)
    assert (failed.bad, failed.merely_lost) == (("completion", "lost"), False)


def test_the_tool_whose_call_failed_tells_failures_apart():
    runs = [told(FAILED, f"run_{n}", failed_tools=(tool,)) for n, tool in enumerate(("refund", "send"))]
    assert [group.signature.tool for group in grouped(runs)] == ["refund", "send"]


def test_runs_that_failed_the_same_way_are_one_group_and_the_largest_comes_first():
    other = Outcome(status="failed", completed=False, error="KeyError", error_text="'name'")
    runs = [told(other, "run_0"), told(FAILED, "run_1"), told(FINE, "run_2"), told(FAILED, "run_3")]
    runs.append(told(FAILED, "run_4", task_type="refund"))
    groups = grouped(runs)
    assert [group.runs for group in groups] == [("run_1", "run_3"), ("run_4",), ("run_0",)] or [
        group.runs for group in groups
    ] == [("run_1", "run_3"), ("run_0",), ("run_4",)]
    assert str(groups[0].signature) == "KeyError: 'order'; completion (faq)"
