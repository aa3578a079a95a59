"""The watch flow: one look at what is due, its report an artifact."""

import inspect

import pytest

from lastgood import control

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("harness")]


def switched(place):
    """A baseline that served a while and was left for the one before it."""
    control.rollback(
        place.store, "support", "production", actor="ann", reason="ours", to=place.candidate, vouched=True
    )
    with place.serving(good=0.0):
        import time

        time.sleep(0.5)
    control.rollback(place.store, "support", "production", actor="ann", reason="back", to=place.baseline)


def test_a_watch_takes_text_alone():
    from flows.watch import watch

    assert {p.annotation for p in inspect.signature(watch.fn).parameters.values()} == {str}


def test_nothing_is_due_and_the_flow_says_so(place):
    from flows.watch import watch

    state = watch(return_state=True)
    assert (state.is_completed(), state.message) == (True, "no watch is due")


def test_a_switch_is_looked_at_and_its_report_is_an_artifact(place):
    from prefect.client.orchestration import get_client

    from flows.watch import watch

    switched(place)
    state = watch("support", return_state=True)
    assert state.is_completed()
    assert state.message.startswith("INCONCLUSIVE: ")
    with get_client(sync_client=True) as client:
        found = [a for a in client.read_artifacts() if (a.key or "").startswith("watch-wat-")]
    assert len(found) == 1
    assert "data:image/png;base64," in found[0].data
    rows = place.rows("SELECT state, fast FROM watch ORDER BY at_us")  # of both switches
    assert rows == [{"state": "watching", "fast": None}] * 2
