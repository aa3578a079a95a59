"""An agent's profile, as people write it."""

import json

import pytest

from config.profile import Profile
from lastgood.errors import InvalidProfile

TEXT = """
agent: support
owner: ana@example.com
routes:
  - {to: slack, name: on-call, url: env:SLACK_WEBHOOK, levels: [page]}
  - {to: webhook, url: https://hooks.example.com/lastgood, token: file:/run/secrets/hook, kinds: [reverted]}
  - to: email
    address: [ana@example.com, ben@example.com]
    server: smtp://mail.example.com:587
    sender: lastgood@example.com
    environments: [production]
    retry_for: 2 h
  - {to: prefect, block: slack-webhook/on-call}
replay: support.agent:replay
undo: {refund: support.undo:refund, message: https://undo.example.com/message}
signals:
  complaints: {call: support.signals:complaints}
  queue: {sql: select count(*) from queue, database: "env:QUEUE"}
"""


def test_a_profile_is_written_out_with_every_default_resolved():
    found = json.loads(Profile.load(TEXT).to_json())
    assert [route["name"] for route in found["routes"]] == ["on-call", "webhook-2", "email-3", "prefect-4"]
    assert found["routes"][2] == {
        "name": "email-3",
        "to": "email",
        "levels": ["page", "inform"],
        "kinds": [],
        "environments": ["production"],
        "retry_for_us": 7_200_000_000,
        "settings": {
            "address": "ana@example.com, ben@example.com",
            "server": "smtp://mail.example.com:587",
            "sender": "lastgood@example.com",
        },
    }
    assert found["undo"] == {
        "refund": "support.undo:refund",
        "message": "https://undo.example.com/message",
    }


def test_a_profile_of_an_agent_alone_can_be_used():
    found = json.loads(Profile.load("agent: support").to_json())
    assert found == {"agent": "support", "owner": "", "replay": "", "routes": [], "signals": {}, "undo": {}}


def test_a_path_and_its_text_are_the_same_profile(tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text(TEXT)
    assert Profile.load(path).digest == Profile.load(TEXT).digest


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("owner:", "ownr:", "profile:3: ownr: unknown key; did you mean 'owner'?"),
        ("env:SLACK_WEBHOOK", "https://hooks.slack.com/services/x", "is a secret: give it by reference"),
        ("file:/run/secrets/hook", "abc123", "token: is a secret: give it by reference"),
        ("https://hooks.example.com/lastgood", "https://ana:pw@hooks.example.com/", "may hold a secret"),
        ("https://hooks.example.com/lastgood", "'https://hooks.example.com/?key=1'", "may hold a secret"),
        ("https://hooks.example.com/lastgood", "ftp://hooks.example.com", "should be a URL such as"),
        ("https://hooks.example.com/lastgood", "'https://[::1/'", "is no URL"),
        ("https://hooks.example.com/lastgood", "'http://a:99999/'", "is no URL"),
        ("    server: smtp://mail.example.com:587\n", "", "server: is missing: a route to email needs"),
        (
            "smtp://mail.example.com:587",
            "mail.example.com",
            "should be smtp://host:port or smtps://host:port",
        ),
        ("smtp://mail.example.com:587", "smtp://a:b@mail.example.com", "and nothing else"),
        ("ben@example.com", "ben", "'ben' is no e-mail address"),
        ("lastgood@example.com", "'a b@example.com'", "is no e-mail address"),
        ("retry_for: 2 h", "retry_for: 2 s", "retry_for"),
        ("retry_for: 2 h", "user: ana", "user and password go together"),
        ("block: slack-webhook/on-call", "block: on-call", "block"),
        ("block: slack-webhook/on-call", "block: a/b, url: env:X", "does not go with to: prefect"),
        ("to: webhook,", "to: webhook, name: on-call,", "the name on-call is another route's too"),
        ("levels: [page]", "levels: []", "levels"),
        ("kinds: [reverted]", "kinds: [revertd]", "unknown kind of notice; did you mean 'reverted'?"),
        ("support.agent:replay", "support.agent", "should be package.module:function"),
        ("support.undo:refund", "https://x.example.com/?key=1", "should be package.module:function"),
        ("refund:", "Refund!:", "should be a name of lower-case letters"),
        (
            "{call: support.signals:complaints}",
            "{}",
            "needs one of call, sql, prometheus, langfuse, json, and has none",
        ),
        (', database: "env:QUEUE"', "", "sql needs database beside it"),
        ("agent: support", "agent: Support", "agent: should be a name"),
    ],
)
def test_what_cant_be_used_is_named_with_the_way_out(was, becomes, said):
    assert was in TEXT
    with pytest.raises(InvalidProfile) as error:
        Profile.load(TEXT.replace(was, becomes, 1))
    assert said in str(error.value)


def test_a_secret_that_is_refused_is_not_repeated():
    with pytest.raises(InvalidProfile) as error:
        Profile.load(TEXT.replace("env:SLACK_WEBHOOK", "https://hooks.slack.com/services/T0/SECRET"))
    assert "SECRET" not in str(error.value)
