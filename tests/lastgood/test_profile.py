import pytest

from config.profile import Profile as Written
from lastgood import profile
from lastgood.errors import CorruptRow

TEXT = """
agent: support
owner: ana
routes:
  - {to: slack, url: env:HOOK, levels: [page], environments: [production]}
  - {to: webhook, name: all, url: http://localhost/x, kinds: [reverted, promoted]}
undo: {refund: support.undo:refund}
"""


def stored(store, text=TEXT, actor="ann"):
    with store.transaction(durable=True) as txn:
        return profile.store_body(txn, "support", Written.load(text).to_json(), actor=actor)


def read(store):
    with store.reading() as txn:
        return profile.read(txn, "support")


def test_an_agent_without_a_profile_has_an_empty_one(store):
    found = read(store)
    assert found == profile.Profile("support")
    assert (found.routes, found.digest) == ((), "")


def test_a_profile_is_read_back_as_it_was_written(store):
    assert stored(store)
    found = read(store)
    assert (found.owner, dict(found.undo)) == ("ana", {"refund": "support.undo:refund"})
    assert [(r.name, r.to, r.levels, r.kinds) for r in found.routes] == [
        ("slack-1", "slack", ("page",), ()),
        ("all", "webhook", ("page", "inform"), ("reverted", "promoted")),
    ]
    assert found.routes[0].settings == {"url": "env:HOOK"}
    assert found.digest == Written.load(TEXT).digest


def test_a_new_profile_replaces_the_old_one(store):
    stored(store)
    assert stored(store, TEXT.replace("ana", "ben"), actor="ben")
    assert read(store).owner == "ben"
    with store.reading() as txn:
        assert profile.find(txn, "support")["actor"] == "ben"


def test_the_same_profile_again_changes_nothing(store, clock):
    stored(store)
    clock.advance(1_000)
    assert not stored(store, actor="ben")
    with store.reading() as txn:
        assert profile.find(txn, "support")["actor"] == "ann"


@pytest.mark.parametrize(
    "change",
    ["body = '{}'", "digest = 'x'", "body = 'no JSON', digest = 'y'", "agent = 'support', body = '[]'"],
)
def test_a_profile_that_a_hand_edited_is_refused(store, hand, change):
    stored(store)
    hand(store, f"UPDATE agent_profile SET {change}")
    with pytest.raises(CorruptRow, match=r"profile of support can't be read .*lastgood agent set"):
        read(store)


def test_a_row_that_was_copied_to_another_agent_is_refused(store, hand):
    stored(store)
    hand(store, "UPDATE agent_profile SET agent = 'billing'")
    with store.reading() as txn, pytest.raises(CorruptRow, match="it is support's"):
        profile.read(txn, "billing")


@pytest.mark.parametrize(
    ("environment", "kind", "level", "names"),
    [
        ("production", "reverted", "page", ["slack-1", "all"]),
        ("staging", "reverted", "page", ["all"]),
        ("production", "promoted", "inform", ["all"]),
        ("production", "killed", "page", ["slack-1"]),
        ("staging", "killed", "inform", []),
    ],
)
def test_a_route_takes_what_it_names(store, environment, kind, level, names):
    stored(store)
    found = [route.name for route in read(store).routes if route.takes(environment, kind, level)]
    assert found == names
