"""Notification blocks of Prefect as a transport, and what a dead Prefect does to the others."""

import pytest

from config.profile import Profile
from lastgood import notices, profile
from lastgood.notices import Level, Notice
from tasks import notifying
from tests.tasks.receiving import hook

pytestmark = pytest.mark.prefect


@pytest.fixture
def receiver():
    with hook() as found:
        yield found


def told(place, receiver, block):
    """Put one page, whose routes are a block and a webhook; what a process of Prefect makes of it."""
    from tasks.prefect_block import WITH_PREFECT

    text = (
        f"agent: support\nroutes:\n  - {{to: prefect, name: block, block: {block}}}\n"
        f"  - {{to: webhook, name: all, url: {receiver.url}}}\n"
    )
    with place.store.transaction() as txn:
        txn.run("DELETE FROM notice")
        profile.store_body(txn, "support", Profile.load(text).to_json(), actor="ann")
        notice = Notice("support", "production", "residue", "a", "a title", "a text", Level.PAGE)
        notices.put(txn, notice)
    return notifying.send_due(place.store, transports=WITH_PREFECT)


def states(place):
    rows = place.rows("SELECT route, state, error FROM delivery")
    return {row["route"]: (row["state"], row["error"]) for row in rows}


def test_a_block_of_prefect_sends_what_its_route_takes(place, receiver, harness):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    with hook() as behind:
        block = CustomWebhookNotificationBlock(
            name="x", url=behind.url, method="POST", json_data={"text": "{{subject}}: {{body}}"}
        )
        behind.answers = [(200, {}, b"{}")]
        block.save("on-call", overwrite=True)
        found = told(place, receiver, "custom-webhook/on-call")
    assert found == notifying.Told(sent=2), states(place)
    assert [said for _, said in behind.got] == [{"text": "[page] a title: a text"}]


def test_a_block_that_is_missing_keeps_no_other_route_from_sending(place, receiver, harness):
    assert told(place, receiver, "custom-webhook/nowhere") == notifying.Told(sent=1, postponed=1)
    assert "nowhere" in states(place)["block"][1]


def test_with_prefect_dead_the_other_routes_tell_people(place, receiver):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        found = told(place, receiver, "custom-webhook/on-call")
    assert found == notifying.Told(sent=1, postponed=1)
    assert len(receiver.got) == 1
    assert states(place)["block"][0] == "waiting"
