"""What is stored for good holds no secret: twenty planted ones are refused, and nothing is written."""

import json

import pytest

from lastgood import profile, registry, scanning
from lastgood.bundle import KINDS, Bundle, Part
from lastgood.errors import InvalidBundle, InvalidPolicy, InvalidProfile
from tests.planted import CORES, PLANTED

WAY_OUT = r"put it into the environment and write the reference env:NAME"


def bundle(**parts):
    return Bundle([parts.get(kind) or Part.of_value(kind, "1", "x") for kind in KINDS])


def forms(text):
    """A text as a part may hold it: inline, in a value, in a file and in one of a folder."""
    yield (
        bundle(prompt=Part.of_value("prompt", "1", f"Be kind.\n{text}")),
        r"part prompt, inline: .* in line 2",
    )
    nested = {"headers": [{"x": text}]}
    yield bundle(model=Part.of_value("model", "1", nested)), r"part model, headers\[0\]\.x: "
    yield bundle(memory=Part.of_value("memory", "1", {text: 1})), "part memory, "
    files = {"a.txt": b"fine", "deep/b.bin": b"\xff\xfe\n" + text.encode()}
    yield bundle(policy=Part.of_files("policy", "1", files)), r"part policy, deep/b\.bin: .* in line 2"


@pytest.mark.parametrize("name", PLANTED)
def test_a_bundle_with_a_planted_secret_is_refused_by_place(name):
    for found, place in forms(PLANTED[name]):
        with pytest.raises(InvalidBundle, match=place) as refused:
            scanning.scan_bundle(found)
        assert CORES[name] not in str(refused.value)
        assert WAY_OUT in str(refused.value)


@pytest.mark.parametrize("name", PLANTED)
def test_a_policy_and_a_profile_with_one_are_refused(name):
    text = json.dumps({"steps": [{"note": PLANTED[name]}]})
    for what, error in (("a policy", InvalidPolicy), ("a profile", InvalidProfile)):
        with pytest.raises(error, match=rf"steps\[0\]\.note: .*{what} is stored for good") as refused:
            scanning.scan_json(what, text, error)
        assert CORES[name] not in str(refused.value)


def test_a_value_is_found_by_its_name():
    found = bundle(tools=Part.of_value("tools", "1", {"crm": {"password": "hunter2-hunter"}}))
    with pytest.raises(InvalidBundle, match=r"part tools, crm\.password: the value of password"):
        scanning.scan_bundle(found)


def test_many_are_counted():
    text = "\n".join(PLANTED.values())
    with pytest.raises(InvalidBundle, match=r"and \d+ more: a bundle"):
        scanning.scan_bundle(bundle(prompt=Part.of_value("prompt", "1", text)))


@pytest.mark.only("sqlite")
def test_nothing_is_written_of_what_is_refused(store):
    with pytest.raises(InvalidBundle):
        registry.register(
            store, "support", bundle(prompt=Part.of_value("prompt", "1", PLANTED["github"])), author="ann"
        )
    body = json.dumps({"agent": "support", "owner": PLANTED["stripe"]})
    with store.transaction() as txn, pytest.raises(InvalidProfile, match="owner: an API key"):
        profile.store_body(txn, "support", body, actor="ann")
    with store.reading() as txn:
        assert txn.all("SELECT * FROM part UNION ALL SELECT * FROM part") == []
        assert profile.find(txn, "support") is None
