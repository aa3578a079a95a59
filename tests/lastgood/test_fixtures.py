"""Fixtures: recorded answers, compared redacted."""

import pytest

from lastgood.errors import InvalidInput
from lastgood.fixtures import Asked, Fixtures, HttpFixture, body_of, bytes_of


@pytest.mark.parametrize(
    ("content", "kind", "body"),
    [
        (b"", "text/plain", None),
        (b'{"a": 1}', "application/json; charset=utf-8", {"json": {"a": 1}}),
        (b"{", "application/json", {"text": "{"}),
        (b"a=1&b=x%20y", "application/x-www-form-urlencoded", {"form": [["a", "1"], ["b", "x y"]]}),
        (b"\xff\x00", "image/png", {"base64": "/wA="}),
    ],
)
def test_a_body_is_held_as_what_it_is(content, kind, body):
    assert body_of(content, kind) == body
    if body is not None and "text" not in body and "json" not in body and "form" not in body:
        assert bytes_of(body) == content


def test_nothing_personal_is_left_in_a_url_a_form_or_an_answer():
    asked = Asked("POST", "http://u:p@crm/c/ann%40example.com?mail=bob%40example.com&n=1",
                  {"form": [["card", "4111 1111 1111 1111"]]})  # fmt: skip
    fixtures = Fixtures(
        (HttpFixture(asked, 200, {}, {"json": {"tel": "+49 151 2345678"}}),), ("email", "phone", "card")
    )
    told = str(fixtures.redacted().to_json())
    for personal in ("ann", "bob", "4111", "2345678", "u:p"):
        assert personal not in told
    assert fixtures.redacted().for_http(asked), "it still answers the request itself"


def test_a_form_is_compared_without_what_is_ignored():
    entry = {
        "http": "POST",
        "url": "http://x/",
        "body": {"form": [["a", "1"], ["id", "7"]]},
        "ignore": ["id"],
    }
    fixtures = Fixtures.from_json([entry])
    assert fixtures.for_http(Asked("POST", "http://x/", {"form": [["a", "1"], ["id", "8"]]}))
    assert not fixtures.for_http(Asked("POST", "http://x/", {"form": [["a", "2"]]}))


def test_fixtures_are_read_back_as_they_were_written():
    entries = [
        {"tool": "find", "arguments": {"a": 1}, "result": [1]},
        {"tool": "find", "arguments": {}, "error": "E"},
        {"http": "GET", "url": "http://x/", "status": 404, "answer": {"text": "no"}, "within": "find"},
    ]
    assert Fixtures.from_json(entries).to_json() == entries


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({}, "either `tool` or `http`"),
        ({"tool": 1}, "`tool` is a name"),
        ({"tool": "a", "error": 1}, "`error` is a text"),
        ({"http": "GET"}, "`url` a URL"),
        ({"http": "GET", "url": "x", "status": 99}, "the status 99 is none"),
        ({"http": "GET", "url": "x", "headers": {"a": 1}}, "`headers` is a map of texts"),
        ({"http": "GET", "url": "x", "body": {"xml": ""}}, "is no body"),
        ({"http": "GET", "url": "x", "answer": {"base64": "?"}}, "can't be read"),
    ],
)
def test_a_fixture_that_is_none_names_its_place(entry, why):
    with pytest.raises(InvalidInput, match=rf"^fixtures\[0\].*{why}"):
        Fixtures.from_json([entry])


def test_fixtures_are_a_list():
    with pytest.raises(InvalidInput, match="a list of recorded calls"):
        Fixtures.from_json({})
