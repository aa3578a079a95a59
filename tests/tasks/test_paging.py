"""A notice that pages carries a link of its own, where the service can be reached."""

import pytest

from config.profile import Profile
from lastgood import identity, link, notices, profile
from lastgood.notices import Level, Notice
from tasks import notifying
from tests.tasks.receiving import hook


@pytest.fixture
def world(quiet_world, monkeypatch):
    monkeypatch.setenv(identity.VARIABLE, "k:" + "k" * 32)
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1")
    monkeypatch.setenv(link.VARIABLE, "https://lg.example.com")
    with quiet_world.store.transaction() as txn:
        txn.run("DELETE FROM notice")
    return quiet_world


def told(world, *, to="webhook", level=Level.PAGE):
    """What a receiver gets of one notice."""
    with hook() as receiver:
        text = f"agent: support\nroutes:\n  - {{to: {to}, name: night, url: env:HOOK}}\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOOK", receiver.url)
            with world.store.transaction(durable=True) as txn:
                profile.store_body(txn, "support", Profile.load(text).to_json(), actor="ann")
            with world.store.transaction(at=("support", "production")) as txn:
                notices.put(txn, Notice("support", "production", "residue", "a", "title", "text", level))
            assert notifying.send_due(world.store) == notifying.Told(sent=1)
        return receiver.got[0][1]


def found(world, address):
    token = address.removeprefix("https://lg.example.com/r/")
    return link.verify(identity.keys(world.store), token, world.store.clock.now_us())


def test_a_webhook_gets_it_apart_and_the_link_names_its_route(world):
    said = told(world)
    made = found(world, said["link"])
    [row] = world.rows("SELECT * FROM notice")
    assert (made.agent, made.environment, made.holder) == (
        "support",
        "production",
        f"night, notice {row['id']}",
    )
    assert said["text"] == "text"


def test_slack_gets_it_in_its_text(world):
    text = told(world, to="slack")["text"]
    assert found(world, text.rpartition(" ")[2]).agent == "support"


def test_what_only_informs_carries_none(world):
    assert "link" not in told(world, level=Level.INFORM)


@pytest.mark.parametrize("url", ["", "no address"])
def test_without_an_address_the_notice_goes_out_all_the_same(world, monkeypatch, url):
    monkeypatch.setenv(link.VARIABLE, url)
    assert "link" not in told(world)


def test_a_link_is_in_no_row(world):
    said = told(world)
    assert said["link"].rpartition("/")[2] not in world.dump()
